"""How often the jobs of a watch are polled, against how often they should be."""

import math

import anyio
import pytest
from prometheus_client import CollectorRegistry

from monitor.config import WatchRequest
from monitor.errors import PollError, PollReason
from monitor.polling import watch_pace
from monitor.polling.watch_pace import WatchCollector
from tests.builders import VIRTUAL
from tests.unit.polling.test_manager import benched, watch

pytestmark = VIRTUAL
IDS = [f"j-{number}" for number in range(60)]
SMALL = {"panorama": {"rate": 1, "burst": 1}}


async def test_a_watch_that_its_quota_starves_says_at_what_interval_it_polls(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = dict.fromkeys(IDS, "RUNNING")
        await bench.apply(watch(jobs=IDS, interval="20s"), quotas=SMALL)
        await anyio.sleep(600)
        (pace,) = bench.polling.paces()
        assert pace[:4] == ("all", "prod", "us-east-1", 20.0)
        assert pace.achieved == pytest.approx(60, rel=0.1)
        assert pace.starved


async def test_a_watch_that_has_its_quota_achieves_its_interval(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = dict.fromkeys(IDS, "RUNNING")
        await bench.apply(watch(jobs=IDS, interval="20s"))
        (pace,) = bench.polling.paces()
        assert math.isnan(pace.achieved)
        assert not pace.starved
        await anyio.sleep(600)
        (pace,) = bench.polling.paces()
        assert pace.achieved == pytest.approx(20, rel=0.05)
        assert not pace.starved


async def test_jobs_that_fail_for_other_reasons_do_not_count(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = dict.fromkeys(IDS[:12], "RUNNING")
        bench.source.answers["j-0"] = PollError(PollReason.CONFIG, "ValidationException")
        await bench.apply(watch(jobs=IDS[:12], interval="20s"))
        await anyio.sleep(3600)
        (pace,) = bench.polling.paces()
        assert pace.achieved == pytest.approx(20, rel=0.05)


async def test_a_watch_without_jobs_achieves_the_period_of_its_sweeps(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.page_size = 1
        bench.source.answers = dict.fromkeys(IDS, "SUCCEEDED")
        await bench.apply(watch(interval="20s"), quotas=SMALL)
        await anyio.sleep(600)
        (pace,) = bench.polling.paces()
        assert pace.achieved == pytest.approx(120)


async def test_many_jobs_are_sampled(tmp_path, monkeypatch):
    monkeypatch.setattr(watch_pace, "SAMPLE", 10)
    async with benched(tmp_path) as bench:
        bench.source.answers = dict.fromkeys(IDS, "RUNNING")
        await bench.apply(watch(jobs=IDS, interval="20s"))
        await anyio.sleep(600)
        (pace,) = bench.polling.paces()
        assert pace.achieved == pytest.approx(20, rel=0.05)


async def test_run_time_watches_have_no_series_but_are_shown_with_their_source(tmp_path):
    async with benched(tmp_path) as bench:
        bench.source.answers = dict.fromkeys(IDS, "RUNNING")
        await bench.apply(watch(jobs=IDS[:2]), watch("other", jobs=IDS[2:]))
        added = bench.polling._watched[1]
        added.watch = WatchRequest.model_validate(added.watch.model_dump(exclude_unset=True))
        registry = CollectorRegistry()
        registry.register(WatchCollector(bench.polling.paces, bench.polling.pollers))
        name = "job_monitor_watch_wanted_interval_seconds"
        labels = {"account": "prod", "region": "us-east-1"}
        assert registry.get_sample_value(name, {"watch": "all", **labels}) == 30
        assert registry.get_sample_value(name, {"watch": "other", **labels}) is None
        mode = {"service": "panorama", **labels, "mode": "single"}
        assert registry.get_sample_value("job_monitor_poll_mode", mode) == 1
        (poller,) = bench.polling.pollers()
        assert [each.watch for each in bench.polling.paces(poller)] == ["all", "other"]
