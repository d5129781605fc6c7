"""Watches come, change and go while the pollers run; in virtual time, on a real store."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import cycle, islice, pairwise
from random import Random
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry

from monitor.config import MetricsSettings, Route, Settings
from monitor.errors import PollError, PollReason
from monitor.metrics import Metrics
from monitor.model import Phase
from monitor.polling import manager
from monitor.polling.job_collector import JobCollector
from monitor.recording.recorder import Recorder
from monitor.recording.router import Router
from tests.builders import TYPE, VIRTUAL, FakeType, ScriptedSource, VirtualClock, job, ledger, until

pytestmark = VIRTUAL
ROUTES = [Route.model_validate({"sinks": ["ops"], "match": {"kind": ["*", "job.discovered"]}})]
PLACE = {"type": TYPE.name, "account": "prod", "region": "us-east-1"}


@dataclass(frozen=True)
class Kind(FakeType):
    """A job type as the catalogue has it."""

    region: str | None = None
    interval: float = 30.0
    rate: float = 100.0
    burst: int = 100

    def with_grace(self, seconds, interval=None):
        return replace(
            self, grace=seconds or self.grace, grace_interval=interval or self.grace_interval
        )


def watch(name="all", **more):
    plain = {"name": name, "type": TYPE.name, "account": "prod", "regions": ["us-east-1"], **more}
    return {"discover": "jobs" not in more, **plain}


class Bench:
    """Everything but the sinks; what is asked of any source stands in ``source``."""

    def __init__(self, store, clock):
        self.store = store
        self.registry = CollectorRegistry()
        self.source = ScriptedSource(clock)
        self.sources = []
        metrics = Metrics(self.registry, "0")
        self.recorder = Recorder(store, Router(ROUTES, ["ops"]), metrics.record)
        self.polling = manager.PollManager(self.recorder, metrics, clock, Random(7), self._source)
        self.registry.register(
            JobCollector(
                *(metrics.places, self.polling.watched, MetricsSettings(), clock),
                store.store_time,
                archive=self.recorder.archive,
            )
        )
        self._clock = clock

    def _source(self, _watch, job_type, _region):
        made = ScriptedSource(self._clock, job_type)
        made.answers, made.looks, made.pages = (
            self.source.answers,
            self.source.looks,
            self.source.pages,
        )
        made.latency, made.page_size = self.source.latency, self.source.page_size
        self.sources.append(made)
        return made

    async def apply(self, *watches, kind=None, quotas=None, metrics=None):
        given: dict[str, Any] = {"watches": watches, "quotas": quotas or {}}
        given |= {"accounts": {"prod": {}}, "metrics": metrics or {}}
        settings = Settings.model_validate(given)
        types: dict[str, Any] = {TYPE.name: kind or Kind()}
        self.polling.apply(settings, types, await self.store.snapshots())

    async def events(self):
        return [event["data"] for _, event in await self.store.transitions(limit=1000)]

    async def kinds(self):
        return [data["kind"] for data in await self.events()]

    def series(self, name, **labels):
        return self.registry.get_sample_value(f"job_monitor_{name}", labels)


@asynccontextmanager
async def benched(tmp_path):
    clock = VirtualClock()
    async with ledger(tmp_path, clock) as store:
        bench = Bench(store, clock)
        with anyio.fail_after(100_000):
            async with bench.polling.running():
                yield bench


async def reload_often(bench, *watches, **more):
    """Apply the same configuration again and again, at times that fit no interval."""
    for _ in range(20):
        await bench.apply(*watches, **more)
        await anyio.sleep(13.7)


async def test_jobs_of_a_watch_that_did_not_change_keep_their_turns_over_reloads(tmp_path):
    async with benched(tmp_path) as bench:
        names = [f"j-{number}" for number in range(10)]
        bench.source.answers = dict.fromkeys(names, "PENDING")
        await reload_often(bench, watch(jobs=names))
        assert len(bench.sources) == 1
        for name in names:
            gaps = [after - before for before, after in pairwise(bench.source.asked_for(name))]
            assert len(gaps) >= 8
            assert gaps[1:] == pytest.approx([30.0] * len(gaps[1:]), abs=1.0)


async def test_a_sweep_of_a_watch_that_did_not_change_goes_on_over_reloads(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = {f"j-{number}": "PENDING" for number in range(60)}
        # Two seconds from page to page, so that many a reload meets a sweep half done.
        await reload_often(bench, watch(), quotas={"panorama": {"rate": 1, "burst": 1}})
        tokens = [token for _, token in bench.source.pages]
        assert len(tokens) >= 24
        assert tokens == list(islice(cycle([None, "25", "50"]), len(tokens)))
        assert tokens.count(None) <= 11


async def test_a_changed_interval_holds_at_once_for_jobs_already_followed(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = {"j-1": "PENDING"}
        await bench.apply(watch(jobs=["j-1"], interval="1h"))
        await until(bench.source.looks.__len__)
        before = len(bench.source.looks)
        await bench.apply(watch(jobs=["j-1"], interval="10s"))
        await anyio.sleep(101)
        assert 9 <= len(bench.source.looks) - before <= 11
        assert await bench.kinds() == ["job.discovered"]


async def test_changed_labels_and_stuck_after_hold_for_jobs_already_followed(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = {"j-1": "PENDING"}
        await bench.apply(watch(labels={"team": "a"}))
        await anyio.sleep(65)
        await bench.apply(watch(labels={"team": "b"}, stuck_after="1m"))
        await anyio.sleep(65)
        bench.source.answers["j-1"] = "SUCCEEDED"
        await anyio.sleep(65)
        told = [(e["sequence"], e["kind"], e["job"]["labels"]) for e in await bench.events()]
    assert told == [
        (1, "job.discovered", {"team": "a"}),
        (2, "job.stuck", {"team": "b"}),
        (3, "job.state_changed", {"team": "b"}),
        (4, "job.unstuck", {"team": "b"}),
    ]


async def test_a_removed_watch_is_neither_looked_at_nor_counted(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = {"j-1": "PENDING"}
        await bench.apply(watch())
        await anyio.sleep(65)
        assert bench.series("jobs", **PLACE, phase="waiting") is not None
        source = {"service": "panorama", "account": "prod", "region": "us-east-1"}
        assert bench.series("source_up", **source) == 1
        await bench.apply()
        await anyio.sleep(10)
        asked = len(bench.source.looks), len(bench.source.pages)
        await anyio.sleep(1000)
        assert (len(bench.source.looks), len(bench.source.pages)) == asked
        assert len(bench.recorder.snapshots()) == 0
        assert list(bench.polling.pollers()) == []
        assert bench.polling.last_pass_age() == 0
        for name in ("jobs", "stuck_jobs", "transitions", "polls", "source_up", "quota_rate"):
            (found,) = (m for m in bench.registry.collect() if m.name == f"job_monitor_{name}")
            assert found.samples == []


async def test_a_look_under_way_when_its_watch_goes_is_recorded_and_is_the_last(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = {"j-1": "PENDING", "j-2": "PENDING"}
        bench.source.latency = 5.0
        await bench.apply(watch("one", jobs=["j-1"]), watch("two", jobs=["j-2"]))
        await anyio.sleep(70)
        looked = len(bench.source.asked_for("j-1"))
        await until(lambda: len(bench.source.asked_for("j-1")) > looked)
        bench.source.answers["j-1"] = "RUNNING"
        await bench.apply(watch("two", jobs=["j-2"]))
        await anyio.sleep(200)
        assert len(bench.source.asked_for("j-1")) == looked + 1
        assert bench.recorder.snapshot(job("j-1")) is None
        assert [known.job.id for known in bench.recorder.snapshots()] == ["j-2"]
        last = (await bench.events())[-1]
        assert (last["job"]["id"], last["current"]["state"]) == ("j-1", "RUNNING")


async def test_a_source_is_handed_over_once_the_polls_under_way_are_recorded(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers, bench.source.latency = {"j-1": "PENDING"}, 2.0
        await bench.apply(watch(jobs=["j-1"]))
        await until(bench.source.looks.__len__)
        assert await bench.polling.part_with([*bench.polling.sources()])
        assert await bench.kinds() == ["job.discovered"]


async def test_a_source_is_handed_over_after_a_while_though_polls_are_under_way(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers, bench.source.latency = {"j-1": "PENDING"}, 30.0
        await bench.apply(watch(jobs=["j-1"]))
        await until(bench.source.looks.__len__)
        began = anyio.current_time()
        assert await bench.polling.part_with([*bench.polling.sources()])
        assert anyio.current_time() - began == pytest.approx(manager.FINISH_WITHIN, abs=0.1)
        assert await bench.kinds() == []


@pytest.mark.parametrize(("answer", "others"), [("RUNNING", 0), ("RUNNING", 1), (None, 0)])
async def test_a_look_under_way_when_its_watch_goes_brings_no_series_back(tmp_path, answer, others):
    kept = [{**watch("other", jobs=["j-9"]), "regions": ["eu-west-1"]}] * others
    async with benched(tmp_path) as bench:
        bench.source.answers = {"j-1": "PENDING", "j-9": "PENDING"}
        bench.source.latency = 5.0
        await bench.apply(watch("one", jobs=["j-1"]), *kept)
        await anyio.sleep(70)
        looked = len(bench.source.asked_for("j-1"))
        await until(lambda: len(bench.source.asked_for("j-1")) > looked)
        bench.source.answers["j-1"] = answer or PollError(PollReason.TRANSIENT, "x")
        await bench.apply(*kept)
        await anyio.sleep(200)
        if answer:
            assert (await bench.events())[-1]["current"]["state"] == answer
        found = [sample for each in bench.registry.collect() for sample in each.samples]
        regions = {sample.labels["region"] for sample in found if "region" in sample.labels}
        assert regions == {"eu-west-1"} if others else not regions


async def test_a_look_under_way_while_its_watch_goes_and_comes_ends_nothing_of_the_new_one(
    tmp_path,
):
    """By the grace of the old watch the job is over; by that of the new one it is not."""
    async with benched(tmp_path) as bench:
        bench.source.answers = {"j-1": "RETURNING", "j-2": "PENDING"}
        bench.source.latency = 40.0
        other = watch("other", jobs=["j-2"])
        grace = {"jobs": ["j-1"], "ended_interval": "30s"}
        await bench.apply(watch("one", **grace, final_grace="100s"), other)
        await until(lambda: len(bench.source.asked_for("j-1")) == 3)
        await bench.apply(other)
        await anyio.sleep(1)
        await bench.apply(watch("two", **grace, final_grace="1d"), other)
        await anyio.sleep(1000)
        followed = bench.polling.status_of(job("j-1").key)
        assert followed is not None
        assert (followed.watch, followed.finished) == ("two", False)
        assert len(bench.source.asked_for("j-1")) > 8


async def test_a_sweep_under_way_when_its_watch_goes_brings_no_job_back(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = {f"j-{number}": "PENDING" for number in range(5)}
        await bench.apply(watch(), watch("named", jobs=["j-0"]))
        bench.sources[0].page_latency = 5.0
        await until(bench.source.pages.__len__)
        await bench.apply(watch("named", jobs=["j-0"]))
        await anyio.sleep(200)
        assert {name for _, name in bench.source.looks} == {"j-0"}
        assert [known.job.id for known in bench.recorder.snapshots()] == ["j-0"]


async def test_a_watch_that_comes_back_goes_on_from_the_store(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = {"j-1": "PENDING"}
        await bench.apply(watch())
        await anyio.sleep(65)
        await bench.apply()
        await anyio.sleep(65)
        bench.source.answers["j-1"] = "SUCCEEDED"
        await bench.apply(watch())
        await anyio.sleep(65)
        told = [(data["sequence"], data["kind"]) for data in await bench.events()]
        assert told == [(1, "job.discovered"), (2, "job.state_changed")]
        assert len(bench.recorder.snapshots()) == 1


async def test_a_job_passes_to_another_watch_that_wants_it_without_a_look_too_many(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = {"j-1": "PENDING"}
        named, other = watch("named", jobs=["j-1"], labels={"of": "named"}), watch("all")
        await bench.apply(named, other)
        await anyio.sleep(65)
        looks = len(bench.source.looks)
        await bench.apply(other)
        await anyio.sleep(1)
        assert len(bench.source.looks) <= looks + 1
        bench.source.answers["j-1"] = "FAILED"
        await anyio.sleep(65)
        last = (await bench.events())[-1]
    assert (last["kind"], last["sequence"], last["job"]["labels"]) == ("job.state_changed", 2, {})


async def test_a_page_that_goes_through_the_pollers_bears_a_reload_in_between(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = {"j-1": "PENDING"}
        regions = ["us-east-1", "eu-west-1", "eu-north-1"]
        await bench.apply(watch(regions=regions))
        going = bench.polling.pollers()
        first = next(going)
        await bench.apply(watch(regions=regions[:1]))
        assert {first, *going} > set(bench.polling.pollers())


async def test_another_budget_brings_no_burst_of_requests(tmp_path):
    async with benched(tmp_path) as bench:
        names = [f"j-{number}" for number in range(300)]
        bench.source.answers = dict.fromkeys(names, "PENDING")
        await bench.apply(watch(jobs=names), quotas={"panorama": {"rate": 1, "burst": 1}})
        await anyio.sleep(20)
        before = len(bench.source.looks)
        await bench.apply(watch(jobs=names), quotas={"panorama": {"rate": 2, "burst": 100}})
        await anyio.sleep(10)
        assert 19 <= len(bench.source.looks) - before <= 22
        place = {"service": "panorama", "account": "prod", "region": "us-east-1"}
        assert bench.series("quota_rate", **place) == 2


async def test_a_job_type_that_changed_holds_for_jobs_already_followed(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = {"j-1": "PENDING", "j-2": "SUCCEEDED"}
        wanted = watch(jobs=["j-1", "j-2"])
        await bench.apply(wanted)
        await anyio.sleep(65)
        looks, sources = len(bench.source.looks), len(bench.sources)
        await bench.apply(wanted, kind=Kind(grace=7200.0, interval=5.0))
        assert len(bench.sources) == sources + 1
        await anyio.sleep(65)
        assert {name for _, name in bench.source.looks[looks:]} == {"j-1"}
        assert 12 <= len(bench.source.looks) - looks <= 15
        assert await bench.kinds() == ["job.discovered"] * 2


@pytest.mark.parametrize("reason", [PollReason.AUTH, PollReason.UNAVAILABLE])
async def test_what_failed_is_asked_again_at_once_when_its_account_changed(tmp_path, reason):
    async with benched(tmp_path) as bench:
        bench.source.answers = {"j-1": PollError(reason, "Denied")}
        await bench.apply(watch(jobs=["j-1"]))
        await anyio.sleep(2000)
        looks = len(bench.source.looks)
        await until(lambda: len(bench.source.looks) > looks)  # the next one is far away now
        bench.source.answers["j-1"] = "PENDING"
        looks = len(bench.source.looks)
        bench.polling.retry({"another"})
        await anyio.sleep(0.5)
        assert len(bench.source.looks) == looks
        bench.polling.retry({"prod"})
        await anyio.sleep(0.5)
        assert len(bench.source.looks) == looks + 1


async def test_a_state_that_a_job_type_classifies_anew_is_told_though_listings_show_the_same(
    tmp_path,
):
    @dataclass(frozen=True)
    class Other(Kind):
        def judge(self, parts, before):
            verdict = super().judge(parts, before)
            return verdict and replace(verdict, phase=Phase.RUNNING)

    async with benched(tmp_path) as bench:
        bench.source.answers = {"j-1": "PENDING"}
        await bench.apply(watch())
        await anyio.sleep(65)
        await bench.apply(watch(), kind=Other())
        await anyio.sleep(65)
        told = [(e["kind"], e["current"]["phase"]) for e in await bench.events()]
    assert told == [("job.discovered", "waiting"), ("job.state_changed", "running")]


@pytest.mark.parametrize(("key", "every"), [("ended_interval", 120), ("final_interval", 120)])
async def test_an_ended_job_that_may_change_is_polled_as_its_watch_says(tmp_path, key, every):
    async with benched(tmp_path) as bench:
        bench.source.answers = {"j-1": "RETURNING"}
        await bench.apply(watch("one", jobs=["j-1"], final_grace="1d", **{key: f"{every}s"}))
        await anyio.sleep(20 * every)
        asked = bench.source.asked_for("j-1")
        gaps = [later - earlier for earlier, later in pairwise(asked)]
        assert gaps[1:] == pytest.approx([every] * len(gaps[1:]), abs=0.1)
        assert len(gaps) > 15


async def sent(bench):
    """Return the ids of the jobs whose discovery goes to the sink."""
    found = await bench.store.deliveries(limit=1000)
    return sorted(each.key.rpartition("/")[2] for each in found if each.kind == "job.discovered")


async def test_another_name_and_other_settings_begin_no_baseline_anew(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = {"old": "FAILED"}
        await bench.apply(watch("a"))
        await anyio.sleep(40)
        bench.source.answers["new"] = "FAILED"
        await bench.apply(watch("b", interval="10s", labels={"team": "x"}))
        await anyio.sleep(40)
        assert await sent(bench) == ["new"]
        assert len(await bench.store.baselines()) == 1


async def test_wider_globs_by_a_reload_begin_a_baseline_of_the_rest(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = {"cam-1": "FAILED", "disk-1": "FAILED"}
        await bench.apply(watch(discover={"include": ["cam-*"]}))
        await anyio.sleep(40)
        bench.source.answers |= {"cam-2": "FAILED", "disk-2": "FAILED"}
        await bench.apply(watch())
        await anyio.sleep(40)
        assert await sent(bench) == ["cam-2"]
        (kept,) = await bench.store.baselines()
        assert '"include":["*"]' in kept.discover


async def test_a_listing_that_is_asked_for_more_begins_a_baseline_of_the_rest(tmp_path):
    """A filter that goes, as of a listing of running jobs alone, shows what ended long ago."""
    async with benched(tmp_path) as bench:
        bench.source.answers = {"open": "RUNNING"}
        await bench.apply(watch())
        await anyio.sleep(65)
        bench.source.answers |= {"old": "FAILED"}
        await bench.apply(watch(), kind=Kind(listed="without a filter"))
        await anyio.sleep(65)
        bench.source.answers |= {"new": "FAILED"}
        await anyio.sleep(65)
        found = {e["job"]["id"]: e["baseline"] for e in await bench.events()}
    assert found == {"open": True, "old": True, "new": False}


async def test_a_watch_that_comes_back_begins_its_baseline_anew(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = {"old": "FAILED"}
        await bench.apply(watch())
        await anyio.sleep(40)
        await bench.apply()
        await anyio.sleep(1)
        assert await bench.store.baselines() == []
        bench.source.answers["meanwhile"] = "FAILED"
        await bench.apply(watch())
        await anyio.sleep(1)
        await bench.apply()
        await bench.apply(watch())
        await anyio.sleep(40)
        bench.source.answers["new"] = "FAILED"
        await anyio.sleep(40)
        assert await sent(bench) == ["new"]
        assert len(await bench.store.baselines()) == 1


async def test_a_reload_in_the_middle_of_the_first_sweep_makes_nothing_news(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = {f"j-{number}": "FAILED" for number in range(60)}
        slow = {"panorama": {"rate": 1, "burst": 1}}
        await bench.apply(watch(), quotas=slow)
        await anyio.sleep(2)
        assert 0 < len(await bench.kinds()) < 60
        await bench.apply(watch(labels={"team": "a"}), quotas=slow)
        await anyio.sleep(60)
        bench.source.answers["new"] = "FAILED"
        await anyio.sleep(60)
        assert await sent(bench) == ["new"]


async def test_a_job_that_any_watch_names_is_no_baseline_job(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = {"named": "FAILED", "old": "FAILED"}
        await bench.apply(watch("all"), watch("one", jobs=["named"]))
        await anyio.sleep(40)
        assert await sent(bench) == ["named"]


async def test_a_watch_that_is_added_to_one_that_names_jobs_has_a_baseline(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = {"named": "RUNNING", "old": "FAILED"}
        await bench.apply(watch("one", jobs=["named"]))
        await anyio.sleep(40)
        await bench.apply(watch("one", jobs=["named"]), watch("all"))
        await anyio.sleep(40)
        bench.source.answers["named"] = "SUCCEEDED"
        await anyio.sleep(40)
        events = await bench.events()
        assert [(e["job"]["id"], e["kind"], e["baseline"]) for e in events] == [
            ("named", "job.discovered", False),
            ("old", "job.discovered", True),
            ("named", "job.state_changed", False),
        ]


async def test_ends_are_counted_once_over_reloads_and_without_the_baseline(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = {"old": "FAILED", "open": "RUNNING"}
        await bench.apply(watch())
        await anyio.sleep(40)
        failed = PLACE | {"phase": "failed"}
        assert bench.series("ended_jobs_total", **failed) == 0
        bench.source.answers |= {"short": "FAILED", "open": "FAILED", "well": "SUCCEEDED"}
        await anyio.sleep(65)
        for name in ("ended_jobs_total", "recently_ended_jobs"):
            assert bench.series(name, **failed) == 2
            assert bench.series(name, **failed | {"phase": "succeeded"}) == 1
        await bench.apply()
        assert bench.series("ended_jobs_total", **failed) is None
        await bench.apply(watch(interval="20s"))
        await anyio.sleep(40)
        assert bench.series("ended_jobs_total", **failed) == 2
        await anyio.sleep(3600)
        assert bench.series("ended_jobs_total", **failed) == 2
        assert bench.series("recently_ended_jobs", **failed) == 0


async def test_each_end_of_a_job_that_goes_on_is_counted_and_known_after_a_restart(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = {"old": "FAILED"}
        await bench.apply(watch())
        await anyio.sleep(40)
        for state in ("RUNNING", "FAILED", "RUNNING", "SUCCEEDED", "RUNNING", "FAILED"):
            bench.source.answers["old"] = state
            await anyio.sleep(65)
        assert bench.series("ended_jobs_total", **PLACE, phase="failed") == 2
        bench.source.answers["old"] = "RUNNING"
        await anyio.sleep(65)
        for phase in ("failed", "succeeded"):
            assert bench.series("recently_ended_jobs", **PLACE, phase=phase) == 1
    async with benched(tmp_path) as bench:
        bench.source.answers = {"old": "RUNNING"}
        await bench.apply(watch())
        for phase in ("failed", "succeeded"):
            assert bench.series("recently_ended_jobs", **PLACE, phase=phase) == 1
        assert bench.series("ended_jobs_total", **PLACE, phase="failed") == 2
        assert bench.series("ended_jobs_total", **PLACE, phase="succeeded") == 1


NAMED = watch("named", jobs=["j-1"], labels={"of": "named"}, interval="1h")
NARROW = watch("narrow", discover={"include": ["j-*"]}, labels={"of": "narrow"}, interval="1h")
WIDE = watch("wide", labels={"of": "wide"})


@pytest.mark.parametrize("watches", [(NARROW, WIDE), (WIDE, NARROW), (WIDE, NAMED), (NAMED, WIDE)])
async def test_a_job_belongs_to_the_first_watch_that_wants_it_whichever_finds_it(tmp_path, watches):
    async with benched(tmp_path) as bench:
        bench.source.answers = {"other": "PENDING"}
        await bench.apply(*watches)
        await anyio.sleep(65)
        bench.source.answers["j-1"] = "PENDING"
        # What discovers seldom meets it later than the other, or not at all.
        await anyio.sleep(7300 if NAMED in watches else 65)
        bench.source.answers["j-1"] = "FAILED"
        await anyio.sleep(3700)
        told = [e for e in await bench.events() if e["job"]["id"] == "j-1"]
        owners = [each.watch for each in bench.polling.watched() if each.job.id == "j-1"]
    assert [e["kind"] for e in told] == ["job.discovered", "job.state_changed"]
    assert {e["job"]["labels"]["of"] for e in told} == {*owners} == {watches[0]["name"]}


async def test_a_reload_before_the_first_describe_knows_the_parent_of_a_job(tmp_path):
    """Until it is recorded, only its listing has told whose it is."""
    kind = Kind(parent="cluster", lists_states=False)

    def watches(**labels):
        return [
            watch(parent, discover={"of": [parent]}, labels={"of": parent, **labels})
            for parent in ("a", "b")
        ]

    async with benched(tmp_path) as bench:
        bench.source.latency = 5.0
        await bench.apply(*watches(), kind=kind)
        await anyio.sleep(40)
        bench.source.answers |= {"a/1": "RUNNING", "b/1": "RUNNING"}
        await until(lambda: len(bench.source.looks) == 2)
        await bench.apply(*watches(team="new"), kind=kind)
        await anyio.sleep(60)
        found = {data["job"]["id"]: data["job"]["labels"] for data in await bench.events()}
        assert found == {
            "a/1": {"of": "a", "team": "new"},
            "b/1": {"of": "b", "team": "new"},
        }
        # No describe that began before the reload may find the ends.
        bench.source.latency = 0.0
        await anyio.sleep(10)
        bench.source.answers |= {"a/1": "FAILED", "b/1": "FAILED"}
        await bench.apply(*reversed(watches(team="newer")), kind=kind)
        await anyio.sleep(60)
        ends = {
            data["job"]["id"]: data["job"]["labels"]
            for data in await bench.events()
            if data["kind"] == "job.state_changed"
        }
        assert ends == {
            "a/1": {"of": "a", "team": "newer"},
            "b/1": {"of": "b", "team": "newer"},
        }


async def test_a_reload_tells_ends_apart_by_owner_and_back(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = dict.fromkeys(("a", "b", "c"), "FAILED")
        watches = [
            watch("vision", jobs=["a", "b"], labels={"team": "vision"}),
            watch("data", jobs=["c"], labels={"team": "data"}),
        ]
        failed = {**PLACE, "phase": "failed"}
        await bench.apply(*watches)
        await until(lambda: bench.series("ended_jobs_total", **failed) == 3)
        await bench.apply(*watches, metrics={"watch_labels": ["team"]})
        assert bench.series("ended_jobs_total", **failed) is None
        assert bench.series("ended_jobs_total", **failed, team="vision") == 2
        assert bench.series("ended_jobs_total", **failed, team="data") == 1
        await bench.apply(*watches, metrics={"watch_labels": ["team"]})
        assert bench.series("ended_jobs_total", **failed, team="vision") == 2
        await bench.apply(*watches)
        assert bench.series("ended_jobs_total", **failed) == 3
