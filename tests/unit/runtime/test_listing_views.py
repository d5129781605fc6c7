"""The listings of a type as the page and the API show them: one for all, and the worst counts."""

from random import Random
from typing import Any

from monitor.config import Discover
from monitor.errors import PollError, PollReason
from monitor.model import ListingRequest
from monitor.polling.schedule import ListingSweep
from monitor.runtime.status import _listings
from tests.builders import FakeType, ScriptedSource, VirtualClock, at

DENIED = PollError(PollReason.AUTH, "AccessDenied", hint="allow ecs:ListTasks")
SOURCE = ScriptedSource(VirtualClock(), FakeType(name="ecs.task", parent="cluster"))
OTHER = ScriptedSource(VirtualClock(), FakeType(name="glue.job-run", parent="job"))


def sweep(parent, complete, seconds=None, trouble=None, source=SOURCE):
    track: Any = None  # no row comes
    made = ListingSweep(source, Discover(), 30.0, track, ListingRequest(0, parent))
    made.complete, made.trouble = complete, trouble
    made.completed_at = None if seconds is None else at(seconds)
    return made


def shown(view):
    return view.type, view.complete, view.last_complete_at, view.last_failure_code


def test_many_listings_of_a_type_are_one_and_the_worst_counts():
    sweeps = [sweep(f"p-{number}", complete=True, seconds=number) for number in range(500)]
    assert [shown(one) for one in _listings(sweeps)] == [("ecs.task", True, at(0), None)]
    sweeps += [
        sweep("failing", complete=False, seconds=900, trouble=DENIED),
        sweep("torn", complete=False, seconds=900),
    ]
    Random(1).shuffle(sweeps)
    (view,) = _listings(sweeps)
    assert shown(view) == ("ecs.task", False, at(0), "AccessDenied")
    assert (view.last_failure, view.last_failure_hint) == ("auth", "allow ecs:ListTasks")


def test_one_that_was_never_complete_leaves_the_time_open():
    (view,) = _listings([sweep("a", complete=True, seconds=5), sweep("new", complete=None)])
    assert shown(view) == ("ecs.task", None, None, None)


def test_types_are_shown_each_by_itself():
    sweeps = [
        sweep("a", complete=True, seconds=5),
        sweep("j", complete=False, seconds=7, trouble=DENIED, source=OTHER),
        sweep("b", complete=True, seconds=3),
    ]
    assert [shown(one) for one in _listings(sweeps)] == [
        ("ecs.task", True, at(3), None),
        ("glue.job-run", False, at(7), "AccessDenied"),
    ]
    assert _listings([]) == []
