"""What one poller has to look at, and when."""

import sys

import pytest

from monitor.config import Discover
from monitor.errors import PollError, PollReason
from monitor.polling import schedule as agenda_module
from monitor.polling.schedule import ListingSweep, Schedule
from monitor.polling.scheduled_job import HintTicket, PollOptions, ScheduledJob
from monitor.polling.turn_queue import State
from monitor.polling.unchanged import RepeatedBatch, RepeatedPoll
from monitor.recording.baselines import accepts, includes
from tests.builders import (
    FakeType,
    ScriptedPoll,
    ScriptedSource,
    VirtualClock,
    at,
    following,
    job,
    observation,
)

PLACE = agenda_module.__file__
SOURCE = ScriptedSource(VirtualClock())


def tracked(job_id="j-1"):
    return ScheduledJob(job(job_id), PollOptions(SOURCE, following(), 30.0, 3600.0))


def repeated(job_id, at_once=1):
    """Return a job whose request is prepared."""
    of = following(FakeType(at_once=at_once))
    turn = ScheduledJob(job(job_id), PollOptions(SOURCE, of, 30.0, 3600.0))
    turn.repeat = RepeatedPoll(ScriptedPoll(SOURCE, [turn.job]))
    return turn


def discovery(**discover):
    return ListingSweep(
        SOURCE, Discover.model_validate(discover), 30.0, lambda row: tracked(row.job.id)
    )


def order(agenda):
    """Take out every turn, first to last."""
    taken = []
    while turn := agenda.first():
        agenda.begin(turn.due)
        taken.append(turn)
    return taken


def test_the_longest_overdue_turn_comes_first():
    agenda, a, b, c = Schedule(), tracked("a"), tracked("b"), discovery()
    agenda.put(a, 3.0)
    agenda.put(b, 1.0)
    agenda.put(c, 2.0)
    assert order(agenda) == [b, c, a]


def test_turns_of_one_time_keep_their_order():
    agenda, turns = Schedule(), [tracked(str(number)) for number in range(9)]
    for turn in turns:
        agenda.put(turn, 1.0)
    assert order(agenda) == turns


def test_a_turn_put_to_another_time_comes_once():
    agenda, a, b = Schedule(), tracked("a"), tracked("b")
    agenda.put(a, 1.0)
    agenda.put(b, 2.0)
    agenda.put(a, 3.0)
    agenda.put(a, 3.0)
    assert order(agenda) == [b, a]
    assert len(agenda) == 2


def test_a_turn_under_way_has_no_turn_until_it_is_put_again():
    agenda, a = Schedule(), tracked()
    agenda.put(a, 1.0)
    agenda.begin(0.0)
    agenda.put(a, 1.0)
    assert agenda.first() is None
    with agenda.busy(a):
        pass
    agenda.put(a, 2.0)
    assert agenda.first() is a


def test_a_job_that_is_dropped_is_looked_at_no_more():
    agenda, a = Schedule(), tracked()
    agenda.put(a, 1.0)
    agenda.drop(a)
    assert agenda.first() is None
    assert agenda.get(a.job) is None
    assert len(agenda) == 0


def test_a_job_that_has_ended_is_still_known_until_it_is_looked_at_again():
    agenda, a, b = Schedule(), tracked("a"), tracked("b")
    agenda.put(a, 1.0)
    agenda.put(b, 1.0)
    agenda.finish(a)
    assert set(map(id, agenda.everyone())) == {id(a), id(b)}
    assert agenda.known(a.job) is a
    again = tracked("a")
    agenda.put(again, 2.0)
    assert set(map(id, agenda.everyone())) == {id(again), id(b)}
    assert len(agenda) == 2


def test_a_job_is_in_the_list_just_once_at_every_step_of_its_end_and_its_return():
    """A scrape may come between any two steps, in another thread."""
    agenda, a, again = Schedule(), tracked("a"), tracked("a")
    agenda.put(a, 1.0)
    seen = []

    def scrape(*_):
        seen.append([one.job.id for one in agenda.everyone()])
        return scrape

    for step in (lambda: agenda.finish(a), lambda: agenda.put(again, 2.0)):
        sys.settrace(lambda frame, *_: scrape if frame.f_code.co_filename == PLACE else None)
        try:
            step()
        finally:
            sys.settrace(None)
    assert len(seen) > 10
    assert all(ids == ["a"] for ids in seen)


def test_a_job_that_is_dropped_is_forgotten_whether_it_has_ended_or_not():
    agenda, a, b = Schedule(), tracked("a"), tracked("b")
    agenda.put(a, 1.0)
    agenda.put(b, 1.0)
    agenda.finish(a)
    agenda.drop(a)
    agenda.drop(b)
    assert not agenda.everyone()
    assert agenda.first() is None


def test_a_job_counts_as_heard_of_when_it_is_first_due_and_not_whenever_it_is_put():
    agenda, a = Schedule(), tracked()
    agenda.put(a, 7.0)
    agenda.put(a, 37.0)
    assert a.answered_at == 7.0


def test_only_what_its_source_failed_waits_for_the_source():
    agenda = Schedule()
    turns = {name: tracked(name) for name in ("fine", "down", "gone", "wrong", "busy")}
    turns["down"].failing = turns["busy"].failing = PollReason.TRANSIENT
    turns["gone"].failing, turns["wrong"].failing = PollReason.MISSING, PollReason.CONFIG
    turns["busy"].state = State.BUSY
    listings = [discovery(), discovery()]
    listings[1].attempts, listings[1].trouble = 1, PollError(PollReason.TRANSIENT, "X")
    for turn in (*turns.values(), *listings):
        agenda.put(turn, 1.0)
        agenda.mark(turn)
    assert list(agenda.failing()) == [listings[1], turns["down"]]
    for turn in (listings[1], turns["down"]):
        agenda.drop(turn)
        agenda.mark(turn)
    assert list(agenda.failing()) == []


@pytest.mark.parametrize(
    ("discover", "wanted"),
    [
        ({}, True),
        ({"include": ["cam-*"]}, True),
        ({"include": ["disk-*"]}, False),
        ({"include": ["disk-*", "cam-?"]}, True),
        ({"exclude": ["cam-*"]}, False),
        ({"include": ["cam-*"], "exclude": ["*-2"]}, True),
        ({"include": ["CAM-*"]}, False),
        ({"include": []}, False),
    ],
)
def test_globs_choose_jobs_by_their_ids(discover, wanted):
    assert includes(Discover.model_validate(discover), "cam-1") is wanted


@pytest.mark.parametrize(("created", "wanted"), [(0, False), (1, True), (None, True)])
def test_only_jobs_that_are_young_enough_are_discovered(created, wanted):
    row = observation(seen=3601, created_at=None if created is None else at(created))
    assert accepts(discovery(max_age="1h").discover, row) is wanted


def test_age_alone_takes_nothing_in():
    assert not accepts(
        discovery(max_age="1h", exclude=["*"]).discover, observation(created_at=at(0))
    )


def ranked(agenda, now, blocked=()):
    """Take out every turn that is due, in the order of a time when the quota is short."""
    agenda.rank(now)
    taken = []
    while (turn := agenda.first(now, blocked)) and turn.due <= now:
        agenda.begin(now)
        taken.append(turn)
    return taken


def test_where_the_quota_is_short_jobs_with_waiters_come_first_and_then_young_ones():
    agenda, quiet, young, awaited = Schedule(), tracked("a"), tracked("b"), tracked("c")
    hinted, sweep = tracked("d"), discovery()
    young.changed_at, awaited.awaited_until, hinted.hint = 90.0, 101.0, HintTicket()
    shown = tracked("e")
    shown.note_poll(0.0, at(0))
    shown.row = observation(shown.job.id)
    for due, turn in enumerate((quiet, young, awaited, sweep, hinted, shown)):
        agenda.put(turn, float(due))
    assert ranked(agenda, 100.0) == [shown, sweep, awaited, hinted, young, quiet]


def test_nobody_is_starved_by_jobs_with_waiters():
    agenda, quiet = Schedule(), tracked("a")
    agenda.put(quiet, 0.0)
    waiting = [tracked(str(number)) for number in range(100)]
    for number, each in enumerate(waiting):
        each.awaited_until = 1000.0
        agenda.put(each, 2.0 * number)
    # Four intervals of thirty seconds late, and then it comes before who waits for less.
    assert ranked(agenda, 200.0).index(quiet) == 60


def test_a_rank_changes_with_who_waits_and_no_turn_comes_twice():
    agenda, one, other = Schedule(), tracked("a"), tracked("b")
    agenda.put(one, 1.0)
    agenda.put(other, 2.0)
    agenda.rank(50.0)
    other.awaited_until = 100.0
    agenda.put(other, other.due)
    assert ranked(agenda, 50.0) == [other, one]
    assert agenda.first(50.0) is None


def test_turns_that_fall_due_while_others_are_ranked_are_ranked_too():
    agenda, quiet, late = Schedule(), tracked("a"), discovery()
    agenda.put(quiet, 1.0)
    agenda.put(late, 10.0)
    assert agenda.rank(5.0) == 10.0
    assert agenda.first(5.0) is quiet
    assert agenda.first(10.0) is late


def test_a_turn_whose_operation_is_blocked_lets_those_of_others_pass():
    agenda, job_turn, listing = Schedule(), tracked("a"), discovery()
    agenda.put(job_turn, 1.0)
    agenda.put(listing, 2.0)
    blocked = [job_turn.operation]
    assert agenda.first(2.0, blocked) is listing
    agenda.begin(2.0)
    assert agenda.first(2.0, blocked) is job_turn
    assert agenda.first(2.0) is job_turn


def test_listings_come_first_or_where_they_have_their_share_last():
    agenda, job_turn, sweep = Schedule(), tracked("a"), discovery()
    agenda.put(job_turn, 1.0)
    agenda.put(sweep, 2.0)
    agenda.rank(9.0)
    assert agenda.first(9.0) is sweep
    agenda.put_listings_last(last=True)
    assert agenda.first(9.0) is job_turn
    agenda.begin(9.0)
    # Nothing else is due: the place is not left empty.
    assert agenda.first(9.0) is sweep


def test_the_listing_whose_last_page_was_the_longest_ago_comes_first():
    agenda, sweeps = Schedule(), [discovery() for _ in range(3)]
    for due, (sweep, began_at) in enumerate(zip(sweeps, (8.0, 2.0, 5.0), strict=True)):
        sweep.began_at = began_at
        agenda.put(sweep, float(due))
    assert ranked(agenda, 9.0) == [sweeps[1], sweeps[2], sweeps[0]]


def test_turns_of_one_moment_come_in_the_order_in_which_they_were_put():
    agenda, turns = Schedule(), [tracked(name) for name in "abcd"]
    for turn in turns:
        agenda.put(turn, float("1.5"))
    assert len({id(turn.own_due) for turn in turns}) == 1
    agenda.put(turns[1], 2.5)
    agenda.put(turns[1], 1.5)
    order = []
    while (turn := agenda.first()) is not None:
        order.append(turn)
        agenda.begin(turn.due)
    # Where it was at first: its old entry there is true again.
    assert order == turns


def test_jobs_that_send_again_are_begun_together_in_their_order_until_one_is_not_due():
    agenda, turns = Schedule(), [repeated(name) for name in "abcde"]
    for turn, due in zip(turns, (2.0, 1.0, 1.0, 3.0, 2.0), strict=True):
        agenda.put(turn, due)
    agenda.put(turns[2], 2.2)
    a, b, c, d, e = turns
    # What is rare of a job has no say in it, but for failures and hints.
    a.hold_until = b.awaited_until = 9.0
    assert agenda.begin_repeats(2.5, 2) == [b, a]
    assert [turn.state for turn in turns] == [State.BUSY] * 2 + [State.WAITING] * 3
    assert agenda.begin_repeats(2.5, 0) == []
    assert agenda.begin_repeats(2.5, 9) == [e, c]
    assert agenda.begin_repeats(2.5, 9) == []
    agenda.put_back([a], 3.0)
    assert agenda.begin_repeats(3.0, 9) == [d, a]


@pytest.mark.parametrize("other", ["first", "hinted", "failing", "batch", "shared", "listing"])
def test_jobs_that_send_again_do_not_go_before_another_turn(other):
    turns = {
        "first": tracked("b"),
        "hinted": repeated("b"),
        "failing": repeated("b"),
        "batch": repeated("b"),
        "shared": repeated("b", at_once=10),
        "listing": discovery(),
    }
    turn = turns[other]
    if other == "hinted":
        turn.hint = HintTicket()
    elif other == "failing":
        turn.attempts = 1
    elif other == "batch":
        turn.repeat = RepeatedBatch(turn.repeat.request, turns=(turn,))
    agenda, a, c = Schedule(), repeated("a"), repeated("c")
    for due, each in enumerate((a, turn, c)):
        agenda.put(each, float(due))
    assert agenda.begin_repeats(5.0, 9) == [a]
    assert agenda.begin_repeats(5.0, 9) == []
    assert agenda.first(5.0) is turn
    agenda.begin(5.0)
    assert agenda.begin_repeats(5.0, 9) == [c]


def test_ranked_turns_go_one_by_one():
    agenda, a = Schedule(), repeated("a")
    agenda.put(a, 1.0)
    agenda.rank(2.0)
    agenda.put(repeated("b"), 1.5)
    assert agenda.begin_repeats(2.0, 9) == []
    assert agenda.first(2.0) is a
