"""What must be true of all that was told, however the monitor fared."""

from collections import defaultdict
from itertools import pairwise

from tests.simulation.world import wall

ROUNDING = 0.001
"""Seconds: events carry milliseconds."""


def is_within(some, all_):
    """Whether ``some`` stand in ``all_`` in the same order."""
    rest = iter(all_)
    return all(one in rest for one in some)


def states_of(data):
    """The states that a job's events tell, without repetition."""
    told = [each for each in data if each["kind"] in {"job.discovered", "job.state_changed"}]
    return [each["current"]["state"] for each in told]


def is_gapless(data):
    assert [each["sequence"] for each in data] == list(range(1, len(data) + 1))


def alternates(kinds):
    expected = ["source.unavailable", "source.recovered"] * len(kinds)
    assert kinds == expected[: len(kinds)]
    assert len(kinds) % 2 == 0


def is_true(world, job_id, data, *, in_windows=True):
    """Each state was really there, came after the last one told, and within its window."""
    assert is_within(states_of(data), world.states(job_id))
    changes = [each for each in data if each["kind"] == "job.state_changed"]
    for earlier, later in pairwise(data):
        same_look = later["window"] == earlier["window"]
        assert later["previous"] == earlier["previous" if same_look else "current"]
    for change in changes if in_windows else ():
        state, window = change["current"]["state"], change["window"]
        after, before = wall(window["after"]), wall(window["before"])
        assert any(
            begun_state == state and after - ROUNDING <= begun <= before + ROUNDING
            for begun, begun_state in world.histories[job_id]
        )


def is_complete(world, job_id, data, shown):
    """All states in which a job was ``shown`` are told, and so is the end."""
    kept = [state for number, state in enumerate(shown) if shown[number - 1 : number] != [state]]
    assert is_within(kept, states_of(data))
    assert states_of(data)[-1] == world.states(job_id)[-1]


def was_delivered(events, sink):
    """Each event once or more, always the same, and first in the order of its job."""
    events = [event for event in events if not event["data"]["baseline"]]
    assert {event["id"] for event in sink.taken} == {event["id"] for event in events}
    known = {event["id"]: event for event in events}
    assert len(known) == len(events)
    assert all(event == known[event["id"]] for event in sink.taken)
    first: dict[str, dict[int, None]] = defaultdict(dict)
    for event in sink.taken:
        first[event["subject"]].setdefault(event["data"]["sequence"], None)
    for sequences in first.values():
        assert list(sequences) == sorted(sequences)
