"""The way in which a source is polled: what is chosen, and what comes of it."""

import math
from dataclasses import replace
from random import Random

import anyio
import pytest

from monitor.model import Observation, Page
from monitor.polling import planner
from monitor.polling.planner import Load, Mode, Plan
from tests.builders import VIRTUAL, job, running
from tests.polling import polling

pytestmark = VIRTUAL
ACTIVE, WARM, SPAN = 500, 1500.0, 2000.0
DWELL = 4000.0
"""Seconds for which a job keeps its state, on average."""


class Crowd:
    """Active jobs that change now and then, somewhere in a listing of finished ones."""

    def __init__(self, source, finished):
        self.source = source
        self.random = Random(3)
        self.pages = -(-(finished + ACTIVE) // 25)
        self.changed = {}
        self.delays = []
        self.begins = float("inf")
        source.listing = self.page
        for number in range(ACTIVE):
            source.answers[f"a-{number}"] = "RUNNING"

    def page(self, token):
        """Show a page with its share of the active jobs; rows of finished ones are left out."""
        number = int(token or 0)
        now = self.source.clock.now()
        rows = tuple(
            Observation(
                job(f"a-{each}"), now, now, {"Status": self.source.answers[f"a-{each}"]}, {}
            )
            for each in range(number, ACTIVE, self.pages)
        )
        return Page(rows, str(number + 1) if number + 1 < self.pages else None)

    async def live(self):
        while True:
            await anyio.sleep(self.random.expovariate(ACTIVE / DWELL))
            name = f"a-{self.random.randrange(ACTIVE)}"
            if name not in self.changed:
                before = self.source.answers[name]
                self.source.answers[name] = "PENDING" if before == "RUNNING" else "RUNNING"
                self.changed[name] = self.source.clock.monotonic()

    def seen(self, entry, _before):
        name = entry.snapshot.job.id
        if name in self.changed:
            began = self.changed.pop(name)
            if began >= self.begins:
                self.delays.append(self.source.clock.monotonic() - began)


async def mean_delay(tmp_path, finished, forced=None, *, discover=True):
    """Return the mean time from a change to its transition, at 60 requests a minute.

    ``forced`` is a plan to follow in any case.
    """
    async with polling(tmp_path, rate=1.0, burst=1) as b:
        crowd = Crowd(b.source, finished)
        b.recorder._announce = crowd.seen
        if discover:
            b.discover(interval=30.0)
            if forced:
                # Of an instance that is made for this test alone.
                setattr(b.poller._sweeper.planner, "choose", lambda *_, **__: forced)  # noqa: B010
        else:
            b.follow(*b.source.answers, interval=30.0)
        async with running(b.poller), anyio.create_task_group() as tasks:
            tasks.start_soon(crowd.live)
            await anyio.sleep(WARM + 2 * crowd.pages if discover else WARM)
            crowd.begins = b.clock.monotonic()
            await anyio.sleep(SPAN)
            tasks.cancel_scope.cancel()
    return sum(crowd.delays) / len(crowd.delays)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("finished", "mode"),
    [
        pytest.param(0, Mode.SWEEP, marks=pytest.mark.soak),
        (5_000, Mode.SWEEP),
        (12_000, Mode.SINGLE),
        pytest.param(50_000, Mode.SINGLE, marks=pytest.mark.soak),
    ],
)
async def test_changes_are_seen_as_soon_as_by_the_better_of_sweeps_and_describes(
    tmp_path, finished, mode
):
    """Within 15 % of what one of the two could achieve with all of the quota."""
    pages = -(-(finished + ACTIVE) // 25)
    # Changes cost a describe each.
    left = 1 - ACTIVE / DWELL
    by_sweep = max(30.0, pages / left) / 2
    by_describes = ACTIVE / 2
    better = by_sweep if mode is Mode.SWEEP else by_describes
    assert better <= max(by_sweep, by_describes)
    # A changed job waits for its describe, too.
    assert await mean_delay(tmp_path, finished) <= 1.15 * better + 1


def loads(jobs=500, pages=20, interval=30.0, at_once=1, *, shows=True):
    return [Load(interval, jobs, -(-jobs // at_once), pages, shows)]


@pytest.mark.parametrize(
    ("asked", "rate", "mode", "share"),
    [
        # Pages within half of the quota save every describe.
        (loads(jobs=500, pages=20), 2.0, Mode.SWEEP, 0.5),
        (loads(jobs=500, pages=20), 1.0, Mode.SWEEP, 0.95),
        (loads(jobs=500, pages=2020), 1.0, Mode.SINGLE, 0.05),
        # Few jobs leave the half of the quota to the search for new ones.
        (loads(jobs=5, pages=500), 1.0, Mode.SINGLE, 0.5),
        (loads(jobs=20, pages=500), 1.0, Mode.SINGLE, 1 - 20 / 30),
        # A batch describe is cheaper than a page.
        (loads(jobs=500, pages=20, at_once=100), 1.0, Mode.BATCH, 0.5),
        # Rows without states poll nothing.
        (loads(jobs=500, pages=20, shows=False), 1.0, Mode.SINGLE, 0.5),
        (loads(jobs=500, pages=0), 1.0, Mode.SINGLE, 0.5),
        ([], 1.0, Mode.SINGLE, 0.5),
    ],
)
def test_what_costs_least_is_chosen(asked, rate, mode, share):
    plan = planner.choose(asked, rate)
    assert plan.mode == mode
    assert plan.share == pytest.approx(share)


def test_limits_of_operations_count():
    (load,) = loads(jobs=100, pages=100, interval=5.0)
    assert planner.choose([load], 10.0) == Plan(Mode.SINGLE, 0.05)
    assert planner.choose([replace(load, describe_limit=1.0)], 10.0) == Plan(Mode.SWEEP, 0.95)
    listed = replace(load, interval=30.0, listed={"ListSlowly": (100, 0.5)})
    plan = planner.choose([listed], 10.0)
    assert (plan.mode, plan.page_gap(10.0, 0.5)) == (Mode.SINGLE, 2.0)
    own = planner.own_period([listed])
    assert plan.sweep_period(30.0, 100, 10.0, own) == 200.0


def test_the_limit_of_one_listing_slows_down_no_other():
    (load,) = loads(jobs=100, pages=102, interval=30.0)
    # A few pages of an operation with a limit of its own, beside many without.
    quick = replace(load, listed={"List": (100, math.inf), "ListSlowly": (2, 0.1)})
    assert planner.own_period([quick]) == 20.0
    assert planner.choose([quick], 10.0) == Plan(Mode.SWEEP)
    # Two types may share an operation; one whose rows show no states holds up no sweep of others.
    assert planner.own_period([quick, quick]) == 40.0
    silent = replace(load, pages=2, shows_states=False, listed={"ListEvents": (2, 0.01)})
    assert planner.choose([quick, silent], 10.0).mode is Mode.SWEEP


def test_a_plan_is_changed_only_for_one_that_is_clearly_better():
    sweeps, describes = Plan(Mode.SWEEP, 0.95), Plan(Mode.SINGLE, 0.05)
    even = loads(jobs=500, pages=500)
    assert planner.choose(even, 1.0, sweeps) == sweeps
    assert planner.choose(even, 1.0, describes) == describes
    assert planner.choose(loads(jobs=500, pages=400), 1.0, describes) == sweeps
    assert planner.choose(loads(jobs=500, pages=600), 1.0, sweeps) == describes


def test_jobs_of_other_types_are_described_while_sweeps_take_the_rest():
    mixed = [*loads(jobs=500, pages=100), *loads(jobs=6, pages=1, shows=False)]
    plan = planner.choose(mixed, 1.0)
    assert plan.mode is Mode.SWEEP
    assert plan.share == pytest.approx(0.95 - 6 / 30)
