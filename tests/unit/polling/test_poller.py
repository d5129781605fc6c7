"""Loop 1 in virtual time: what is asked when, and when not."""

from dataclasses import replace
from itertools import pairwise

import anyio
import pytest

from monitor import pacing
from monitor.clock import Lease
from monitor.errors import PollError, PollReason, StoreError
from monitor.model import Page
from monitor.polling.poller import PROBE_INTERVAL
from monitor.polling.quota import Budget
from tests.builders import TYPE, VIRTUAL, FakeType, ScriptedSource, following, job, running, until
from tests.polling import PLACE, lapsing, polling, run_for

pytestmark = VIRTUAL
GONE = PollError(PollReason.UNAVAILABLE, "NoSuchHost")
FLAKY = PollError(PollReason.TRANSIENT, "InternalServerException")


async def test_a_job_is_polled_until_it_is_final(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(100)
            b.source.answers["a"] = "SUCCEEDED"
            await anyio.sleep(40)
            looks = len(b.source.looks)
            await anyio.sleep(1000)
        assert len(b.source.looks) == looks
        assert await b.kinds() == ["job.discovered", "job.state_changed"]


async def test_a_job_known_to_be_final_is_not_looked_at_after_a_restart(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "FAILED"
        b.follow("a")
        await run_for(b, 10)
    async with polling(tmp_path) as b:
        b.follow("a")
        await run_for(b, 100)
        assert b.source.looks == []


@pytest.mark.parametrize("prepares", [True, False])
async def test_no_job_is_polled_once_the_lease_lapsed_while_its_request_was_prepared(
    tmp_path, monkeypatch, prepares
):
    lease = Lease()
    async with polling(tmp_path, lease=lease) as b:
        b.source.prepares = prepares
        prepare = lapsing(lease, b.clock, b.source.prepare)
        monkeypatch.setattr(b.source, "prepare", prepare)
        b.source.answers["a"] = "PENDING"
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(60)
            assert b.source.looks == []
            monkeypatch.undo()
            lease.until = float("inf")
            await until(lambda: b.source.looks, within=5)


async def test_what_was_not_polled_says_nothing_of_an_outage(tmp_path, monkeypatch):
    lease = Lease()
    async with polling(tmp_path, lease=lease) as b:
        baselines, judged = b.recorder.baselines, []
        monkeypatch.setattr(baselines, "begin", lapsing(lease, b.clock, baselines.begin))
        monkeypatch.setattr(b.poller._outages, "succeeded", lambda *about: judged.append(about))
        b.discover()
        async with running(b.poller):
            await anyio.sleep(5)
        assert lease.until < b.clock.monotonic()
        assert judged == []


async def test_a_job_followed_twice_is_looked_at_once(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.follow("a", "a")
        await run_for(b, 1)
        b.follow("a")
        assert len(b.source.looks) == 1


async def test_a_job_followed_while_the_poller_runs_is_looked_at_at_once(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        async with running(b.poller):
            await anyio.sleep(1.5)
            b.follow("a")
            await anyio.sleep(0.1)
        assert b.source.asked_for("a") == [pytest.approx(1.5)]


async def test_looks_stay_on_the_grid_of_each_job(tmp_path):
    async with polling(tmp_path) as b:
        ids = [f"j-{number}" for number in range(10)]
        b.source.answers |= dict.fromkeys(ids, "PENDING")
        b.source.latency = 0.3
        b.follow(*ids)
        await run_for(b, 600)
        for job_id in ids:
            phase = pacing.phase_of(job(job_id).key, 30)
            first, *later = b.source.asked_for(job_id)
            assert first == 0
            assert 3 <= later[0] <= 33.5
            assert len(later) in {19, 20}
            for moment in later:
                assert (moment - phase + 1) % 30 == pytest.approx(1, abs=0.05)


async def test_no_more_looks_are_under_way_than_permitted(tmp_path):
    async with polling(tmp_path, concurrency=4) as b:
        ids = [f"j-{number}" for number in range(30)]
        b.source.answers |= dict.fromkeys(ids, "PENDING")
        b.source.latency = 5
        b.follow(*ids)
        await run_for(b, 60)
        assert b.source.most_under_way == 4
        assert {asked for _, asked in b.source.looks} == set(ids)


async def test_more_prepared_looks_may_be_under_way_but_not_without_limit(tmp_path):
    async with polling(tmp_path, concurrency=4) as b:
        ids = [f"j-{number}" for number in range(60)]
        b.source.answers |= dict.fromkeys(ids, "PENDING")
        b.source.prepares, b.source.latency = True, 5
        b.follow(*ids, interval=10)
        await run_for(b, 200)
        assert 4 < b.source.most_under_way <= 16
        assert {asked for _, asked in b.source.looks} == set(ids)


async def test_the_quota_is_kept_and_spent(tmp_path):
    async with polling(tmp_path, rate=2, burst=5) as b:
        ids = [f"j-{number}" for number in range(100)]
        b.source.answers |= dict.fromkeys(ids, "PENDING")
        b.follow(*ids, interval=1.0)
        await run_for(b, 120)
        times = [moment for moment, _ in b.source.looks]
        for start, moment in enumerate(times):
            within = sum(moment <= later <= moment + 10 for later in times[start:])
            assert within <= 5 + 2 * 10
        assert len(times) >= 2 * 120
        assert b.measured("quota_wait_seconds_total", **PLACE) == pytest.approx(117, abs=3)


async def test_jobs_that_wait_for_the_quota_take_turns(tmp_path):
    async with polling(tmp_path, rate=2, burst=1) as b:
        ids = [f"j-{number}" for number in range(40)]
        b.source.answers |= dict.fromkeys(ids, "PENDING")
        b.follow(*ids, interval=1.0)
        await run_for(b, 400)
        counts = [len(b.source.asked_for(job_id)) for job_id in ids]
        assert max(counts) - min(counts) <= 2


async def test_lateness_is_measured(tmp_path):
    async with polling(tmp_path, rate=1, burst=1) as b:
        b.source.answers |= {"a": "PENDING", "b": "PENDING"}
        b.follow("a", "b", interval=1000.0)
        await run_for(b, 2)
        assert b.measured("poll_lateness_seconds_sum") == pytest.approx(1, abs=0.1)
        assert b.measured("poll_lateness_seconds_count") == 2


async def test_throttling_halves_the_rate_and_it_recovers(tmp_path):
    async with polling(tmp_path, rate=8, burst=1) as b:
        ids = [f"j-{number}" for number in range(50)]
        b.source.answers |= dict.fromkeys(ids, "PENDING")
        b.follow(*ids, interval=1.0)
        async with running(b.poller):
            await anyio.sleep(10)
            b.source.trouble = PollError(PollReason.THROTTLE, "ThrottlingException")
            await until(lambda: b.quota.rate < 8, within=2)
            assert b.quota.rate == pytest.approx(4, abs=0.1)
            assert b.measured("quota_rate", **PLACE) == pytest.approx(4, abs=0.1)
            await anyio.sleep(20)
            assert b.quota.rate < 1
            slow = len(b.source.looks)
            await anyio.sleep(20)
            assert len(b.source.looks) - slow < 20
            b.source.trouble = None
            await anyio.sleep(60)
            assert b.quota.rate == 8
            fast = len(b.source.looks)
            await anyio.sleep(10)
            assert len(b.source.looks) - fast == pytest.approx(80, abs=2)
        assert set(await b.kinds()) == {"job.discovered"}


async def test_retry_after_silences_the_whole_source(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {"a": "PENDING", "b": "PENDING"}
        b.follow("a", interval=10.0)
        async with running(b.poller):
            b.source.trouble = PollError(PollReason.THROTTLE, "SlowDown", retry_after=60)
            await anyio.sleep(1)
            b.source.trouble = None
            b.follow("b")
            await anyio.sleep(200)
        assert [moment for moment, _ in b.source.looks[1:3]] == pytest.approx([60, 60], abs=1.5)


async def test_a_source_that_is_gone_is_told_once_and_probed_slowly(tmp_path):
    async with polling(tmp_path) as b:
        ids = [f"j-{number}" for number in range(50)]
        b.source.answers |= dict.fromkeys(ids, "PENDING")
        b.follow(*ids)
        async with running(b.poller):
            await anyio.sleep(100)
            before = await b.kinds()
            b.source.trouble = GONE
            await until(lambda: b.source.looks and b.poller.client.health.lost)
            await anyio.sleep(60)
            start, asked = anyio.current_time(), len(b.source.looks)
            await anyio.sleep(3600)
            probes = b.source.looks[asked:]
            assert 3600 / PROBE_INTERVAL - 5 <= len(probes) <= 3600 / PROBE_INTERVAL + 1
            gaps = [later[0] - earlier[0] for earlier, later in pairwise(probes)]
            assert min(gaps) >= PROBE_INTERVAL - 1e-9
            assert start < probes[0][0]
            assert b.measured("source_up", **PLACE) == 0
            assert b.measured("quota_wait_seconds_total", **PLACE) < 1
            b.source.trouble = None
            asked = len(b.source.looks)
            await anyio.sleep(PROBE_INTERVAL + 1)
            assert {job_id for _, job_id in b.source.looks[asked:]} == set(ids)
            assert b.measured("source_up", **PLACE) == 1
            await anyio.sleep(600)
        assert await b.kinds() == [*before, "source.unavailable", "source.recovered"]


async def test_all_that_waits_for_a_lost_source_is_asked_for_when_it_is_back(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= dict.fromkeys("abcd", "PENDING")
        b.follow(*"abcd")
        async with running(b.poller):
            await anyio.sleep(1)
            b.source.trouble = GONE
            await anyio.sleep(2 * 3600)
            b.source.trouble = None
            asked = len(b.source.looks)
            await until(lambda: not b.recorder.is_lost(b.poller.key), within=2 * PROBE_INTERVAL)
            await anyio.sleep(1)
            assert {job_id for _, job_id in b.source.looks[asked:]} == set("abcd")


async def test_three_answers_of_no_such_host_are_enough(tmp_path):
    async with polling(tmp_path) as b:
        b.source.trouble = GONE
        b.follow("a")
        await run_for(b, PROBE_INTERVAL)
        assert await b.kinds() == ["source.unavailable"]
        assert len(b.source.looks) == 3


@pytest.mark.parametrize("reason", [PollReason.TRANSIENT, PollReason.AUTH, PollReason.MALFORMED])
async def test_five_minutes_of_failures_are_an_outage(tmp_path, reason):
    async with polling(tmp_path) as b:
        b.source.trouble = PollError(reason, "Bad")
        b.follow("a", "b", "c", "d")
        async with running(b.poller):
            await anyio.sleep(295)
            assert await b.kinds() == []
            await anyio.sleep(600)
            assert await b.kinds() == ["source.unavailable"]


async def test_throttling_alone_is_no_outage(tmp_path):
    async with polling(tmp_path) as b:
        b.source.trouble = PollError(PollReason.THROTTLE, "Throttling")
        b.follow("a", "b", "c")
        await run_for(b, 3600)
        assert await b.kinds() == []


async def test_one_bad_job_is_no_outage(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {"a": FLAKY, "b": "PENDING"}
        b.follow("a", "b")
        await run_for(b, 3600)
        assert await b.kinds() == ["job.discovered"]


async def test_an_outage_is_told_once_over_a_restart(tmp_path):
    async with polling(tmp_path) as b:
        b.source.trouble = GONE
        b.follow("a")
        await run_for(b, 60)
    async with polling(tmp_path) as b:
        b.source.trouble = GONE
        b.source.answers["a"] = "PENDING"
        b.follow("a", "b", "c", "d")
        async with running(b.poller):
            await anyio.sleep(600)
            assert len(b.source.looks) <= 600 / PROBE_INTERVAL + 1
            assert await b.kinds() == ["source.unavailable"]
            b.source.trouble = None
            await anyio.sleep(700)
        assert sorted(await b.kinds()) == [
            "job.discovered",
            "source.recovered",
            "source.unavailable",
        ]


async def test_a_source_found_while_its_loss_is_written_down_is_told_found(tmp_path, monkeypatch):
    """Three looks fail and a fourth succeeds before the first commit is through."""
    async with polling(tmp_path) as b:
        record = b.store.record

        async def record_slowly(entry):
            await anyio.sleep(0.2)
            return await record(entry)

        monkeypatch.setattr(b.store, "record", record_slowly)
        b.source.answers |= {"a": GONE, "b": GONE, "c": GONE} | {"d": "PENDING"}
        b.source.latency = 1.0
        b.follow(*"abc")
        async with running(b.poller):
            await anyio.sleep(0.1)
            b.follow("d")
            await anyio.sleep(1.0)
            assert b.poller.client.health.lost
            assert not b.recorder.is_lost(b.poller.key)
            await anyio.sleep(0.7)
            assert b.measured("source_up", **PLACE) == 1
            assert not b.recorder.is_lost(b.poller.key)
            sources = [kind for kind in await b.kinds() if kind.startswith("source.")]
            assert sources == ["source.unavailable", "source.recovered"]


async def test_a_listing_that_waits_is_retried_when_the_source_is_back(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= {"a": "PENDING"}
        b.follow("a")
        b.discover()
        async with running(b.poller):
            await anyio.sleep(1)
            b.source.trouble = GONE
            await anyio.sleep(3600)
            b.source.trouble = None
            asked = len(b.source.pages)
            await until(lambda: not b.poller.client.health.lost, within=2 * PROBE_INTERVAL)
            await anyio.sleep(1)
            assert len(b.source.pages) > asked


async def test_a_stop_finishes_the_looks_under_way_and_begins_no_more(tmp_path):
    async with polling(tmp_path, concurrency=2) as b:
        b.source.answers |= dict.fromkeys("abcd", "PENDING")
        b.source.latency = 10
        b.follow(*"abcd")
        with anyio.fail_after(100):
            async with running(b.poller):
                await anyio.sleep(1)
        assert anyio.current_time() == pytest.approx(10, abs=0.1)
        assert len(await b.told()) == len(b.source.looks) == 2


async def test_a_cancelled_poller_leaves_nothing_behind(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers |= dict.fromkeys("abcd", "PENDING")
        b.source.latency = 10
        b.follow(*"abcd")
        with anyio.move_on_after(1) as scope:
            await b.poller.run()
        assert scope.cancelled_caught
        assert await b.told() == []


async def test_the_loop_shows_that_it_is_alive(tmp_path):
    async with polling(tmp_path) as b, running(b.poller):
        await anyio.sleep(100)
        assert b.clock.monotonic() - b.poller.last_pass <= 5


async def test_an_idle_poller_sleeps(tmp_path, monkeypatch):
    async with polling(tmp_path) as b:
        passes = []
        start_due = b.poller.start_due

        def counted(tasks):
            passes.append(anyio.current_time())
            return start_due(tasks)

        monkeypatch.setattr(b.poller, "start_due", counted)
        b.source.answers["a"] = "PENDING"
        b.follow("a")
        await run_for(b, 300)
        assert len(passes) < 100


async def test_a_store_that_fails_ends_the_poller(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.follow("a")
        (tmp_path / "state.db").unlink()
        with anyio.fail_after(100), pytest.RaisesGroup(StoreError, flatten_subgroups=True):
            await b.poller.run()


async def test_a_wall_clock_that_jumps_moves_no_look(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["a"] = "PENDING"
        b.follow("a")
        async with running(b.poller):
            await anyio.sleep(100)
            b.clock.jump = -7200
            await anyio.sleep(100)
            b.clock.jump = 86400
            await anyio.sleep(100)
        times = b.source.asked_for("a")
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert gaps[1:] == pytest.approx([30] * (len(gaps) - 1), abs=0.1)
        assert await b.kinds() == ["job.discovered"]


async def test_two_sources_share_one_quota(tmp_path):
    async with polling(tmp_path, rate=1, burst=1) as b:
        other = ScriptedSource(b.clock)
        for source, job_id in ((b.source, "a"), (other, "b")):
            source.answers[job_id] = "PENDING"
            b.poller.follow(_on(b, source, job_id))
        await run_for(b, 60)
        assert len(b.source.looks) + len(other.looks) <= 61
        assert len(other.looks) == pytest.approx(len(b.source.looks), abs=2)


def _on(b, source, job_id):
    tracked = b.track(job(job_id), interval=0.5)
    tracked.options = replace(tracked.options, source=source)
    return tracked


async def test_an_operation_with_a_limit_of_its_own_leaves_the_quota_to_others(tmp_path):
    async with polling(tmp_path, rate=10, burst=1) as b:
        b.quota.change(10, 1, 0.0, {TYPE.describe_operation: Budget(1, 1)})
        ids = [f"j-{number}" for number in range(100)]
        b.source.answers |= dict.fromkeys(ids, "PENDING")
        b.source.page_size = 1
        b.follow(*ids, interval=1.0)
        b.discover(interval=1.0, include=["none-*"])
        await run_for(b, 100)
        assert len(b.source.looks) == pytest.approx(100, abs=2)
        # Five pages a second, though jobs are overdue all the time.
        assert len(b.source.pages) > 400


async def test_where_the_quota_is_short_a_job_with_a_waiter_keeps_its_interval(tmp_path):
    async with polling(tmp_path, rate=2, burst=1) as b:
        ids = [f"j-{number}" for number in range(40)]
        b.source.answers |= dict.fromkeys(ids, "PENDING")
        b.follow(*ids, interval=10.0)
        async with running(b.poller):
            await anyio.sleep(200)
            began = b.clock.monotonic()
            awaited = b.poller.schedule.known(job("j-7"))
            assert awaited is not None
            for _ in range(40):
                b.poller.awaited(awaited, 10.0)
                await anyio.sleep(5)
        asked = {each: [at for at in b.source.asked_for(each) if at > began] for each in ids}
        # Every ten seconds instead of every twenty, and nobody else is starved.
        assert len(asked["j-7"]) >= 17
        assert min(map(len, asked.values())) >= 7


async def test_an_operation_does_not_wait_for_the_limit_of_a_slower_one(tmp_path):
    limits = {"DescribePackageImportJob": Budget(0.05, 1), "ListPackageImportJobs": Budget(2.0, 1)}
    async with polling(tmp_path, rate=10.0) as b:
        b.poller.limit(Budget(10.0, 10, limits))
        b.source.page_size = 1
        b.source.answers = {f"j-{number}": "RUNNING" for number in range(60)}
        b.discover(60.0)
        await run_for(b, 40)
        assert len(b.source.pages) >= 55


async def test_a_job_does_not_wait_for_a_page_that_is_due_later_and_may_not_be_sent(tmp_path):
    async with polling(tmp_path) as b:
        b.poller.limit(Budget(10.0, 10, {"ListPackageImportJobs": Budget(5.0, 1)}))
        b.source.listing = lambda _token: Page((), None)
        b.source.answers = dict.fromkeys("abcdefgh", "RUNNING")
        b.discover(30.0)
        b.follow(*"abcdefgh", interval=10.0)
        async with running(b.poller):
            await anyio.sleep(25)
            b.quota.throttled(b.clock.monotonic(), 600, operation="ListPackageImportJobs")
            await anyio.sleep(600)
        times = [b.source.asked_for(each)[1:] for each in "abcdefgh"]
        assert max(later - before for each in times for before, later in pairwise(each)) <= 10.1


@pytest.mark.parametrize("trouble", [None, FLAKY])
async def test_a_reload_may_change_the_operation_of_a_poll_under_way(tmp_path, trouble):
    async with polling(tmp_path) as b:
        b.source.latency = 5.0
        b.source.answers["a"] = "PENDING"
        b.follow("a")
        async with running(b.poller):
            await until(lambda: b.source.under_way)
            b.source.trouble = trouble
            b.follow("a", follow=following(FakeType(describe_operation="DescribeJob")))
            await anyio.sleep(100)
        assert len(b.source.looks) >= 3
