"""Named resources that end, and become busy again."""

from __future__ import annotations

from dataclasses import replace

import anyio

from monitor.model import Ending, Phase
from tests.builders import TYPE, VIRTUAL, Answer, job, running
from tests.polling import polling

pytestmark = VIRTUAL

CLUSTER = replace(TYPE, reopens=True)
STATES = ["SUCCEEDED", "PENDING", "SUCCEEDED"]


async def through(bench, states, each=100.0):
    """Let the job be in these states, one after another; return its snapshot in each."""
    known = []
    async with running(bench.poller):
        for state in states:
            bench.source.answers["j-1"] = state
            await anyio.sleep(each)
            known.append(bench.recorder.snapshot(job("j-1")))
    return known


async def test_a_named_resource_that_becomes_busy_again_is_two_changes(tmp_path):
    async with polling(tmp_path, job_type=CLUSTER) as bench:
        bench.follow("j-1")
        first, busy, last = await through(bench, STATES)

        assert [(kind, state) for _, kind, state in await bench.told()] == [
            ("job.discovered", "SUCCEEDED"),
            ("job.state_changed", "PENDING"),
            ("job.state_changed", "SUCCEEDED"),
        ]
        assert (first.ending, busy.phase, busy.ended_at) == (Ending.OPEN, Phase.WAITING, None)
        assert last.ended_at > first.ended_at
        assert last.sequence == 3


async def test_it_is_polled_at_the_watchs_interval_whatever_its_state(tmp_path):
    async with polling(tmp_path, job_type=CLUSTER) as bench:
        bench.follow("j-1", interval=30.0)
        await through(bench, ["SUCCEEDED"], each=600)

        asked = bench.source.asked_for("j-1")
        assert 19 <= len(asked) <= 22
        (seen,) = bench.poller.watched()
        assert (seen.finished, seen.interval) == (False, 30.0)


async def test_it_goes_on_over_a_restart(tmp_path):
    async with polling(tmp_path, job_type=CLUSTER) as bench:
        bench.follow("j-1")
        await through(bench, ["SUCCEEDED"])
    async with polling(tmp_path, job_type=CLUSTER) as bench:
        bench.follow("j-1")
        await through(bench, ["PENDING", "SUCCEEDED"])
        assert await bench.kinds() == ["job.discovered", "job.state_changed", "job.state_changed"]


async def test_what_was_final_is_polled_again_once_its_type_says_that_it_reopens(tmp_path):
    async with polling(tmp_path) as bench:
        bench.follow("j-1")
        await through(bench, ["SUCCEEDED", "PENDING"])
        assert await bench.kinds() == ["job.discovered"]
    async with polling(tmp_path, job_type=CLUSTER) as bench:
        bench.follow("j-1")
        await through(bench, ["PENDING"])
        assert await bench.kinds() == ["job.discovered", "job.state_changed"]


async def test_a_listing_that_shows_it_busy_again_is_believed(tmp_path):
    async with polling(tmp_path, job_type=CLUSTER) as bench:
        bench.source.answers["j-1"] = Answer("SUCCEEDED")
        bench.discover()
        await through(bench, STATES)

        changed = [state for _, kind, state in await bench.told() if kind == "job.state_changed"]
        assert changed == ["PENDING", "SUCCEEDED"]


async def test_any_other_job_that_has_ended_is_not_polled_any_more(tmp_path):
    async with polling(tmp_path) as bench:
        bench.follow("j-1")
        await through(bench, STATES)
        assert len(bench.source.asked_for("j-1")) == 1
