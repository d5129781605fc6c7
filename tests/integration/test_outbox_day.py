"""A sink is down for hours and comes back: nothing is lost, repeated, out of order, or heavy.

``make soak`` lets it be down for a day.
How fast it goes, and that polling is not slowed, is measured by ``make bench``.
"""

import asyncio
import gc
from functools import partial

import anyio
import looptime
import pytest

from tests import outbox_kit

MANY, JOBS = 2_400, 1_200
MOST_HELD = 1_000
"""Events in memory at a time, whatever waits: those read ahead, and those not settled yet."""


def held():
    """Count the events in memory."""
    return sum(type(each) is dict and "specversion" in each for each in gc.get_objects())


FORMS = [pytest.param(6, id="quick"), pytest.param(24, id="long", marks=pytest.mark.soak)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("hours", FORMS)
def test_what_waited_for_hours_comes_whole_once_and_in_order(tmp_path, made_events, hours):
    with outbox_kit.receiver() as pipe:
        port = pipe.recv()
        virtually = partial(looptime.new_event_loop, noop_cycles=1)
        with asyncio.Runner(loop_factory=virtually) as runner:
            out = runner.run(outbox_kit.outage(tmp_path, MANY, JOBS, held, hours))
        drained = anyio.run(outbox_kit.drain, tmp_path, outbox_kit.webhook(port), held)
        came = outbox_kit.came_to(pipe)
    assert outbox_kit.shortcomings(came, MANY) == []
    assert hours * 60 / 2 < out.attempts < hours * 60 * 2
    assert 0 < out.grown < MOST_HELD
    assert 0 < drained.grown < MOST_HELD
    assert sum(1 for _ in made_events.all()) == MANY


def test_events_that_are_lost_repeated_or_swapped_are_noticed():
    whole = [("a", 1), ("b", 1), ("a", 2)]
    assert outbox_kit.shortcomings(whole, 3) == []
    assert outbox_kit.shortcomings(whole[:2], 3) == ["2 of 3 events came"]
    assert outbox_kit.shortcomings([*whole, ("b", 1)], 4) == ["b #1 came after #1"]
    assert outbox_kit.shortcomings(whole[::-1], 3) == ["a #2 came after #0", "a #1 came after #2"]
