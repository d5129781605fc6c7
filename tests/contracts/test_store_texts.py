"""A search of the store finds what the same search finds in memory, with its index and without."""

import asyncio
import sqlite3
from contextlib import closing
from itertools import count
from urllib.parse import urlsplit

import anyio
import asyncpg  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from monitor import model
from monitor.config.settings import StoreSettings
from monitor.model import Archived, Phase
from monitor.runtime import upkeep
from monitor.stores import copying, reader, text_index
from monitor.stores import store as stores
from monitor.tools.stored_jobs import StoredJobs
from monitor.web.api.job_filters import JobsQuery, holds
from tests.contracts.store_examples import (
    SECOND,
    T0,
    SettableClock,
    elsewhere,
    entry,
    mark,
    put,
)

ENDED = {"ending": model.Ending.FINAL, "phase": Phase.SUCCEEDED, "ended_at": T0}
ODDITIES = (
    "aAkK\N{KELVIN SIGN}ßẞsSİi\N{LATIN SMALL LETTER DOTLESS I}éÉe\N{COMBINING ACUTE ACCENT}"
    "ﬀΣςσ%_\\/'\"*()-^: 0猫🐈\ufffe"
)
letters = st.text(st.sampled_from(ODDITIES), max_size=8)


@pytest.fixture
def opened(store_url):
    return lambda: stores.open_store(store_url, SettableClock())


def ended(number, *place, **changed):
    return elsewhere(number, *place, **(ENDED | changed))


async def found(store, place, text):
    """Return the ids that some pages show, as the caller of the store compares them."""
    ids, after = [], None
    for _ in range(1000):
        page = await store.archive.page(
            "changed_at",
            {place},
            {Phase.SUCCEEDED},
            every_place=False,
            after=after,
            limit=2,
            having=model.ArchivedFilter(text),
        )
        ids += [one.job.id for _, one in page.found if holds(text_of(one), text)]
        if (after := page.last) is None:
            return sorted(ids)
    raise AssertionError("the pages have no end")


def text_of(one):
    return model.searched_text(one.job.key, one.state, one.reason)


@st.composite
def searches(draw):
    """Some jobs, and a text that is in one of them, or is not."""
    jobs = [
        (f"{number}{draw(letters)}", draw(letters), draw(st.none() | letters))
        for number in range(4)
    ]
    whole = draw(st.sampled_from([text for one in jobs for text in one if text]))
    start = draw(st.integers(0, len(whole)))
    part = whole[start : start + draw(st.integers(1, 6))]
    text = draw(st.sampled_from([part, part.swapcase(), part.casefold(), draw(letters)]))
    return jobs, text or "a"


def test_a_search_finds_the_same_in_store_and_memory(opened, monkeypatch):
    numbers, regions, most = count(1), count(1), text_index.MOST_FOUND

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(searches())
    def compare(searched):
        asyncio.run(search(*searched))

    async def search(jobs, text):
        region = f"region-{next(regions)}"
        made = [
            ended(next(numbers), region, job_id, state=state, reason=reason)
            for job_id, state, reason in jobs
        ]
        wanted = sorted(one.snapshot.job.id for one in made if holds(text_of(one.snapshot), text))
        place = ("panorama.package-import", "prod", region)
        async with opened() as store:
            while await store.archive.index_texts():
                pass
            await put(store, *made)
            for many in (most, -1):
                monkeypatch.setattr(text_index, "MOST_FOUND", many)
                assert await found(store, place, text) == wanted

    compare()


@pytest.fixture
def searched():
    """Return the ids that the index of a store finds, or ``None`` if it cannot tell."""

    async def find(store, text):
        keys = await store._search.texts.find(text)
        return None if keys is None else sorted(key.rpartition("/")[2] for key in keys)

    return find


async def test_the_index_reads_only_what_it_finds(opened, searched):
    async with opened() as store:
        await put(store, ended(1, reason="Out of DISK"), ended(2, reason="straße"), ended(3))
        assert await searched(store, "disk") is None, "older ones may not be indexed yet"
        assert await store.archive.index_texts()
        assert not await store.archive.index_texts()
        assert await searched(store, "of disk") == ["job-1"]
        assert await searched(store, "STRASSE") == ["job-2"]
        assert await searched(store, "disk out") == []
        assert await searched(store, "%dis%") == []
        assert await searched(store, "_disk") == []
        assert await searched(store, "\\disk") == []
        assert await searched(store, "us-east-1/JOB-") == ["job-1", "job-2", "job-3"]
        assert await searched(store, "is") is None, "no trigram"


async def test_jobs_archived_before_there_was_an_index_are_added_step_by_step(
    sqlite_url, searched, monkeypatch
):
    async with stores.open_store(sqlite_url, SettableClock()) as store:
        await put(store, *map(ended, range(1, 6)))
        await put(store, ended(7), archived=Archived.UNWATCHED)
        await store.record(ended(6))
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite://"))) as connection:
        for name in ("job_text_index", "job_texts", "job_texts_progress"):
            connection.execute(f"DROP TABLE {name}")
    monkeypatch.setattr(text_index, "_NEXT", text_index._NEXT.limit(4))
    async with stores.open_store(sqlite_url, SettableClock()) as store:
        assert await store.archive.index_texts() == 4
        await put(store, ended(8))
        assert await searched(store, "job-") is None
        assert await store.archive.index_texts() == 3, "7 and 8 among them"
        assert await store.archive.index_texts() == 0
        assert await searched(store, "job-") == [
            f"job-{number}" for number in (1, 2, 3, 4, 5, 7, 8)
        ]


async def test_a_text_that_changed_is_found_by_the_new_one_alone(opened, searched):
    async with opened() as store:
        await store.archive.index_texts()
        await put(store, ended(1, reason="first"))
        again = entry(1, 2, **ENDED, reason="second")
        await put(store, again)
        assert await searched(store, "first") == []
        assert await searched(store, "second") == ["job-1"]
        place = ("panorama.package-import", "prod", "us-east-1")
        await store.record(entry(1, 3, reason="second"))
        assert await found(store, place, "second") == [], "it is live again"


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"q": "DISK"}, ["job-4", "job-1"]),
        ({"reason": "disk"}, ["job-4", "job-1"]),
        ({"state": ["FAIL*"]}, ["job-5", "job-2"]),
        ({"state": ["nothing"]}, []),
        ({"changed_before": "2026-03-01T12:00:00Z"}, ["job-4", "job-2", "job-1"]),
        ({"changed_before": "2025-03-01T12:00:00Z"}, []),
        ({"watch": "nothing"}, []),
        ({"label": ["no=thing"]}, []),
    ],
)
async def test_a_command_reads_what_an_index_finds_and_the_live_jobs(
    sqlite_url, monkeypatch, asked, wanted
):
    clock = SettableClock()
    async with stores.open_store(sqlite_url, clock) as store:
        while await store.archive.index_texts():
            pass
        await put(store, ended(1, reason="out of disk"), ended(2, state="FAILED"))
        await put(store, ended(3, changed_at=T0 + SECOND))
        late = {"state": "FAILED", "changed_at": T0 + SECOND}
        for each in (ended(4, reason="disk"), ended(5, **late)):
            await store.record(each)
    query = JobsQuery.model_validate(asked | {"sort": "-key"})
    monkeypatch.setattr(reader, "_ROWS_AT_ONCE", 1)
    async with reader.open_sqlite_reader(StoreSettings(url=sqlite_url), clock) as opened:
        listed = StoredJobs(opened, ())
        counts = await opened.job_counts()
        through_all = []
        read = opened.jobs

        def note(*arguments, **options):
            through_all.append(arguments)
            return read(*arguments, **options)

        monkeypatch.setattr(opened, "jobs", note)
        shown, total = await listed.list(counts, query, 2)
        assert ([one.job.id for one in shown], total) == (wanted[:2], len(wanted))
        assert not through_all
        monkeypatch.setattr(text_index, "MOST_FOUND", -1)
        shown, total = await listed.list(counts, query, 2)
        assert ([one.job.id for one in shown], total) == (wanted[:2], len(wanted))


@pytest.mark.parametrize("ends", [True, False])
async def test_a_job_that_is_archived_or_lives_again_meanwhile_is_listed_once(
    sqlite_url, monkeypatch, ends
):
    clock, mover = SettableClock(), ended(1, reason="disk")
    async with stores.open_store(sqlite_url, clock) as store:
        while await store.archive.index_texts():
            pass
        await store.record(mover)
        if not ends:
            await mark(store, mover)
        async with reader.open_sqlite_reader(StoreSettings(url=sqlite_url), clock) as opened:
            counts, read = await opened.job_counts(), opened.live_with_text

            async def meanwhile(*arguments):
                await mark(store, mover, archived=Archived.ENDED if ends else Archived.LIVE)
                return await read(*arguments)

            monkeypatch.setattr(opened, "live_with_text", meanwhile)
            listed = StoredJobs(opened, ())
            shown, total = await listed.list(counts, JobsQuery.model_validate({"q": "disk"}), 9)
            assert ([one.job.id for one in shown], total) == (["job-1"], 1)


async def test_jobs_that_no_watch_follows_any_longer_are_listed_too(sqlite_url):
    clock = SettableClock()
    async with stores.open_store(sqlite_url, clock) as store:
        while await store.archive.index_texts():
            pass
        await put(store, ended(1, reason="disk"), archived=Archived.UNWATCHED)
    async with reader.open_sqlite_reader(StoreSettings(url=sqlite_url), clock) as opened:
        for asked in (
            {"q": "disk"},
            {"state": ["PENDING"]},
            {"changed_since": "2026-01-01T00:00Z"},
        ):
            query = JobsQuery.model_validate(asked)
            shown, _ = await StoredJobs(opened, ()).list(await opened.job_counts(), query, 5)
            assert [one.job.id for one in shown] == ["job-1"], asked


async def test_text_that_too_many_jobs_have_is_searched_for_in_the_list(
    opened, searched, monkeypatch
):
    monkeypatch.setattr(text_index, "MOST_FOUND", 2)
    async with opened() as store:
        await store.archive.index_texts()
        await put(store, *map(ended, range(1, 5)))
        assert await searched(store, "job-") is None
        assert await searched(store, "job-3") == ["job-3"]
        place = ("panorama.package-import", "prod", "us-east-1")
        assert await found(store, place, "job-") == ["job-1", "job-2", "job-3", "job-4"]


async def test_only_so_many_texts_with_the_trigrams_of_a_text_are_compared_with_it(
    sqlite_url, searched, monkeypatch
):
    async with stores.open_store(sqlite_url, SettableClock()) as store:
        await store.archive.index_texts()
        await put(store, *(ended(number, job_id=f"abcab-{number}") for number in range(1, 5)))
        assert await searched(store, "cabc") == []
        monkeypatch.setattr(text_index, "MOST_CANDIDATES", 3)
        assert await searched(store, "cabc") is None


async def test_without_trigrams_the_list_is_searched_and_the_index_is_made_again_later(
    sqlite_url, searched, monkeypatch
):
    place = ("panorama.package-import", "prod", "us-east-1")
    async with stores.open_store(sqlite_url, SettableClock()) as store:
        await put(store, ended(1))
        assert await store.archive.index_texts()
        assert not await store.archive.index_texts()
    with monkeypatch.context() as without:
        without.setattr(text_index, "is_supported", lambda: False)
        async with stores.open_store(sqlite_url, SettableClock()) as store:
            await put(store, ended(2))
            assert not await store.archive.index_texts()
            assert await searched(store, "job-") is None
            assert await found(store, place, "job-") == ["job-1", "job-2"]
    async with stores.open_store(sqlite_url, SettableClock()) as store:
        assert await searched(store, "job-") is None
        while await store.archive.index_texts():
            pass
        assert await searched(store, "job-") == ["job-1", "job-2"]


@pytest.fixture
def unprivileged(postgresql_server, postgresql_names):
    """A database in PostgreSQL whose role may not make extensions: its name and its URL."""
    name = next(postgresql_names)
    url = postgresql_server.create(name)
    postgresql_server.sql(f'CREATE ROLE "{name}" LOGIN')
    postgresql_server.ask(name, f'GRANT CREATE ON SCHEMA public TO "{name}"')
    yield name, url.replace("postgres@", f"{name}@")
    postgresql_server.drop(name)
    postgresql_server.sql(f'DROP ROLE "{name}"')


async def test_postgresql_has_the_index_from_the_start_after_its_extension_is_there(
    postgresql_server, unprivileged, searched
):
    name, url = unprivileged
    place = ("panorama.package-import", "prod", "us-east-1")
    async with stores.open_store(url, SettableClock()) as store:
        await put(store, ended(1, reason="disk"))
        assert not await store.archive.index_texts()
        assert await searched(store, "disk") is None
        assert await found(store, place, "disk") == ["job-1"]
    postgresql_server.ask(name, "CREATE EXTENSION pg_trgm")
    async with stores.open_store(url, SettableClock()) as store:
        await put(store, ended(2, reason="disk"))
        assert await store.archive.index_texts() == 2
        assert not await store.archive.index_texts()
        assert await searched(store, "disk") == ["job-1", "job-2"]


async def test_a_replica_that_runs_while_another_makes_the_index_keeps_it_from_then_on(
    postgresql_server, unprivileged, searched
):
    name, url = unprivileged
    async with stores.open_store(url, SettableClock()) as store:
        await put(store, ended(1, reason="disk"))
        assert await searched(store, "disk") is None
        postgresql_server.ask(name, "CREATE EXTENSION pg_trgm")
        async with stores.open_store(url, SettableClock(), name="b") as other:
            assert await other.archive.index_texts() == 1
            assert not await other.archive.index_texts()
        await put(store, ended(2, reason="disk"))
        assert await searched(store, "disk") == ["job-1", "job-2"]


async def test_jobs_that_are_archived_while_the_index_is_made_are_in_it(
    postgresql_server, unprivileged, searched
):
    name, url = unprivileged
    async with stores.open_store(url, SettableClock()) as store:
        await put(store, ended(1, reason="disk"))
    postgresql_server.ask(name, "CREATE EXTENSION pg_trgm")
    another = await asyncpg.connect(url)
    async with anyio.create_task_group() as tasks, another.transaction():
        await another.execute("UPDATE jobs SET looked_at = looked_at")
        opening = anyio.Event()

        async def open_again():
            async with stores.open_store(url, SettableClock()):
                opening.set()

        tasks.start_soon(open_again)
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'ShareLock'"
        with anyio.fail_after(30):
            while not postgresql_server.ask(name, waiting):  # noqa: ASYNC110 -- the server
                await anyio.sleep(0.05)
        assert not opening.is_set()
    await another.close()
    assert opening.is_set()


async def test_the_few_texts_among_many_are_found_in_the_index(
    postgresql_server, copied_postgresql
):
    name = urlsplit(copied_postgresql).path.strip("/")
    postgresql_server.ask(
        name,
        "INSERT INTO job_texts SELECT 'key-' || n, 'the text of number ' || n"
        " FROM generate_series(1, 20000) n",
    )
    postgresql_server.ask(name, "VACUUM job_texts")
    query = str(text_index._FIND_POSTGRESQL).replace(":most", "501")
    for text in ("zzz", "number 1234", "nothing has this"):
        plan = postgresql_server.ask(name, "EXPLAIN " + query.replace(":pattern", f"'%{text}%'"))
        assert "Index Scan on job_text_index" in plan, plan


async def test_postgresql_has_the_index_wherever_its_extension_is(
    postgresql_server, unprivileged, searched
):
    name, url = unprivileged
    postgresql_server.ask(
        name,
        f'CREATE SCHEMA "jobs here" AUTHORIZATION "{name}"; CREATE SCHEMA "more";'
        f' GRANT USAGE ON SCHEMA "more" TO "{name}"; CREATE EXTENSION pg_trgm SCHEMA "more"',
    )
    url += "&options=-c%20search_path%3D%22jobs%5C%20here%22"
    async with stores.open_store(url, SettableClock()) as store:
        await put(store, ended(1, reason="disk"))
        with capture_logs() as lines:
            await upkeep.index_texts(store, SettableClock())
        assert lines == []
        assert await searched(store, "disk") == ["job-1"]


async def test_a_store_does_not_use_the_index_of_one_in_another_schema(
    postgresql_server, copied_postgresql, searched
):
    name = urlsplit(copied_postgresql).path.strip("/")
    async with stores.open_store(copied_postgresql, SettableClock()) as store:
        assert not await store.archive.index_texts()
    postgresql_server.ask(name, "CREATE SCHEMA other")
    url = copied_postgresql + "&options=-c%20search_path%3Dother,public"
    async with stores.open_store(url, SettableClock()) as store:
        await put(store, ended(1, reason="disk"))
        assert await searched(store, "disk") is None
        assert await store.archive.index_texts() == 1
        assert not await store.archive.index_texts()
        assert await searched(store, "disk") == ["job-1"]


async def test_a_table_that_is_locked_for_long_does_without_the_index_until_the_next_start(
    postgresql_server, unprivileged, searched
):
    name, url = unprivileged
    async with stores.open_store(url, SettableClock()) as store:
        await put(store, ended(1, reason="disk"))
    postgresql_server.ask(name, "CREATE EXTENSION pg_trgm")
    another = await asyncpg.connect(url)
    async with another.transaction():
        await another.execute("LOCK TABLE jobs IN SHARE UPDATE EXCLUSIVE MODE")  # as a VACUUM
        async with stores.open_store(url, SettableClock()) as store:
            with capture_logs() as lines:
                await upkeep.index_texts(store, SettableClock())
            assert [line["event"] for line in lines] == ["texts.unindexed"]
            assert await searched(store, "disk") is None
    await another.close()
    async with stores.open_store(url, SettableClock()) as store:
        assert await store.archive.index_texts() == 1


async def test_a_database_that_lacks_characters_has_no_index(postgresql_server, searched):
    name = "latin"
    postgresql_server.sql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'")
    async with stores.open_store(postgresql_server.url(name), SettableClock()) as store:
        await put(store, ended(1, reason="5 \N{MICRO SIGN}s"))
        assert not await store.archive.index_texts()
        assert await searched(store, "5 \N{MICRO SIGN}s") is None
    postgresql_server.drop(name)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_copy_into_a_store_that_has_run_without_jobs_is_indexed(
    sqlite_url, tmp_path, request, kind, searched
):
    url = f"sqlite://{tmp_path}/into.db"
    url = url if kind == "sqlite" else request.getfixturevalue("postgresql_url")
    async with stores.open_store(sqlite_url, SettableClock()) as store:
        await put(store, ended(1, reason="disk"))
    async with stores.open_store(url, SettableClock()) as store:
        while await store.archive.index_texts():
            pass
        await store.archive.index_texts()
    await copying.copy(sqlite_url, url, lambda *_: None)
    async with stores.open_store(url, SettableClock()) as store:
        assert await store.archive.index_texts() == 1
        assert not await store.archive.index_texts()
        assert await searched(store, "disk") == ["job-1"]
