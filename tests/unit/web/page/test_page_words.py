"""What the page says in words, and how it chooses and draws; no browser, no server."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from urllib.parse import parse_qsl

import pytest

from monitor import config
from monitor.events import cloud_event
from monitor.model import Backlog, DeliveryStatus, Parking, Phase, StoredDelivery
from monitor.web.api.schemas import ListingView, SinkView, WatchInterval
from monitor.web.page import filters, rows, summary, timeline
from monitor.web.page import view as page_view
from monitor.web.page.filters import JobFilter
from monitor.web.page.format import rate
from monitor.web.page.render import Templates
from tests.page_kit import NOW, Live, entry, followed, replica, sink, source

BROKEN = ListingView(
    type="panorama.package-import",
    complete=False,
    last_complete_at=None,
    last_failure="transient",
    last_failure_code="InternalError",
    last_failure_hint=None,
)


def said(jobs=(), backlogs=(), parkings=(), **live):
    """The summary of the page."""
    seen = page_view.gather(Live(jobs, **live), backlogs, parkings, NOW)
    return summary.summarize(seen, summary.count_jobs(seen.jobs, seen.archived, seen.now))


def backlog(pending=0, dead=0, waited=0.0):
    return Backlog("ops", pending, NOW - timedelta(seconds=waited) if pending else None, dead)


@pytest.mark.parametrize(
    ("jobs", "words", "level"),
    [
        ([], "No jobs are known yet", "good"),
        ([followed(1)], "Nothing failed, nothing stuck; 1 job active", "good"),
        ([followed(1, Phase.SUCCEEDED)], "Nothing failed, nothing stuck; 0 jobs active", "good"),
        ([followed(1, Phase.FAILED), followed(2, Phase.FAILED)], "2 failed", "bad"),
        ([followed(1, Phase.EXPIRED), followed(2, stuck=True)], "1 expired, 1 stuck", "bad"),
        ([followed(1, blind=True), followed(2, missing=True)], "1 missing, 1 stale", "warn"),
        (
            [followed(1, Phase.FAILED, changed=86401), followed(2)],
            "Nothing failed, nothing stuck; 1 job active",
            "good",
        ),
    ],
)
def test_the_summary_says_what_is_the_matter_with_jobs(jobs, words, level):
    part = said(jobs).jobs
    assert (part.text, part.level) == (words, level)


LATE = WatchInterval(watch="all", interval=30.0, achieved_interval=75.0, starved=True)
LOST = {"available": False, "up": False, "last_failure": "auth"}


@pytest.mark.parametrize(
    ("sources", "words", "level"),
    [
        ([], "no source is watched", "warn"),
        ([source()], "AWS is reachable", "good"),
        ([source(up=None), source("importexport", up=None)], "AWS has not answered yet", "warn"),
        ([source(up=None), source("importexport")], "AWS is reachable", "good"),
        ([source(**LOST)], "AWS is unreachable", "bad"),
        ([source(**LOST), source("importexport")], "1 of 2 sources is unreachable", "bad"),
        ([source(up=False, last_failure="transient")], "polls of 1 source fail", "warn"),
        ([source(listings=[BROKEN])], "a listing of 1 source is incomplete", "warn"),
        (
            [source(listings=[BROKEN.model_copy(update={"complete": True})])],
            "AWS is reachable",
            "good",
        ),
        (
            [source(listings=[BROKEN.model_copy(update={"complete": None})])],
            "AWS is reachable",
            "good",
        ),
        ([source(up=False, last_failure="throttle")], "AWS is reachable, but throttles", "warn"),
        ([source(watches=[LATE])], "polls of 1 source come late", "warn"),
        (
            [source(watches=[LATE.model_copy(update={"starved": False})])],
            "AWS is reachable",
            "good",
        ),
    ],
)
def test_the_summary_says_whether_aws_is_reachable(sources, words, level):
    part = said(sources=sources).aws
    assert (part.text, part.level) == (words, level)


@pytest.mark.parametrize(
    ("backlogs", "words", "level"),
    [
        ([], "everything is delivered", "good"),
        ([backlog(pending=1, waited=59)], "1 delivery is on the way", "good"),
        ([backlog(pending=7, waited=3700)], "7 deliveries wait for up to 1h 1m", "bad"),
        ([backlog(dead=2)], "2 deliveries are dead", "bad"),
        (
            [backlog(pending=1, dead=1, waited=90)],
            "1 delivery is dead, 1 delivery waits for up to 1m 30s",
            "bad",
        ),
    ],
)
def test_the_summary_says_whether_everything_is_delivered(backlogs, words, level):
    part = said(backlogs=backlogs).deliveries
    assert (part.text, part.level) == (words, level)


def test_a_parked_sink_and_no_sink_at_all_are_shown():
    assert said(parkings=[Parking("ops", NOW, "gone")]).deliveries.text == "ops is parked"
    assert said(sinks=[]).deliveries.text == "nothing is delivered: there are no sinks"


def test_a_failing_sink_is_shown_with_since_when_and_why():
    minutes = timedelta(minutes=12)
    failing = sink(
        failing_since=NOW - minutes,
        last_delivered_at=NOW - 2 * minutes,
        last_error_at=NOW,
        last_error="status 503",
    )
    part = said(sinks=[failing], backlogs=[backlog(pending=3, waited=30)]).deliveries
    assert (part.text, part.level) == (
        "ops failing since 11:48:00 UTC, for 12m 0s (status 503)",
        "bad",
    )


def test_a_failure_from_before_the_start_is_known_by_what_still_waits():
    before = Backlog("ops", 1, NOW - timedelta(hours=1), 0, NOW - timedelta(hours=1), "status 503")
    started = sink(last_delivered_at=None)
    view = SinkView.of(started, before, None)
    assert (view.health, view.last_error) == ("failing", "status 503")
    assert view.failing_since == NOW - timedelta(hours=1)
    assert SinkView.of(sink(), before, None).health == "ok", "something was delivered since"
    parked = SinkView.of(started, before, Parking("ops", NOW, "gone"))
    assert parked.health == "parked"


@pytest.mark.parametrize(
    ("status", "attempts", "failed"),
    [
        ("delivered", 1, 0),
        ("delivered", 3, 2),
        ("dead", 1, 1),
        ("pending", 0, 0),
        ("pending", 2, 2),
    ],
)
def test_the_attempt_that_delivered_is_not_a_failed_one(status, attempts, failed):
    one = StoredDelivery(
        *(1, 1, "ops", "key", "id", "job.updated", DeliveryStatus(status), attempts),
        *(NOW, None, None, None, False),
    )
    assert rows.failed_attempts(one) == failed


def test_the_whole_summary_is_as_bad_as_its_worst_part():
    told = said([followed(1, Phase.FAILED)], sources=[source(up=None)])
    assert told.level == "bad"
    assert told.text == "1 failed; AWS has not answered yet; everything is delivered"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (59.9, "59s"),
        (60, "1m 0s"),
        (3599, "59m 59s"),
        (3600, "1h 0m"),
        (86399, "23h 59m"),
        (90000, "1d 1h"),
    ],
)
def test_times_are_written_in_two_units(seconds, text):
    assert config.short_duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.25, "0.25"), (2.0, "2"), (10.0, "10"), (1234.5, "1,234")]
)
def test_rates_are_short(value, text):
    assert rate(value) == text


def test_the_address_of_a_selection_can_be_read_again():
    chosen = JobFilter(
        *("a b&c", "failed", "stuck", "importexport.job", "prod", "us-east-1", "all", "team=ü"),
        *("age", "desc", 3),
    )
    address = chosen.address()
    assert address == (
        "/?q=a+b%26c&phase=failed&is=stuck&type=importexport.job&account=prod&region=us-east-1"
        "&watch=all&label=team%3D%C3%BC&sort=age&order=desc&page=3"
    )
    query = dict(parse_qsl(address.removeprefix("/?")))
    assert JobFilter.of(query) == chosen
    assert chosen.address(phase="running").count("page") == 0
    assert JobFilter().address() == "/"


@pytest.mark.parametrize("page", ["0", "-1", "x", "", "1e3", "²", "99999999999"])
def test_an_odd_page_is_the_first(page):
    assert JobFilter.of({"page": page}).page == 1


def test_a_sign_that_no_database_takes_is_left_out():
    chosen = JobFilter.of({"q": "a\x00b", "label": "team\x00=x", "watch": "\x00"})
    assert (chosen.text, chosen.label, chosen.watch) == ("ab", "team=x", "")


def test_a_page_past_the_end_is_the_last():
    jobs = [followed(number) for number in range(60)]
    chosen = filters.choose(jobs, JobFilter(page=9), NOW)
    assert (chosen.page, chosen.pages, chosen.first, len(chosen.jobs)) == (2, 2, 51, 10)


def test_old_failures_do_not_hide_what_runs():
    jobs = [
        followed(1, Phase.FAILED, changed=90000),
        followed(2, Phase.SUCCEEDED, changed=5),
        followed(3, changed=50),
        followed(4, Phase.WAITING, changed=1),
        followed(5, Phase.FAILED, changed=500),
    ]
    chosen = filters.choose(jobs, JobFilter(), NOW - summary.RECENT)
    assert [job.job.id for job in chosen.jobs] == ["job-5", "job-3", "job-4", "job-2", "job-1"]


def events(job):
    """The CloudEvents of a job's whole history, as the ledger gives them."""
    made = entry(job)
    return [cloud_event(each, "0" * 32) for each in made.transitions]


def test_a_timeline_fills_its_width_in_order_and_says_in_words_what_it_shows():
    job = followed(1, Phase.FAILED, changed=50, sequence=4)
    drawn = timeline.draw(events(job), NOW)
    assert [each.style for each in drawn] == ["waiting", "waiting", "waiting", "failed"]
    for left, right in pairwise(drawn):
        assert left.x + left.width <= right.x
    assert drawn[-1].x + drawn[-1].width == pytest.approx(timeline.WIDTH, abs=2)
    assert all(each.y + each.height == timeline.HEIGHT for each in drawn)
    assert drawn[-1].text == "FAILED (failed), seen 2026-03-01 11:59:10 UTC, for 50s"


def test_a_timeline_shows_only_the_last_transitions_and_may_be_empty():
    assert timeline.draw([], NOW) == ()
    drawn = timeline.draw(events(followed(1, sequence=30)), NOW)
    assert len(drawn) == timeline.LENGTH
    assert all(each.width > 3 for each in drawn)


def test_a_job_shows_the_window_of_its_last_change_of_state_not_of_being_stuck():
    told = events(followed(1, Phase.RUNNING, changed=500, sequence=2))
    stuck = {**told[-1], "data": {**told[-1]["data"], "kind": "job.stuck", "window": {
        "after": None, "before": "2026-03-01T11:59:59.000Z"}}}  # fmt: skip
    row = rows.job_row(followed(1, changed=500, sequence=3, stuck=True), [*told, stuck], NOW)
    assert row.window is not None
    assert row.window.before == NOW - timedelta(seconds=500)
    assert row.window.seconds == 30
    assert row.flags == ("stuck",)
    assert row.timeline[-1].style == "stuck"


def test_a_job_that_aws_has_not_shown_yet_has_a_line():
    unseen = replace(followed(1), snapshot=None)
    row = rows.job_row(unseen, [], NOW)
    assert (row.view.state, row.view.phase, row.view.changed_at, row.window) == (
        None,
        Phase.UNKNOWN,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("value", "text"), [(None, "\N{EN DASH}"), ("x", "x"), (3, "3"), ({"a": [1]}, '{"a":[1]}')]
)
def test_values_are_written_for_people(value, text):
    assert rows.value_text(value) == text


def rendered(**live):
    seen = page_view.gather(Live([], **live), [], [], NOW)
    return Templates().index(seen, JobFilter(), filters.choose([], JobFilter(), NOW), [])


THREE = [
    replica("pod-a", own=True, upkeep=True, owned_sources=["panorama/prod/us-east-1"]),
    replica("pod-b", owned_sinks=["ops"], owned_sources=[f"batch/prod/r-{n}" for n in range(12)]),
    replica("pod-c", alive=False, connected=False),
]


def test_replicas_are_shown_only_where_there_are_any():
    alone, shared = rendered(), rendered(members=THREE)
    assert 'id="replicas-title"' not in alone
    assert "no replica has it yet" not in alone
    assert 'data-live="replicas"' in alone  # or a page that is open would never show them
    assert 'id="replicas-title"' in shared


def test_each_source_and_sink_names_its_replica():
    page = rendered(
        members=THREE,
        sources=[source(replica="pod-a"), source("batch", replica=None)],
        sinks=[sink(replica="pod-b")],
    )
    row = page.partition('data-key="source:panorama/prod/us-east-1"')[2].partition("</tr>")[0]
    assert "on pod-a" in row
    assert "no replica has it yet" in page.partition('data-key="source:batch/')[2]
    assert "on pod-b" in page.partition('data-key="sink:ops"')[2].partition("</tr>")[0]


def test_a_replica_names_a_few_of_what_it_owns():
    row = rendered(members=THREE).partition('data-key="replica:id-of-pod-b"')[2]
    cells = row.partition("</tr>")[0]
    assert "12<span" in cells
    assert "batch/prod/r-4 and 7 more" in cells
    assert "batch/prod/r-5" not in cells


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "alive"),
        ({"alive": False}, "stale"),
        ({"alive": False, "connected": False}, "gone"),
    ],
)
def test_a_replica_is_alive_or_silent_or_without_the_database(changes, state):
    assert replica("pod-a", **changes).state == state
    assert f"{state}</span>" in rendered(members=[replica("pod-a", **changes)])


def test_different_configurations_of_live_replicas_are_a_warning():
    words = "The replicas have different configurations"
    assert words not in rendered(members=THREE)
    other = replica("pod-c", generation="0f0f0f0f0f0f")
    page = rendered(members=[*THREE[:2], other])
    assert words in page
    assert "a1b2c3d4e5f6 (2), 0f0f0f0f0f0f (1)" in page
    assert page.count("differs</span>") == 1
    # What a replica had that is gone is no matter.
    gone = replica("pod-c", generation="0f0f0f0f0f0f", alive=False)
    assert words not in rendered(members=[*THREE[:2], gone])
