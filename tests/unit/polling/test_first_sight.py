"""Which jobs were there before they were watched, and which ended before they were first polled."""

from collections import Counter
from dataclasses import replace

import anyio
import pytest

from monitor.config import Discover
from monitor.errors import PollError, PollReason
from monitor.model import Page
from monitor.recording.baselines import Discovery
from monitor.recording.router import Router
from tests.builders import VIRTUAL, Answer, FakeType, at, job, running
from tests.polling import polling, run_for

pytestmark = VIRTUAL
NO_STATES = FakeType(lists_states=False)
"""A listing that tells no states."""
REFUSED = PollError(PollReason.UNAVAILABLE, "ServiceUnavailable")


async def sent(bench):
    """Return the ids of the jobs, and the kinds, of what goes to the sink."""
    found = await bench.store.deliveries(limit=1000)
    of_jobs = [each for each in found if each.kind.startswith("job.")]
    return Counter((each.key.rpartition("/")[2], each.kind) for each in of_jobs)


async def baseline(bench):
    """Return the jobs whose discovery says that they were there before."""
    rows = await bench.store.transitions(limit=10_000)
    return {event["subject"] for _, event in rows if event["data"]["baseline"]}


async def test_what_the_first_sweep_finds_is_recorded_and_never_sent(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {f"j-{number}": "FAILED" for number in range(40)} | {"open": "PENDING"}
        b.discover()
        await run_for(b, 100)
        assert await baseline(b) == set(b.source.answers)
        assert await sent(b) == {}
        assert len(await b.told()) == 41


async def test_a_job_that_ends_before_its_first_poll_is_sent_once(tmp_path):
    async with polling(tmp_path) as b:
        b.recorder.router = Router([], ["ops"])
        b.source.answers["old"] = "FAILED"
        b.discover()
        async with running(b.poller):
            await anyio.sleep(10)
            b.source.answers |= {"short": Answer("FAILED", updated_at=at(11)), "open": "PENDING"}
            await anyio.sleep(600)
        assert await sent(b) == {("short", "job.discovered"): 1}
        rows = [event for _, event in await b.store.transitions() if event["subject"] == "short"]
        assert rows[0]["data"]["severity"] == "error"
        assert rows[0]["data"]["occurred_at"] == "2026-03-01T12:00:11.000Z"
        assert not rows[0]["data"]["baseline"]


async def test_a_named_job_whose_first_answer_is_final_is_sent(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {"a": "FAILED", "b": "FAILED"}
        b.recorder.baselines.want({}, lambda one: one.id == "a")
        b.follow("a")
        b.discover()
        await run_for(b, 100)
        assert await sent(b) == {("a", "job.discovered"): 1}


async def test_a_baseline_job_that_ends_later_is_sent_as_a_change(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "RUNNING"
        b.discover()
        async with running(b.poller):
            await anyio.sleep(40)
            b.source.answers["a"] = "FAILED"
            await anyio.sleep(40)
        assert await sent(b) == {("a", "job.state_changed"): 1}


async def test_a_job_listed_open_that_ends_before_its_first_poll_is_sent(tmp_path):
    """The baseline saw it open: its end comes after."""
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "FAILED"
        b.source.listing = lambda _token: Page(
            tuple(b.source._observation(job("a"), "RUNNING", at(0)) for _ in "a"), None
        )
        b.discover()
        await run_for(b, 5)
        assert await sent(b) == {("a", "job.discovered"): 1}


async def test_a_restart_begins_no_baseline_anew(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["old"] = "FAILED"
        b.discover()
        await run_for(b, 40)
    async with polling(tmp_path) as b:
        b.source.answers |= {"old": "FAILED", "while-down": "FAILED"}
        b.discover()
        await run_for(b, 40)
        assert await sent(b) == {("while-down", "job.discovered"): 1}


async def test_a_first_sweep_cut_off_by_a_crash_is_begun_anew(tmp_path):
    """What was there stays baseline; what was created after the first begin is none."""
    async with polling(tmp_path) as b:
        old = {f"j-{number}": Answer("FAILED", created_at=at(-60)) for number in range(60)}
        b.source.answers |= old
        b.source.page_latency = 5.0
        b.discover()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(b.poller.run)
            await anyio.sleep(8)
            tasks.cancel_scope.cancel()
        assert len(await b.told()) == 25
    async with polling(tmp_path) as b:
        later = b.clock.now()
        b.source.answers |= old | {"new": Answer("FAILED", created_at=later)}
        b.source.answers["undated"] = "FAILED"
        b.discover()
        await run_for(b, 40)
        assert await sent(b) == {("new", "job.discovered"): 1}
        assert await baseline(b) == {*old, "undated"}


async def test_a_listing_that_never_ends_swallows_no_end(tmp_path):
    async with polling(tmp_path) as b:
        b.source.listing = lambda _token: Page(b.source.rows(*b.source.answers), None, torn=True)
        b.source.answers["old"] = Answer("FAILED", created_at=at(-60))
        b.discover()
        async with running(b.poller):
            await anyio.sleep(100)
            b.source.answers["new"] = Answer("FAILED", created_at=b.clock.now())
            await anyio.sleep(100)
        assert await sent(b) == {("new", "job.discovered"): 1}
        (known,) = await b.store.baselines()
        assert known.completed_at is None


async def test_a_page_that_is_asked_for_again_is_no_new_attempt(tmp_path):
    """The clock of AWS may be ahead: while one attempt goes on, all that it finds was there."""
    failures = [REFUSED, REFUSED]

    async with polling(tmp_path) as b:
        b.source.answers |= {
            f"j-{number}": Answer("FAILED", created_at=at(3600)) for number in range(30)
        }

        def listing(token):
            if token and failures:
                raise failures.pop()
            return b.source.slice(token)

        b.source.listing = listing
        b.discover()
        await run_for(b, 200)
        assert failures == []
        assert await sent(b) == {}
        assert len(await baseline(b)) == 30


@pytest.mark.parametrize("crash", [False, True], ids=["at once", "after a crash"])
async def test_what_the_first_sweep_found_stays_baseline_though_described_later(tmp_path, crash):
    async with polling(tmp_path, job_type=NO_STATES) as b:
        b.source.answers["old"] = "FAILED"
        b.source.latency = 10.0
        b.discover()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(b.poller.run)
            await anyio.sleep(1 if crash else 15)
            tasks.cancel_scope.cancel()
        (known,) = await b.store.baselines()
        assert known.completed_at
        assert known.awaited == {"old": False}
        assert len(await b.told()) == (0 if crash else 1)
    async with polling(tmp_path, job_type=NO_STATES) as b:
        b.source.answers |= {"old": "FAILED", "new": "FAILED"}
        b.discover()
        await run_for(b, 100)
        assert await sent(b) == {("new", "job.discovered"): 1}
        assert await baseline(b) == {"old"}
        (known,) = await b.store.baselines()
        assert known.awaited == {}


async def test_a_listing_without_states_that_tells_of_a_cancel_is_baseline_too(tmp_path):
    async with polling(tmp_path, job_type=NO_STATES) as b:
        b.source.answers["old"] = "CANCELED"
        b.discover()
        async with running(b.poller):
            await anyio.sleep(20)
            b.source.answers["new"] = "CANCELED"
            await anyio.sleep(100)
        assert await sent(b) == {("new", "job.discovered"): 1}
        assert await baseline(b) == {"old"}


async def test_a_second_watch_with_the_same_discovery_begins_no_baseline(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["old"] = "FAILED"
        b.discover(include=["*", "*"])
        async with running(b.poller):
            await anyio.sleep(10)
            b.source.answers["new"] = "FAILED"
            b.discover()
            await anyio.sleep(40)
        assert await sent(b) == {("new", "job.discovered"): 1}
        assert len(await b.store.baselines()) == 1


async def test_wider_globs_begin_a_baseline_of_what_the_narrow_ones_left_out(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {"cam-1": "FAILED", "disk-1": "FAILED"}
        narrow = b.discover(include=["cam-*"])
        async with running(b.poller):
            await anyio.sleep(10)
            b.poller.drop(narrow)
            b.source.answers |= {"cam-2": "FAILED", "disk-2": "FAILED"}
            b.discover()
            await anyio.sleep(10)
            b.source.answers["disk-3"] = "FAILED"
            await anyio.sleep(40)
        assert await sent(b) == {("cam-2", "job.discovered"): 1, ("disk-3", "job.discovered"): 1}
        assert await baseline(b) == {"cam-1", "disk-1", "disk-2"}


async def test_a_greater_age_begins_a_baseline_of_what_was_too_old(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = Answer("FAILED", created_at=at(-60))
        first = b.discover(max_age="1h")
        async with running(b.poller):
            await anyio.sleep(10)
            b.poller.drop(first)
            b.source.answers["older"] = Answer("FAILED", created_at=at(-7200))
            b.source.answers["young"] = Answer("FAILED", created_at=at(5))
            b.discover(max_age="1d")
            await anyio.sleep(40)
        assert await sent(b) == {("young", "job.discovered"): 1}
        assert await baseline(b) == {"a", "older"}


async def test_old_discoveries_are_forgotten_once_the_present_ones_have_their_baseline(tmp_path):
    place = ("panorama.package-import", "prod", "us-east-1")
    wide = Discovery(Discover(), NO_STATES.listed).spec
    async with polling(tmp_path) as b:
        b.source.answers["cam-1"] = "FAILED"
        narrow = b.discover(include=["cam-*"])
        async with running(b.poller):
            await anyio.sleep(10)
            b.recorder.baselines.want({place: {wide}}, lambda _job: False)
            await b.recorder.baselines.tidy()
            assert len(await b.store.baselines()) == 1  # it still tells what is not new
            b.poller.drop(narrow)
            b.discover()
            await anyio.sleep(10)
            assert [one.discover for one in await b.store.baselines()] == [wide]
            b.recorder.baselines.want({}, lambda _job: False)
            await b.recorder.baselines.tidy()
            assert await b.store.baselines() == []


async def test_a_job_is_recorded_by_its_first_poll_before_the_sweep_that_finds_it(tmp_path):
    """What is described while the listing shows it is judged by the listing all the same."""
    async with polling(tmp_path, job_type=NO_STATES) as b:
        b.source.answers |= {f"j-{number}": "FAILED" for number in range(60)}
        b.source.latency = 0.5
        b.discover(interval=5.0)
        b.discover(interval=5.0, include=["j-*"])
        await run_for(b, 60)
        assert await sent(b) == {}
        assert len(await baseline(b)) == 60


async def test_an_outage_at_the_start_swallows_no_end(tmp_path):
    """Nothing was listed yet, but the watch had begun."""
    async with polling(tmp_path) as b:
        b.source.page_trouble = REFUSED
        b.source.answers["old"] = Answer("FAILED", created_at=at(-60))
        b.discover()
        async with running(b.poller):
            await anyio.sleep(600)
            b.source.answers["new"] = Answer("FAILED", created_at=b.clock.now())
            b.source.answers["undated"] = "FAILED"
            await anyio.sleep(60)
            b.source.page_trouble = None
            await anyio.sleep(900)
        assert await sent(b) == {("new", "job.discovered"): 1}
        assert await baseline(b) == {"old", "undated"}


async def test_a_token_that_is_refused_begins_the_first_sweep_anew(tmp_path):
    refusals = [PollError(PollReason.CONFIG, "InvalidToken")]

    async with polling(tmp_path) as b:
        b.source.answers |= {f"j-{n}": Answer("FAILED", created_at=at(-60)) for n in range(30)}

        def listing(token):
            if token and refusals:
                b.source.answers["new"] = Answer("FAILED", created_at=b.clock.now())
                raise refusals.pop()
            return b.source.slice(token)

        b.source.listing = listing
        b.discover()
        await run_for(b, 900)
        assert refusals == []
        assert await sent(b) == {("new", "job.discovered"): 1}
        assert len(await baseline(b)) == 30


async def test_what_is_named_while_it_waits_for_its_first_poll_is_sent(tmp_path):
    named = set()

    async with polling(tmp_path, job_type=NO_STATES) as b:
        b.recorder.baselines.want({}, lambda one: one.id in named)
        b.source.answers |= {"a": "FAILED", "b": "FAILED"}
        b.source.latency = 10.0
        b.discover()
        async with running(b.poller):
            await anyio.sleep(5)
            named.add("a")
            await anyio.sleep(30)
        assert await sent(b) == {("a", "job.discovered"): 1}


@pytest.mark.parametrize("crash", [False, True], ids=["one run", "a restart"])
async def test_a_listing_of_ids_that_never_ends_swallows_no_end(tmp_path, crash):
    """Rows that carry only an id tell no time: the first poll does."""

    def ids_only(b):
        rows = (replace(row, created_at=None) for row in b.source.rows(*b.source.answers))
        return Page(tuple(rows), None, torn=True)

    async with polling(tmp_path, job_type=NO_STATES) as b:
        b.source.listing = lambda _token: ids_only(b)
        b.source.answers["old"] = Answer("FAILED", created_at=at(-60))
        b.discover()
        async with running(b.poller):
            await anyio.sleep(100)
            if not crash:
                b.source.answers["new"] = Answer("FAILED", created_at=b.clock.now())
                await anyio.sleep(100)
        before = dict(b.source.answers)
    if crash:
        async with polling(tmp_path, job_type=NO_STATES) as b:
            b.source.listing = lambda _token: ids_only(b)
            b.source.answers |= before
            b.discover()
            b.source.answers["new"] = Answer("FAILED", created_at=at(b.clock.monotonic() + 50))
            await run_for(b, 100)
    async with polling(tmp_path) as b:
        assert await sent(b) == {("new", "job.discovered"): 1}
        assert await baseline(b) == {"old"}
