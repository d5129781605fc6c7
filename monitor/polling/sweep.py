"""The sweep of a listing, page by page: it finds new jobs, and its rows save describes."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio

from monitor import logs, pacing
from monitor.errors import PollError, PollReason
from monitor.model import Page
from monitor.polling.describe import is_whole
from monitor.polling.planner import HALF, Planner
from monitor.polling.skipped import SkippedParts
from monitor.polling.source_client import facts
from monitor.polling.turn_queue import State
from monitor.polling.unchanged import MARGIN, RepeatedPage, RepeatedRow, seconds_left
from monitor.recording import diff
from monitor.recording.baselines import accepts, includes
from monitor.recording.recorder import RecordResult, RowComparison

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from monitor.interfaces import Clock, JobType, PageResponse, PreparedPage, Random
    from monitor.metrics import Metrics
    from monitor.model import Observation, ParentPage, Snapshot
    from monitor.polling.describe import JobPoller
    from monitor.polling.planner import Plan
    from monitor.polling.schedule import ListingSweep, Schedule, ScheduledJob
    from monitor.polling.source_client import SourceClient
    from monitor.recording.recorder import Recorder

ROWS_AT_ONCE = 1000
"""Rows of a page that are processed together: AWS has no larger page."""

MAX_PAGES = 2000
"""Pages of one listing; a longer one counts as endless."""

FAILURES = 3
"""Failures of one page after which the sweep starts again, or is reported as incomplete."""

MOST_LATE = 5
"""Pages by which a sweep that takes nearly all of the quota may lag behind its times."""

LONGEST_WAIT = 30.0
"""Seconds that a sweep, whatever its interval, waits for its next page."""

OVERLAP = timedelta(hours=1)
"""Part of the time before the last sweep that is listed again: listings lag, and clocks differ."""

HISTORY = timedelta(days=7)
"""Time that the first sweep goes back where a listing shows jobs by the time of their creation."""

HOPELESS = frozenset({PollReason.CONFIG, PollReason.MISSING, PollReason.AUTH})
"""Reasons for which the same token would fail again."""

_LABELS = ("type", "account", "region")


class Sweeper:
    """Polls listings page by page; a job that is not on one need not be missing."""

    def __init__(
        self,
        client: SourceClient,
        schedule: Schedule,
        job_poller: JobPoller,
        recorder: Recorder,
        metrics: Metrics,
        clock: Clock,
        random: Random,
    ) -> None:
        """Use the parts of the poller."""
        self._client = client
        self._schedule = schedule
        self._job_poller = job_poller
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._skipped = SkippedParts(client.key, metrics)
        self.planner = Planner(schedule, client.quota)
        """Decides how large a part of the quota pages take."""
        self._log = logs.get()

    async def page_once(self, sweep: ListingSweep) -> float:
        """Poll the next page of a listing; return the seconds until the one after it.

        Each page is due from the time of the last one, not from its end. A page that had to wait
        would otherwise wait again for every job whose describe it is there to save.
        """
        if sweep.token is None:
            await self._start(sweep)
        # Taken before the request: a describe that is answered meanwhile is newer than the row.
        sweep.sent_at, sweep.rests = self._clock.monotonic(), False
        sent_at = self._clock.now()
        try:
            page = await self._ask(sweep, sent_at)
        except PollError as error:
            # Some services deny access to what does not exist.
            denied = error.reason is PollReason.AUTH and sweep.attempts < FAILURES
            if sweep.last and error.reason in HOPELESS and not denied:
                await self._end(sweep)  # its parent, which is gone, lists nothing any more
                return 0.0
            return self._failed(sweep, error)
        sweep.attempts = sweep.forgiven = 0
        sweep.pages += 1
        await self._take_page(sweep, page, sent_at)
        delay = self._turn_page(sweep, page)
        # After all rows are durable; a reload may have dropped the sweep while they were recorded.
        if sweep.token is None and self._schedule.holds(sweep):
            if not sweep.torn:
                await self._complete(sweep)
            if sweep.ending and self._schedule.holds(sweep):
                await self._end(sweep)
        # The last sweep of a parent that is gone must begin after that was found.
        return 0.0 if sweep.token is None and sweep.last and not sweep.ending else delay

    async def _take_page(
        self, sweep: ListingSweep, page: Page | ParentPage | RepeatedPage, sent_at: datetime
    ) -> None:
        """Record what a page shows of jobs."""
        if isinstance(page, Page):
            if page.rows or page.skipped:
                sweep.readable = bool(page.rows or sweep.readable)
            self._skipped.note_page(sweep.source.job_type.name, page)
            await self._take_rows(sweep, page)
            await self._plan_repeat(sweep, page)
        elif isinstance(page, RepeatedPage):
            if page.rows:
                sweep.readable = True
            self._repeat_rows(sweep, page, sent_at)

    async def _ask(
        self, sweep: ListingSweep, sent_at: datetime
    ) -> Page | ParentPage | RepeatedPage:
        """Send the request for the next page."""
        if not sweep.child:
            return await self._client.ask(sweep.operation, self._page(sweep, sent_at))
        self._count_path("plain")
        page = await self._client.ask(sweep.operation, sweep.source.parents(sweep.token))
        sweep.names.update(page.names)
        return page

    async def _page(self, sweep: ListingSweep, sent_at: datetime) -> Page | RepeatedPage:
        """Ask for the next page; return what the last sweep has noted, if it shows the same."""
        repeat = sweep.repeats.get(sweep.token)
        came = await _send(repeat.request) if repeat else None
        if repeat is None or came is None:
            self._count_path("plain")
            sweep.repeats.pop(sweep.token, None)
            return await sweep.source.page(sweep.token, replace(sweep.request, since=sweep.since))
        self._count_path("fast")
        if self._shows_the_same(sweep, repeat, came.digest, sent_at):
            return repeat
        repeat.digest, repeat.rows = came.digest, None
        return await came.read()

    def _shows_the_same(
        self, sweep: ListingSweep, repeat: RepeatedPage, digest: bytes | None, sent_at: datetime
    ) -> bool:
        """Return whether a page shows what was noted of it, and nothing else has changed."""
        if digest is None or digest != repeat.digest or repeat.rows is None:
            return False
        if self._clock.monotonic() >= repeat.expires_at or not self._schedule.holds(sweep):
            return False
        # A wall clock that was set back makes the same answer a misdated one.
        earliest = min(sent_at, self._clock.now())
        if repeat.dated is not None and repeat.dated - earliest > diff.LEEWAY:
            return False
        return all(
            self._recorder.snapshot(row.key) is row.known
            and self._schedule.get(row.key) is row.turn
            and (row.turn is None or row.turn.following is row.options)
            for row in repeat.rows
        )

    async def _plan_repeat(self, sweep: ListingSweep, page: Page) -> None:
        """Prepare the request for this page of the next sweep, or note what this one showed."""
        repeat = sweep.repeats.get(sweep.token)
        if repeat is not None:
            self._note_page(sweep, repeat, page)
        elif not sweep.listing.windowed and (
            sweep.token is None or sweep.token in sweep.repeatable
        ):
            token, source = sweep.token, sweep.source
            request = await self._client.prepared(source.prepare_page(token, sweep.request))
            if request is not None:
                sweep.repeats[token] = RepeatedPage(request)

    def _note_page(self, sweep: ListingSweep, repeat: RepeatedPage, page: Page) -> None:
        """Note what a page showed, if it showed nothing new, so that it need not be read again."""
        repeat.next_token, rows, left = page.next_token, [], math.inf
        store_time, now = self._recorder.store.store_time(), self._clock.monotonic()
        for row in page.rows:
            key, news = row.job.key, self._recorder.compare(row)
            turn, known = self._schedule.get(key), self._recorder.snapshot(key)
            excluded = news is RowComparison.FIRST and not includes(sweep.discover, row.job.id)
            if row.unreadable or diff.is_misdated(row):
                return
            if news is not RowComparison.SAME and not (excluded and turn is None):
                return
            if turn is not None and known is not None:
                if self._means_more(turn, known):
                    return
                left = min(left, seconds_left(known, turn.following, store_time))
            counts = turn is not None and is_whole(row)
            options = turn.following if turn else None
            rows.append(RepeatedRow(key, known, turn, options, counts))
        if page.torn or page.skipped or len({row.key for row in rows}) < len(page.rows):
            return
        repeat.rows, repeat.expires_at = rows, now + left - MARGIN
        repeat.dated = max((row.updated_at for row in page.rows if row.updated_at), default=None)

    def _repeat_rows(self, sweep: ListingSweep, page: RepeatedPage, sent_at: datetime) -> None:
        """Count the rows of a page that was not read as polls of their jobs."""
        polls, now, seen_at = 0, self._clock.monotonic(), self._clock.now()
        jobs, rate, share = len(self._schedule), self._client.quota.rate, self._plan().share
        for row in page.rows or ():
            turn = row.turn
            # Its describe is under way: the row counts only if that fails, and shows nothing new.
            if turn is None or not row.counts or turn.state is State.BUSY:
                continue
            self._recorder.note_poll(row.key, sent_at)
            if turn.partial:
                self._confirmed(sweep, turn)
                continue
            polls += 1
            requests = math.ceil(jobs / turn.following.job_type.at_once)
            pace = pacing.sweep_pace(turn.interval, sweep.period, requests, rate, share)
            turn.gap = now - turn.answered_at if turn.polled_at else 0.0
            turn.answered_at = turn.shown_at = now
            turn.polled_at, turn.pace, turn.row = seen_at, pace, None
            due = now + pacing.patience(pace)
            # See ``_confirmed``.
            if due > turn.due and not (turn.attempts or turn.hint):
                self._schedule.put(turn, due)
        self._metrics.count_polls(self._place(sweep), "sweep", "unchanged", polls)

    def _count_path(self, path: str) -> None:
        key = self._client.key
        self._metrics.poll_path.labels(key.service, key.account, key.region, path).inc()

    async def _start(self, sweep: ListingSweep) -> None:
        """Prepare to list from the first page."""
        now, place = self._clock.now(), self._place(sweep)
        baselines = self._recorder.baselines
        sweep.started = sweep.due
        # Stored before AWS is polled: a job created from here on is not in the baseline.
        sweep.again = await baselines.begin(place, sweep.discovery, now, again=sweep.begun)
        sweep.begun, sweep.ending = True, sweep.last
        sweep.names.clear()
        if sweep.swept_at is not None:
            # A wall clock that was ahead must not hide what is created until then.
            sweep.since = min(sweep.swept_at, now) - OVERLAP
        else:
            oldest = sweep.discover.max_age
            # What was created since a first sweep was tried in vain is news.
            first = min(now, baselines.under_way_since(place, sweep.discovery) or now)
            sweep.since = first - (HISTORY if oldest is None else timedelta(seconds=oldest))
        sweep.began = now

    async def _complete(self, sweep: ListingSweep) -> None:
        """Note that all jobs, or all parents, were listed."""
        if sweep.child:
            await self._take_parents(sweep, sweep.child)
            if not self._schedule.holds(sweep):
                return  # a reload has dropped it before all parents had their baselines
        place = self._place(sweep)
        await self._recorder.baselines.complete(place, sweep.discovery, self._clock.now())
        sweep.swept_at = sweep.began

    async def _take_parents(
        self, sweep: ListingSweep, child: Callable[[str], Sequence[ListingSweep]]
    ) -> None:
        """Sweep the listings of new parents, and those of parents that are gone a last time."""
        place, baselines = self._place(sweep), self._recorder.baselines
        held = {of: each for of, each in sweep.children.items() if self._schedule.holds(each)}
        # A parent that has a baseline, and is neither listed nor swept, went during a restart.
        known = {name for each in child("") for name in baselines.parents(place, each.discovery)}
        found = [
            each
            for name in sorted(sweep.names | known)
            for each in child(name)
            if each.request not in held
        ]
        for each in found:
            # Durable before the parents' own baseline, which decides about it, is complete.
            await baselines.begin(
                place, each.discovery, self._clock.now(), again=sweep.again, of=sweep.discovery
            )
        if not self._schedule.holds(sweep):
            return
        now, gap = self._clock.monotonic(), self._plan().page_gap(self._client.quota.rate)
        # One after the other, so that they leave a part of the quota to describes.
        for number, each in enumerate(found):
            self._schedule.put(each, now + number * gap)
            if sweep.swept_at is not None:
                # It was not there a sweep ago: nothing is unknown of the type until it fails.
                each.complete, each.completed_at = True, sweep.completed_at
        sweep.children = held | {each.request: each for each in found}
        for each in sweep.children.values():
            gone = each.request.parent not in sweep.names
            if gone and not each.last:
                self._schedule.put(each, max(now, each.hold_until))
            each.last = gone

    async def _end(self, sweep: ListingSweep) -> None:
        self._schedule.drop(sweep)
        self.show(sweep)
        await self._recorder.baselines.forget(self._place(sweep), sweep.discovery)

    def _plan(self, *, again: bool = False) -> Plan:
        return self.planner.choose(self._clock.monotonic(), again=again)

    def _place(self, sweep: ListingSweep) -> tuple[str, str, str]:
        key = self._client.key
        return sweep.source.job_type.name, key.account, key.region

    async def _take_rows(self, sweep: ListingSweep, page: Page) -> None:
        """Process the rows of a page concurrently, so that they share commits.

        A large page is processed in parts, so that other work gets its turn.
        """
        rows = list({row.job.key: row for row in page.rows}.values())
        for start in range(0, len(rows), ROWS_AT_ONCE):
            async with anyio.create_task_group() as tasks:
                for row in rows[start : start + ROWS_AT_ONCE]:
                    if not self._shows_nothing_new(sweep, row):
                        tasks.start_soon(self._take_row, sweep, row)

    def _shows_nothing_new(self, sweep: ListingSweep, row: Observation) -> bool:
        """Do for a row at once what ``_take_row`` does, if nothing has to be stored for it.

        That is so for most; ``False`` is returned for the others.
        """
        if not self._schedule.holds(sweep) or self._recorder.compare(row) is not RowComparison.SAME:
            return False
        key = row.job.key
        scheduled, known = self._schedule.get(key), self._recorder.snapshot(key)
        if scheduled is None or known is None:
            return True  # it has ended, or another watch excludes it
        options, recorder = scheduled.following, self._recorder
        busy = scheduled.state is State.BUSY
        if not busy:
            left = seconds_left(known, options, recorder.store.store_time())
            if left <= 0 or not is_whole(row) or self._means_more(scheduled, known):
                return False
        self._job_poller.note_date(scheduled, row)
        if not busy:
            recorder.note_poll(key, row.asked_at)
            self._confirmed(sweep, scheduled)
        return True

    async def _take_row(self, sweep: ListingSweep, row: Observation) -> None:
        # A reload may drop the sweep while the rows before this one are recorded.
        if not self._schedule.holds(sweep):
            return
        scheduled = self._schedule.get(row.job.key)
        news = self._recorder.compare(row)
        if news is RowComparison.FIRST and accepts(sweep.discover, row):
            # Before anything records it: the job may be older than its watch.
            job_type = sweep.source.job_type
            listed_open = _shows_all(sweep, row) and not _has_ended(job_type, row)
            self._recorder.baselines.find(
                self._place(sweep), sweep.discovery, row, sweep.again, listed_open
            )
        if scheduled:
            self._job_poller.note_date(scheduled, row)
        if scheduled and scheduled.state is State.BUSY:
            # Its describe is under way: the row counts only if that fails.
            self._keep(sweep, scheduled, row, news)
            return
        match news:
            case RowComparison.FIRST if scheduled is None and accepts(sweep.discover, row):
                found = sweep.track(row)
                self._keep(sweep, found, row, news)
                job_type = found.following.job_type
                # A job that has ended by its first row needs no describe of its own.
                if _shows_all(sweep, row) and _has_ended(job_type, row):
                    await self._record(found, row)
                else:
                    self._poll_soon(found)
            case RowComparison.FIRST if scheduled and _shows_all(sweep, row):
                await self._differs(sweep, scheduled, row)
            case RowComparison.SAME if scheduled:
                await self._confirm(sweep, scheduled, row)
            case RowComparison.DIFFERENT if scheduled or accepts(sweep.discover, row):
                await self._differs(sweep, scheduled or sweep.track(row), row)

    def _keep(
        self, sweep: ListingSweep, scheduled: ScheduledJob, row: Observation, news: RowComparison
    ) -> None:
        """Keep a row that shows something new, in case the next describe fails."""
        fresh = sweep.sent_at >= scheduled.shown_at
        shows_news = news in {RowComparison.FIRST, RowComparison.DIFFERENT}
        if fresh and shows_news and _shows_all(sweep, row):
            scheduled.row, scheduled.row_sent_at = row, sweep.sent_at

    async def _differs(
        self, sweep: ListingSweep, scheduled: ScheduledJob, row: Observation
    ) -> None:
        """Describe a job whose row differs, for the full snapshot.

        Where describes of the job fail, record the row before the next of them.
        """
        job_type = scheduled.following.job_type
        # A listing without states may still show an end (``IsCanceled``) that no describe shows.
        if not _shows_all(sweep, row) and _has_ended(job_type, row):
            await self._record(scheduled, row)
            return
        self._keep(sweep, scheduled, row, RowComparison.DIFFERENT)
        known = self._recorder.snapshot(scheduled.key)
        if not scheduled.attempts or (known is not None and known.missing):
            self._poll_soon(scheduled)
        elif scheduled.failing is not PollReason.MISSING:
            with self._schedule.busy(scheduled):
                changed = await self._job_poller.record_row(scheduled, row, sweep.sent_at)
            # A change is worth a describe at once, but not before the Retry-After has passed.
            soon = max(self._clock.monotonic(), scheduled.hold_until) if changed else scheduled.due
            self._put(scheduled, min(soon, scheduled.due))

    async def _record(self, scheduled: ScheduledJob, row: Observation) -> None:
        # Scheduled first: another listing may show the same job while this row is recorded.
        self._poll_soon(scheduled)
        with self._schedule.busy(scheduled):
            outcome = await self._recorder.observe(row, scheduled.following)
            self._metrics.count_poll(row.job, "sweep", outcome)
            if outcome is RecordResult.CHANGED:
                self._metrics.count_change(row.job)
            scheduled.answered(self._clock)
        self._put(scheduled, scheduled.due)

    async def _confirm(
        self, sweep: ListingSweep, scheduled: ScheduledJob, row: Observation
    ) -> None:
        """Count a row that shows nothing new as a poll of its job, if it shows the whole state."""
        known = self._recorder.snapshot(scheduled.key)
        if known is not None and self._means_more(scheduled, known):
            self._poll_soon(scheduled)
            return
        if not is_whole(row):
            return
        with self._schedule.busy(scheduled):
            await self._recorder.confirm(row, scheduled.following)
        self._confirmed(sweep, scheduled)

    def _means_more(self, scheduled: ScheduledJob, known: Snapshot) -> bool:
        """Return whether the job type now gives a known state another phase, after a reload."""
        verdict = scheduled.following.job_type.judge(known.parts, known.phase)
        return verdict is not None and (verdict.state, verdict.phase) != (known.state, known.phase)

    def _confirmed(self, sweep: ListingSweep, scheduled: ScheduledJob) -> None:
        """Count a row as a poll of its job, and put off the next one."""
        self._metrics.count_poll(scheduled.job, "sweep", "unchanged")
        requests = len(self._schedule) / scheduled.following.job_type.at_once
        pace = pacing.sweep_pace(
            scheduled.interval,
            sweep.period,
            math.ceil(requests),
            self._client.quota.rate,
            self._plan().share,
        )
        scheduled.answered(self._clock, pace)
        due = scheduled.due
        # A describe that failed, is still owed, or is asked for by a hint, is not put off by a row.
        if not (scheduled.attempts or scheduled.partial or scheduled.hint):
            due = max(due, self._clock.monotonic() + pacing.patience(pace))
        self._put(scheduled, due)

    def _put(self, scheduled: ScheduledJob, due: float) -> None:
        # A reload may drop the job while its row is recorded; it must not come back.
        if not self._schedule.holds(scheduled):
            return
        if self._job_poller.is_finished(scheduled):
            self._schedule.finish(scheduled)
        else:
            self._schedule.put(scheduled, due)

    def _poll_soon(self, scheduled: ScheduledJob) -> None:
        """Poll a job next; one that is overdue already keeps its place."""
        now = self._clock.monotonic()
        waits = self._schedule.get(scheduled.key) is scheduled
        self._schedule.put(scheduled, min(now, scheduled.due) if waits else now)

    def _turn_page(self, sweep: ListingSweep, page: Page | ParentPage | RepeatedPage) -> float:
        """Go to the next page, or end the sweep and rest; return the seconds until then."""
        token, rate = page.next_token, self._client.quota.rate
        # A token that came before would lead round in a circle.
        if token and token not in sweep.tokens and sweep.pages < MAX_PAGES:
            sweep.tokens.add(token)
            sweep.token = token
            plan, now = self._plan(), self._clock.monotonic()
            limit = self._client.quota.limit(sweep.operation)
            gap = max(pacing.page_gap(rate, plan.share), 1 / limit)
            due = sweep.due + gap
            if plan.share > HALF:
                # Pages could take all of the quota: describes of changed rows must not wait for
                # pages that are late.
                due = max(due, now - MOST_LATE * gap)
            return due - now
        about = dict(zip(_LABELS, self._place(sweep), strict=True))
        # A sweep that could not read a single row is not complete, though it has its last page.
        torn = bool(token) or page.torn or sweep.readable is False
        if torn and not sweep.torn:
            self._log.warning(logs.LISTING_TORN, **about, pages=sweep.pages)
        sweep.torn = torn
        if torn:
            sweep.complete = False
        else:
            if sweep.complete is False and sweep.trouble:
                self._log.info(logs.LISTING_RECOVERED, **about)
            sweep.complete, sweep.completed_at = True, self._clock.now()
        sweep.trouble = None
        self.show(sweep)
        return self._rest(sweep)

    def _rest(self, sweep: ListingSweep) -> float:
        """Go back to the first page; return the seconds until the next sweep."""
        rate = self._client.quota.rate
        sweep.length, sweep.pages = sweep.pages, 0
        # All listings share the part of the quota that sweeps may take; some a limit of their own.
        lengths = [(each.length, each.operation) for each in self._schedule.listings()]
        pages = sum(length for length, _ in lengths)
        alike = sum(length for length, operation in lengths if operation == sweep.operation)
        plan, limit = self._plan(again=True), self._client.quota.limit(sweep.operation)
        whole = pacing.sweep_period(sweep.interval, pages, rate, plan.share)
        sweep.period = max(whole, alike / limit)
        sweep.token = None
        sweep.repeatable, sweep.tokens = sweep.tokens, set()
        kept = {None, *sweep.repeatable}
        sweep.repeats = {token: one for token, one in sweep.repeats.items() if token in kept}
        sweep.readable = None
        return max(0.0, sweep.started + sweep.period - self._clock.monotonic())

    def _failed(self, sweep: ListingSweep, error: PollError) -> float:
        """Retry the same page later, but not for ever: in the end the listing starts again.

        A later page that keeps failing must not hide what is new on the first one.
        """
        attempt, sweep.attempts = sweep.attempts, sweep.attempts + 1
        hopeless = error.reason in HOPELESS or sweep.attempts >= FAILURES
        retry_after = error.retry_after
        attempt -= sweep.forgiven
        delay = pacing.retry_delay(error.reason, attempt, self._random, retry_after=retry_after)
        # A token may expire during a long wait, so the sweep does not wait with it.
        too_long = delay > max(sweep.interval, LONGEST_WAIT)
        gives_up = sweep.token is not None and (hopeless or too_long)
        if hopeless or gives_up:
            # Logged once until the listing is complete again. A torn sweep, which leaves no
            # ``trouble``, was logged as such: only a hopeless failure is more than that.
            if sweep.complete is not False or (hopeless and sweep.trouble is None):
                refused = error.reason in {PollReason.CONFIG, PollReason.MISSING}
                event = logs.LISTING_REFUSED if refused else logs.LISTING_FAILING
                about = dict(zip(_LABELS, self._place(sweep), strict=True))
                self._log.warning(event, **about, page=sweep.pages + 1, **facts(error))
            sweep.complete = False
            self.show(sweep)
        sweep.trouble = error
        sweep.hold_until = self._clock.monotonic() + pacing.honoured(retry_after)
        if gives_up:
            sweep.hold_until, sweep.rests = 0.0, True
            return self._rest(sweep)
        return delay

    def show(self, sweep: ListingSweep) -> None:
        """Update the metrics of all listings of the type of ``sweep``; the worst counts."""
        name = sweep.source.job_type.name
        self._metrics.set_listing(
            self._place(sweep),
            [
                (each.complete, each.completed_at)
                for each in self._schedule.listings()
                if each.source.job_type.name == name
            ],
        )


async def _send(request: PreparedPage) -> PageResponse | None:
    """Send a prepared request; return its response, or ``None`` if it cannot be sent now."""
    found: list[PageResponse] = []
    arrived = anyio.Event()

    def take(came: PageResponse) -> None:
        found.append(came)
        arrived.set()

    if not request.send(take):
        return None
    await arrived.wait()
    return found[0]


def _shows_all(sweep: ListingSweep, row: Observation) -> bool:
    """Return whether a row shows the whole state of its job."""
    return sweep.listing.lists_states and is_whole(row)


def _has_ended(job_type: JobType, row: Observation) -> bool:
    verdict = job_type.judge(row.parts, None)
    return verdict is not None and verdict.phase.terminal
