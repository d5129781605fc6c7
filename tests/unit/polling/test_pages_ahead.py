"""Pages that are requested before those in front of them have come, with tokens that are known."""

from itertools import pairwise
from random import Random

import anyio
import pytest
from structlog.testing import capture_logs

from monitor.errors import PollError, PollReason
from monitor.model import Page
from monitor.polling.sweep import MOST_AHEAD
from tests.builders import SOURCE, TYPE, VIRTUAL, running, until
from tests.polling import polling

pytestmark = VIRTUAL

IDS = [f"j-{number:02}" for number in range(20)]
LATENCY, ROWS = 4.0, 2
REQUESTS = {
    "service": SOURCE.service, "account": SOURCE.account, "region": SOURCE.region,
    "operation": TYPE.listings[0].operation,
}  # fmt: skip


def distant(b, ids=IDS, state="RUNNING"):
    """Let pages take long to come, and many of them be due meanwhile."""
    b.source.prepares, b.source.page_size, b.source.page_latency = True, ROWS, LATENCY
    b.source.answers |= dict.fromkeys(ids, state)


def by_last_id(b):
    """Let the token of a page be the last id before it, so that it changes with what is there."""

    def listing(token):
        ids = [one for one in sorted(b.source.answers) if token is None or one > token]
        token = ids[ROWS - 1] if len(ids) > ROWS else None
        return Page(b.source.rows(*ids[:ROWS]), token)

    b.source.listing = listing


def sweeps(b, since=0.0):
    """Return the times and tokens of each sweep's requests."""
    found: list[list[tuple[float, str | None]]] = []
    for when, token in b.source.pages:
        if when >= since:
            found += [[]] if token is None or not found else []
            found[-1].append((when, token))
    return found


async def settled(b):
    """Wait until the pages are known, and the tokens as well."""
    await anyio.sleep(300)
    await until(lambda: b.source.pages[-1][1] is None)
    await until(lambda: b.source.pages[-1][1] is not None)
    return b.clock.monotonic()


def states(b):
    return {one.job.id: one.snapshot.state for one in b.poller.watched() if one.snapshot}


async def test_pages_are_requested_before_those_in_front_have_come(tmp_path):
    async with polling(tmp_path) as b:
        distant(b)
        b.discover()
        async with running(b.poller):
            began = await settled(b)
            reads, looks = b.source.page_reads, len(b.source.looks)
            await anyio.sleep(300)
            assert (b.source.page_reads, len(b.source.looks)) == (reads, looks)
        polls = len(b.source.pages) + len(b.source.looks)
        assert b.measured("poll_lateness_seconds_count") == polls
        whole = [each for each in sweeps(b, began) if each[0][1] is None][:-1]
        assert [len(each) for each in whole] == [len(IDS) / ROWS] * len(whole)
        # One after the other they take ten times as long.
        assert max(each[-1][0] - each[0][0] for each in whole) < 2 * LATENCY
        starts = [each[0][0] for each in whole]
        assert [two - one for one, two in pairwise(starts)] == pytest.approx(
            [30.0] * (len(starts) - 1), abs=0.1
        )


async def test_no_more_pages_are_under_way_than_the_quota_leaves_to_others(tmp_path):
    async with polling(tmp_path, rate=20.0, burst=8) as b:
        distant(b)
        b.discover()
        async with running(b.poller):
            began = await settled(b)
            await anyio.sleep(100)
        times = [when for when, _ in b.source.pages if when > began]
        assert max(sum(one <= other < one + 0.01 for other in times) for one in times) <= 5


async def test_a_page_is_not_requested_before_it_is_due(tmp_path):
    async with polling(tmp_path, rate=2.0, burst=40) as b:
        distant(b)
        b.source.page_latency = 3.5
        b.discover()
        async with running(b.poller):
            began = await settled(b)
            await anyio.sleep(200)
        for sweep in sweeps(b, began)[1:]:
            times = [when for when, token in sweep]
            for number, when in enumerate(times):
                assert when >= times[0] + number - 0.01


async def test_a_change_on_one_page_is_found_and_the_pages_after_it_are_used(tmp_path):
    async with polling(tmp_path) as b:
        distant(b)
        b.discover()
        async with running(b.poller):
            began = await settled(b)
            b.source.answers["j-05"] = "SUCCEEDED"
            await anyio.sleep(100)
        assert states(b)["j-05"] == "SUCCEEDED"
        assert [told for told in await b.told() if told[1] != "job.discovered"] == [
            ("j-05", "job.state_changed", "SUCCEEDED")
        ]
        assert {len(each) for each in sweeps(b, began)[1:-1]} == {len(IDS) / ROWS}


@pytest.mark.parametrize("where", ["", "j-04-new", "j-18-new", "z"])
async def test_a_job_that_moves_all_tokens_is_found_and_no_other_is_lost(tmp_path, where):
    async with polling(tmp_path) as b:
        distant(b)
        by_last_id(b)
        b.discover()
        async with running(b.poller):
            await settled(b)
            new = where or "a-first"
            b.source.answers[new] = "RUNNING"
            await anyio.sleep(70)
            assert new in states(b)
            b.source.answers["j-19"] = "FAILED"
            del b.source.answers["j-06"]  # the pages after it move back
            await anyio.sleep(70)
            assert states(b)["j-19"] == "FAILED"
        told = await b.told()
        assert sorted(name for name, kind, _ in told if kind == "job.discovered") == sorted(
            [*IDS, new]
        )
        # What was requested in vain was counted as well.
        counted = sum(
            b.measured("aws_requests_total", **REQUESTS, outcome=outcome)
            for outcome in ("ok", "transient")
        )
        assert counted == len(b.source.pages)


async def test_a_listing_that_gets_shorter_and_longer_is_complete(tmp_path):
    async with polling(tmp_path) as b:
        distant(b)
        b.discover()
        async with running(b.poller):
            await settled(b)
            gone = {name: b.source.answers.pop(name) for name in IDS[7:]}
            with capture_logs() as lines:
                await anyio.sleep(100)
                b.source.answers |= gone
                b.source.answers |= dict.fromkeys(("k-1", "k-2", "k-3"), "RUNNING")
                await anyio.sleep(100)
            assert not [line for line in lines if line["event"].startswith("listing")]
        assert {"k-1", "k-2", "k-3"} < states(b).keys()
        assert (
            b.measured("listing_complete", type=TYPE.name, account="prod", region="us-east-1") == 1
        )


async def test_throttling_in_the_middle_of_a_sweep_loses_no_page(tmp_path):
    async with polling(tmp_path) as b:
        distant(b)
        b.discover()
        async with running(b.poller):
            await settled(b)
            throttled = [PollError(PollReason.THROTTLE, "ThrottlingException")] * 3

            def listing(token):
                if token == "8" and throttled:
                    raise throttled.pop()
                return b.source.slice(token)

            b.source.listing = listing
            b.source.answers["j-19"] = "FAILED"
            await anyio.sleep(100)
            assert not throttled
        assert states(b)["j-19"] == "FAILED"
        assert (
            b.measured("listing_complete", type=TYPE.name, account="prod", region="us-east-1") == 1
        )
        assert b.measured("aws_requests_total", **REQUESTS, outcome="throttle") == 3


async def test_tokens_that_only_the_present_sweep_may_use_are_used_in_order(tmp_path):
    async with polling(tmp_path) as b:
        distant(b)
        handed_out: set[str | None] = set()
        refused: list[str] = []

        def listing(token):
            if token is None:
                handed_out.clear()
            elif token not in handed_out:
                refused.append(token)
                raise PollError(PollReason.CONFIG, "ValidationException")
            page = b.source.slice(token)
            handed_out.add(page.next_token)
            return page

        b.source.listing = listing
        b.source.page_latency = 1.0
        b.discover()
        with capture_logs() as lines:
            async with running(b.poller):
                await anyio.sleep(300)
                b.source.answers["j-19"] = "FAILED"
                await anyio.sleep(100)
        assert states(b)["j-19"] == "FAILED"
        assert not [line for line in lines if line["event"].startswith("listing")]
        # Once, and then never again.
        assert len(refused) <= MOST_AHEAD


async def test_tokens_that_lead_in_a_circle_are_not_followed_ahead(tmp_path):
    async with polling(tmp_path) as b:
        b.source.prepares, b.source.page_latency = True, 1.0
        b.source.listing = lambda token: Page((), "b" if token == "a" else "a")
        b.discover()
        async with running(b.poller):
            await anyio.sleep(300)
        assert {len(each) for each in sweeps(b)[:-1]} == {3}


async def test_a_listing_that_is_dropped_while_pages_are_under_way_ends(tmp_path):
    async with polling(tmp_path) as b:
        distant(b)
        listing = b.discover()
        async with running(b.poller):
            await settled(b)
            b.poller.drop(listing)
            pages = len(b.source.pages)
            await anyio.sleep(200)
            assert len(b.source.pages) == pages
            assert len(b.poller.schedule.listings()) == 0
            b.source.answers["j-19"] = "FAILED"
            b.discover()
            await anyio.sleep(100)
        assert states(b)["j-19"] == "FAILED"


async def test_a_poller_that_stops_takes_the_pages_that_are_under_way(tmp_path):
    async with polling(tmp_path) as b:
        distant(b)
        b.discover()
        async with running(b.poller):
            await settled(b)
            await until(lambda: sum(not task.done() for task in b.source.tasks) > 5)
            under_way = sum(not task.done() for task in b.source.tasks)
            b.source.answers |= dict.fromkeys(IDS, "FAILED")
            reads = b.source.page_reads
        assert b.source.page_reads == reads + under_way


async def test_an_older_row_that_comes_ahead_does_not_undo_a_newer_one(tmp_path):
    """The job moves to an earlier page, and its state changes, while both are under way."""
    async with polling(tmp_path) as b:
        distant(b)
        b.discover()
        async with running(b.poller):
            await settled(b)
            old, page = b.source.slice("14"), dict[str, bool]()

            def listing(token):
                if token == "4":
                    b.source.answers["j-14"] = "SUCCEEDED"
                    return Page((*b.source.slice(token).rows, *b.source.rows("j-14")), "6")
                return old if token == "14" and not page.setdefault("shown", False) else (
                    b.source.slice(token)
                )  # fmt: skip

            b.source.listing = listing
            await anyio.sleep(31)
            page["shown"] = True
            await anyio.sleep(100)
        changes = [told for told in await b.told() if told[1] != "job.discovered"]
        assert changes == [("j-14", "job.state_changed", "SUCCEEDED")]


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_moves_every_job_is_seen_as_it_is_in_the_end(tmp_path, seed):
    random = Random(seed)
    async with polling(tmp_path, rate=20.0, burst=20) as b:
        distant(b)
        if seed % 2:
            by_last_id(b)
        b.discover(12.0)
        async with running(b.poller):
            for step in range(25):
                await anyio.sleep(random.choice([3.0, 14.0, 40.0]))
                match random.choice(["change", "add", "remove", "slow", "fail", "work"]):
                    case "change":
                        name = random.choice(list(b.source.answers))
                        b.source.answers[name] = random.choice(["PENDING", "RUNNING", "FAILED"])
                    case "add":
                        b.source.answers[f"{random.choice('akz')}-{step}"] = "RUNNING"
                    case "remove":
                        b.source.answers.pop(random.choice(list(b.source.answers)))
                    case "slow":
                        b.source.page_latency = random.choice([0.0, 0.5, 5.0])
                    case "fail":
                        reason = random.choice([PollReason.THROTTLE, PollReason.TRANSIENT])
                        b.source.page_trouble = PollError(reason, "Oops")
                    case "work":
                        b.source.page_trouble = None
            b.source.page_trouble, b.source.page_latency = None, 1.0
            await anyio.sleep(400)
            shown = states(b)
            assert {name: shown[name] for name in b.source.answers} == b.source.answers
            assert b.poller._sent == 0 or b.source.tasks
        told = await b.told()
        found = [name for name, kind, _ in told if kind == "job.discovered"]
        assert len(found) == len(set(found))
