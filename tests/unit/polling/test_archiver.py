"""Jobs that have ended leave memory, and nothing that is told or counted changes by it."""

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import pytest

from monitor.config import Settings
from monitor.model import Archived, Phase
from monitor.polling import archiver as archiving
from monitor.polling.archiver import Archiver, Followed
from monitor.recording.archive import Archive
from tests.builders import TYPE, VIRTUAL, VirtualClock, job, ledger
from tests.unit.polling import test_manager
from tests.unit.polling.test_manager import Bench, Kind

pytestmark = [VIRTUAL, pytest.mark.usefixtures("long_pauses")]
DAY = 86400.0
SOON = 4000.0
"""Seconds in which each job is polled, and each listing swept."""


def watch(name="all", **more):
    return test_manager.watch(name, **{"interval": "30m", **more})


class Daemon(Bench):
    """A bench that starts and reloads as the daemon does."""

    def __init__(self, store, clock):
        super().__init__(store, clock)
        self.archiver = Archiver(self.recorder, self.polling, clock)
        self.kind = Kind()

    async def apply(self, *watches, kind=None, quotas=None, metrics=None):
        given: dict[str, Any] = {"watches": watches, "quotas": quotas or {}}
        given |= {"accounts": {"prod": {}}, "metrics": metrics or {}}
        settings = Settings.model_validate(given)
        types: dict[str, Any] = {TYPE.name: kind or self.kind}
        await self.recorder.rest()
        known = await self.archiver.known(Followed(settings, types))
        self.polling.apply(settings, types, known)

    async def upkeep(self, seconds):
        """Archive now and then, for so long."""
        end = anyio.current_time() + seconds
        while anyio.current_time() < end:
            await anyio.sleep(600)
            await self.archiver.archive_once()

    def followed(self):
        return {one.job.id for one in self.polling.watched()}

    def jobs(self, phase):
        place = {"type": TYPE.name, "account": "prod", "region": "us-east-1"}
        return self.series("jobs", **place, phase=phase)

    def ended(self, phase):
        place = {"type": TYPE.name, "account": "prod", "region": "us-east-1"}
        return self.series("ended_jobs_total", **place, phase=phase)

    def recently(self, phase):
        place = {"type": TYPE.name, "account": "prod", "region": "us-east-1"}
        return self.series("recently_ended_jobs", **place, phase=phase)


@asynccontextmanager
async def started(tmp_path, *watches, answers=None, **more):
    """Start a daemon on the store in a directory, and stop it in peace."""
    clock = VirtualClock()
    async with ledger(tmp_path, clock) as store:
        bench = Daemon(store, clock)
        bench.recorder.baselines.adopt(await store.baselines())
        bench.source.answers = answers if answers is not None else {}
        with anyio.fail_after(10_000_000):
            async with bench.polling.running():
                await bench.apply(*(watches or [watch()]), **more)
                yield bench
            await bench.recorder.rest()


async def run_to_the_end(bench):
    """Let three jobs run, and then end."""
    bench.source.answers.update(dict.fromkeys(("a", "b", "c"), "RUNNING"))
    await anyio.sleep(SOON)
    bench.source.answers.update({"a": "SUCCEEDED", "b": "FAILED"})
    await anyio.sleep(SOON)
    assert bench.followed() == {"a", "b", "c"}


async def test_a_job_that_ended_leaves_memory_and_still_counts(tmp_path):
    async with started(tmp_path) as bench:
        await run_to_the_end(bench)
        counts = [bench.jobs(phase) for phase in Phase]
        ends = [bench.ended(phase) for phase in ("succeeded", "failed")]
        await bench.upkeep(3700)
        assert bench.followed() == {"b", "c"}, "a failure stays for a day"
        await bench.upkeep(DAY)
        assert bench.followed() == {"c"}
        assert [known.job.id for known in bench.recorder.snapshots()] == ["c"]
        assert [bench.jobs(phase) for phase in Phase] == counts
        assert [bench.ended(phase) for phase in ("succeeded", "failed")] == ends == [1, 1]
        kinds = await bench.kinds()
    assert kinds == ["job.discovered"] * 3 + ["job.state_changed"] * 2


async def test_a_restart_knows_archived_jobs_by_their_number_alone(tmp_path):
    answers: dict[str, Any] = {}
    async with started(tmp_path, answers=answers) as bench:
        await run_to_the_end(bench)
        await bench.upkeep(2 * DAY)
        told = await bench.events()
        counts = [bench.jobs(phase) for phase in Phase]
    async with started(tmp_path, answers=answers) as bench:
        assert [known.job.id for known in bench.recorder.snapshots()] == ["c"]
        assert [bench.jobs(phase) for phase in Phase] == counts
        assert [bench.ended(phase) for phase in ("succeeded", "failed")] == [1, 1]
        await anyio.sleep(SOON)
        assert bench.source.pages
        assert bench.followed() == {"c"}
        assert bench.source.asked_for("a") == [], "no describe for a row that shows nothing new"
        assert await bench.events() == told


async def test_maintenance_of_its_watch_holds_an_archived_job_too(tmp_path):
    window = {"from": "00:00", "to": "23:59"}
    async with started(tmp_path, watch(maintenance=[window])) as bench:
        await run_to_the_end(bench)
        await bench.upkeep(2 * DAY)
        assert bench.recorder.snapshot(job("a")) is None
        assert bench.polling.watch_of(job("a").key) == "all"
        assert bench.polling.watch_of(job("c").key) == "all"
        assert bench.polling.watch_of("source:panorama/prod/us-east-1") is None
        assert bench.polling.watch_of("other/prod/us-east-1/a") is None


async def test_the_parent_of_an_archived_job_tells_its_watch(tmp_path):
    watches = [watch(name, discover={"of": [name]}) for name in ("a", "b")]
    async with started(tmp_path, *watches) as bench:
        assert bench.polling.watch_of(job("x").key, "b") == "b"
        assert bench.polling.watch_of(job("x").key, "c") is None


async def test_an_archived_job_that_changes_goes_on_with_its_sequence(tmp_path):
    async with started(tmp_path) as bench:
        await run_to_the_end(bench)
        await bench.upkeep(2 * DAY)
        bench.source.answers["a"] = "FAILED"
        await anyio.sleep(SOON)
        assert bench.followed() == {"a", "c"}
        last = [each for each in await bench.events() if each["job"]["id"] == "a"]
        assert [each["sequence"] for each in last] == [1, 2, 3]
        assert last[-1]["previous"]["state"] == "SUCCEEDED"
        assert last[-1]["current"]["state"] == "FAILED"
        assert (bench.jobs("succeeded"), bench.jobs("failed")) == (0, 2)
        await bench.upkeep(2 * DAY)
        assert bench.followed() == {"a", "c"}, "one that ended twice stays"


async def test_the_oldest_of_too_many_ended_jobs_go_at_once_and_count_as_recent(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(archiving, "MOST_FINISHED", 2)
    async with started(tmp_path, watch(interval="30s")) as bench:
        names = [f"j-{number}" for number in range(6)]
        bench.source.answers.update(dict.fromkeys(names, "RUNNING"))
        await anyio.sleep(100)
        for name in names:
            bench.source.answers[name] = "SUCCEEDED"
            await anyio.sleep(60)
        await bench.archiver.archive_once()
        assert bench.followed() == {"j-4", "j-5"}
        assert bench.recently("succeeded") == 6
        assert bench.jobs("succeeded") == 6
        await bench.upkeep(3700)
        assert bench.recently("succeeded") == 0


async def test_named_jobs_stay_and_naming_an_archived_one_brings_it_back(tmp_path):
    async with started(tmp_path, watch("named", jobs=["a"]), watch()) as bench:
        await run_to_the_end(bench)
        await bench.upkeep(2 * DAY)
        assert bench.followed() == {"a", "c"}
        await bench.apply(watch("named", jobs=["b"]), watch())
        await bench.upkeep(2 * DAY)
        assert bench.followed() == {"b", "c"}
        assert (bench.jobs("succeeded"), bench.jobs("failed")) == (1, 1)
        owners = {one.job.id: one.watch for one in bench.polling.watched()}
        assert owners["b"] == "named"


async def test_archived_jobs_count_while_a_watch_discovers_them(tmp_path):
    async with started(tmp_path) as bench:
        await run_to_the_end(bench)
        await bench.upkeep(2 * DAY)
        await bench.apply(watch(discover={"include": ["a*"]}))
        assert (bench.jobs("succeeded"), bench.jobs("failed")) == (1, 0)
        (known,) = await bench.store.archive.find([job("b").key])
        assert known[1] is Archived.UNWATCHED
        await bench.apply(watch())
        await anyio.sleep(SOON)
        assert (bench.jobs("succeeded"), bench.jobs("failed"), bench.jobs("running")) == (1, 1, 1)
        assert bench.followed() == {"c"}
        status = bench.polling.remembered(known[0])
        assert (status.watch, status.finished) == ("all", True)


async def test_a_running_job_that_no_watch_followed_is_polled_once_one_does(tmp_path):
    answers: dict[str, Any] = {}
    async with started(tmp_path, answers=answers) as bench:
        await run_to_the_end(bench)
    async with started(tmp_path, watch("other", jobs=["x"]), answers=answers):
        await anyio.sleep(10)
    async with started(tmp_path, answers=answers) as bench:
        answers["c"] = "SUCCEEDED"
        await anyio.sleep(SOON)
        ends = [each["current"]["state"] for each in await bench.events()]
        assert ends.count("SUCCEEDED") == 2


async def test_a_hint_about_an_archived_job_costs_no_poll(tmp_path):
    async with started(tmp_path) as bench:
        await run_to_the_end(bench)
        await bench.upkeep(2 * DAY)
        looks = len(bench.source.looks)
        await bench.polling.recall(job("a"))
        assert bench.polling.hint(job("a")) is None
        assert len(bench.source.looks) == looks
        assert bench.followed() == {"c"}


@pytest.mark.parametrize("at", ["before the mark", "after the mark"])
async def test_a_crash_between_mark_and_memory_loses_nothing(tmp_path, monkeypatch, at):
    answers: dict[str, Any] = {}
    async with started(tmp_path, answers=answers) as bench:
        await run_to_the_end(bench)
        await anyio.sleep(2 * DAY)
        told = await bench.events()
        mark = bench.store.archive.mark

        async def crash(marks):
            if at == "after the mark":
                await mark(marks)
            raise KeyboardInterrupt

        monkeypatch.setattr(bench.store.archive, "mark", crash)
        with pytest.raises(KeyboardInterrupt):
            await bench.archiver.archive_once()
        monkeypatch.undo()
    async with started(tmp_path, answers=answers) as bench:
        await anyio.sleep(SOON)
        assert bench.followed() == {"c"}
        assert await bench.events() == told
        assert (bench.jobs("succeeded"), bench.jobs("failed")) == (1, 1)
        answers["b"] = "SUCCEEDED"
        await anyio.sleep(SOON)
        of_b = [each["sequence"] for each in await bench.events() if each["job"]["id"] == "b"]
        assert of_b == [1, 2, 3]


async def test_a_type_that_reopens_keeps_its_jobs(tmp_path):
    async with started(tmp_path) as bench:
        await run_to_the_end(bench)
        await bench.upkeep(2 * DAY)
        assert bench.followed() == {"c"}
        await bench.apply(watch(), kind=Kind(reopens=True))
        assert bench.followed() == {"a", "b", "c"}
        await bench.upkeep(2 * DAY)
        assert bench.followed() == {"a", "b", "c"}
        assert (bench.jobs("succeeded"), bench.jobs("failed")) == (1, 1)


async def test_a_job_comes_back_while_many_others_are_judged_again(tmp_path, monkeypatch):
    monkeypatch.setattr("monitor.stores.archive.ROWS_AT_ONCE", 1)
    async with started(tmp_path) as bench:
        await run_to_the_end(bench)
        await bench.upkeep(2 * DAY)
        judged: list[str] = []
        of_place = bench.store.archive.of_place

        async def next_page(place, after=""):
            judged.append(after)
            if len(judged) == 1:
                tasks.start_soon(bench.recorder.promote, [job("b").key])
            return await of_place(place, after)

        monkeypatch.setattr(bench.store.archive, "of_place", next_page)
        async with anyio.create_task_group() as tasks:
            await bench.apply(watch(discover={"include": ["[ab]*"]}))
        assert judged == ["", job("a").key], "b had come back before its turn"
        ((_, archived),) = await bench.store.archive.find([job("b").key])
        assert archived is Archived.LIVE
        assert (bench.jobs("succeeded"), bench.jobs("failed")) == (1, 1)


async def test_no_job_is_archived_while_a_reload_finds_out_what_to_follow(tmp_path, monkeypatch):
    async with started(tmp_path) as bench:
        await run_to_the_end(bench)
        await anyio.sleep(2 * DAY)
        live = bench.store.archive.live

        async def then_archive(after="", place=None):
            found = await live(after, place)
            tasks.start_soon(bench.archiver.archive_once)
            await anyio.sleep(1)
            return found

        monkeypatch.setattr(bench.store.archive, "live", then_archive)
        async with anyio.create_task_group() as tasks:
            await bench.apply(watch(labels={"team": "a"}))
        monkeypatch.undo()
        assert (bench.jobs("succeeded"), bench.jobs("failed")) == (1, 1)
        for known, archived in await bench.store.archive.find([job("a").key, job("b").key]):
            assert (archived is Archived.LIVE) == (known.job.id in bench.followed())


async def test_jobs_that_come_back_together_share_their_commits(tmp_path, monkeypatch):
    async with started(tmp_path) as bench:
        names = [f"j-{number}" for number in range(20)]
        bench.source.answers.update(dict.fromkeys(names, "RUNNING"))
        await anyio.sleep(SOON)
        bench.source.answers.update(dict.fromkeys(names, "SUCCEEDED"))
        await bench.upkeep(2 * DAY)
        assert bench.followed() == set()
        marks: list[int] = []
        mark = bench.store.archive.mark

        async def counted(some):
            marks.append(len(some))
            await mark(some)

        monkeypatch.setattr(bench.store.archive, "mark", counted)
        bench.source.answers.update(dict.fromkeys(names, "FAILED"))
        await anyio.sleep(SOON)
        assert bench.followed() == set(names)
        assert marks == [20]


async def test_of_archived_jobs_a_bounded_number_of_rows_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("monitor.recording.archive.MOST_ROWS", 2)
    async with started(tmp_path) as bench:
        await run_to_the_end(bench)
        await bench.upkeep(2 * DAY)
        archive = Archive(bench.store.archive)
        for _ in range(2):
            await archive.recall([job("a").key, job("b").key, job("x").key])
        assert archive.row(job("a").key) is not None
        assert archive.row(job("x").key) is None


def test_failures_stay_as_long_as_the_page_shows_them_first():
    assert timedelta(days=1) == archiving.AFTER_FAILURE
