"""Commands read a store in SQLite beside its daemon, without what writes."""

import pytest

from monitor.config.settings import StoreSettings
from monitor.errors import StoreError
from monitor.model import Phase
from monitor.stores.reader import open_sqlite_reader
from monitor.stores.store import open_store
from tests.contracts.store_examples import SettableClock, entry

PLACE = ("panorama.package-import", "prod", "us-east-1")


async def test_a_reader_sees_what_the_daemon_commits_before_and_after_it_opened(tmp_path):
    url = f"sqlite://{tmp_path}/state.db"
    async with open_store(url, SettableClock()) as store:
        await store.record(entry(1))
        async with open_sqlite_reader(StoreSettings(url=url), SettableClock()) as reader:
            assert await reader.jobs(PLACE, frozenset(Phase)) == [
                await store.snapshot("/".join((*PLACE, "job-1")))
            ]
            await store.record(entry(2))
            assert await reader.job_counts() == await store.job_counts()
            assert await reader.transitions() == await store.transitions()
            assert await reader.deliveries() == await store.deliveries()
            assert await reader.backlog() == await store.backlog()
            assert len(await reader.snapshots()) == 2


async def test_a_reader_makes_no_store_and_changes_none(tmp_path):
    settings = StoreSettings(url=f"sqlite://{tmp_path}/state.db")
    with pytest.raises(StoreError, match="there is none yet"):
        async with open_sqlite_reader(settings, SettableClock()):
            pass
    assert not [*tmp_path.iterdir()]
    (tmp_path / "state.db").touch()
    with pytest.raises(StoreError, match="there is nothing in it yet"):
        async with open_sqlite_reader(settings, SettableClock()):
            pass
