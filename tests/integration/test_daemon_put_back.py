"""A fault of the program in the midst of a reload leaves no half of each configuration."""

from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest

from monitor import simulator, sinks
from monitor.app import Daemon
from monitor.clock import SystemClock
from monitor.config import Settings
from monitor.errors import ConfigurationError, Problem
from monitor.model import Archived, ArchiveMark, Ending, Job, Phase
from monitor.polling.manager import PollManager
from monitor.sources import loader
from monitor.stores.store import open_store
from tests.acceptance import ledger
from tests.acceptance.program import SECRET, configure, disks, packages, until, webhook
from tests.contracts.store_examples import T0, entry


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    return tmp_path


@asynccontextmanager
async def running(directory):
    """Run a daemon on the configuration in a directory."""

    def load():
        return Settings.model_validate_json((directory / "monitor.yaml").read_text())

    stop, ready = anyio.Event(), anyio.Event()
    daemon = Daemon(load(), load=load)
    with anyio.fail_after(90):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(daemon.run, stop, lambda _: ready.set())
            await ready.wait()
            yield daemon
            stop.set()


async def test_a_fault_after_the_sinks_were_placed_puts_the_former_ones_back(
    directory, monkeypatch
):
    jobs = [{"id": "pkg", "service": "panorama"}]
    receivers = {"hook": {"secrets": [SECRET]}, "other": {}}
    apply = PollManager.apply

    def faulty(self, settings, *others):
        if "other" in settings.sinks:
            raise KeyError("of ours")
        apply(self, settings, *others)

    monkeypatch.setattr(PollManager, "apply", faulty)
    async with simulator.running({"jobs": jobs, "receivers": receivers}) as sim:
        configure(directory, sim, watches=[packages()])
        async with running(directory) as daemon:
            await until(lambda: ledger.transitions(directory / "state.db"))
            other = {"other": webhook(sim, "other")}
            configure(directory, sim, watches=[disks()], sinks=other)
            with pytest.raises(ConfigurationError, match="KeyError"):
                await daemon.reloader.reload()
            assert list(daemon.settings.sinks) == ["hook"]
            sim.change("pkg", Status="FAILED")
            await until(lambda: sim.truth.received.count == 1)
        assert [each.name for each in sim.truth.received] == ["hook"]


async def test_a_reload_that_is_refused_late_leaves_the_archive_as_it_was(directory, monkeypatch):
    open_sink = sinks.open_sink

    def refusing(name, settings, **others):
        if name == "other":
            raise ConfigurationError([Problem("", "sinks.other", "it cannot be opened")])
        return open_sink(name, settings, **others)

    monkeypatch.setattr(sinks, "open_sink", refusing)
    receivers = {"hook": {"secrets": [SECRET]}, "other": {}}
    async with simulator.running({"receivers": receivers}) as sim:
        configure(directory, sim, watches=[packages()])
        key = await _archived(directory / "state.db")
        async with running(directory) as daemon:
            assert await _kept(directory, key) is Archived.ENDED
            other = {"other": webhook(sim, "other")}
            some = packages(discover={"include": ["other*"]})
            configure(directory, sim, watches=[some], sinks=other)
            with pytest.raises(ConfigurationError, match="cannot be opened"):
                await daemon.reloader.reload()
            assert await _kept(directory, key) is Archived.ENDED
            configure(directory, sim, watches=[some])
            await daemon.reloader.reload()
            assert await _kept(directory, key) is Archived.UNWATCHED


async def test_start_and_reload_read_no_job_type_that_no_watch_has(directory, monkeypatch):
    names = set()
    load_job_type = loader.load_job_type

    def noted(path, models):
        made = load_job_type(path, models)
        names.add(made.name)
        return made

    monkeypatch.setattr(loader, "load_job_type", noted)
    async with simulator.running({"receivers": {"hook": {"secrets": [SECRET]}}}) as sim:
        configure(directory, sim, watches=[packages()])
        async with running(directory) as daemon:
            configure(directory, sim, watches=[packages(labels={"team": "other"})])
            await daemon.reloader.reload()
    assert names == {"panorama.package-import"}


async def _archived(path):
    """Make a store with a job that ended long ago; return its key."""
    made = entry(1, state="SUCCEEDED", phase=Phase.SUCCEEDED, ending=Ending.FINAL, ended_at=T0)
    watch = packages()
    job = Job(watch["type"], watch.get("account", "default"), watch["regions"][0], "pkg-1")
    made = replace(
        made,
        snapshot=made.snapshot.replace(job=job),
        transitions=tuple(replace(each, subject=job) for each in made.transitions),
        sinks=((),),
    )
    async with open_store(f"sqlite://{path}", SystemClock()) as store:
        assert await store.record(made)
        await store.archive.mark([ArchiveMark(job.key, 1, Archived.ENDED, T0)])
    return job.key


async def _kept(directory, key):
    """Return where a job is kept."""
    url = f"sqlite://{directory / 'state.db'}"
    async with open_store(url, SystemClock(), exclusive=False, migrate=False) as store:
        ((_, archived),) = await store.archive.find([key])
        return archived
