"""The sweep of a listing, page by page: it finds new jobs, and its rows save describes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio

from monitor import logs, pacing
from monitor.errors import PollError, PollReason
from monitor.model import Page
from monitor.polling.describe import is_whole
from monitor.polling.page_repeats import PageRepeats, means_more, speaks_against
from monitor.polling.planner import HALF, Planner
from monitor.polling.skipped import SkippedParts
from monitor.polling.source_client import facts
from monitor.polling.turn_queue import State
from monitor.polling.unchanged import Arrival, SentPage, seconds_left
from monitor.recording.baselines import accepts, includes
from monitor.recording.recorder import RecordResult, RowComparison

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from anyio.abc import TaskGroup

    from monitor.interfaces import Clock, JobType, PageResponse, Random
    from monitor.metrics import Metrics
    from monitor.model import Observation, ParentPage
    from monitor.polling.describe import JobPoller
    from monitor.polling.planner import Plan
    from monitor.polling.schedule import ListingSweep, Schedule
    from monitor.polling.scheduled_job import ScheduledJob
    from monitor.polling.source_client import SourceClient
    from monitor.polling.unchanged import RepeatedPage
    from monitor.recording.recorder import Recorder

ROWS_AT_ONCE = 1000
"""Rows of a page that are processed together: AWS has no larger page."""

MAX_PAGES = 2000
"""Pages of one listing; a longer one counts as endless."""

FAILURES = 3
"""Failures of one page after which the sweep starts again, or is reported as incomplete."""

MOST_LATE = 5
"""Pages by which a sweep that takes nearly all of the quota may lag behind its times."""

MOST_AHEAD = 16
"""Pages of one listing that are under way at once."""

LONGEST_WAIT = 30.0
"""Seconds that a sweep, whatever its interval, waits for its next page."""

OVERLAP = timedelta(hours=1)
"""Part of the time before the last sweep that is listed again: listings lag, and clocks differ."""

HISTORY = timedelta(days=7)
"""Time that the first sweep goes back where a listing shows jobs by the time of their creation."""

_REFUSED = frozenset({PollReason.CONFIG, PollReason.MISSING})
HOPELESS = _REFUSED | {PollReason.AUTH}
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
        self._repeats = PageRepeats(client, schedule, job_poller, recorder, clock, self.planner)
        self._log = logs.get()

    def send(self, sweep: ListingSweep, most: int, done: Callable[[SentPage], None]) -> int:
        """Send the requests for the next pages without a task, and return their number.

        ``done`` follows with each response. ``0`` if nothing was sent: then the next page takes
        ``page_once``. So does a response, unless ``note_unchanged`` makes nothing of it. At most
        ``most`` pages are requested before those in front of them have come.
        """
        begins = not sweep.under_way
        if begins:
            if sweep.prepared is None:
                return 0
            if sweep.token is None and not self._start_again(sweep):
                return 0
            sweep.rests = False
            if not self._repeats.send(sweep, sweep.token, sweep.due, done):
                return 0
            sweep.sent_at = sweep.under_way[0].sent_at
        return begins + self._send_ahead(sweep, most, done)

    def _send_ahead(self, sweep: ListingSweep, most: int, done: Callable[[SentPage], None]) -> int:
        """Send the requests for pages that are due though those in front have not come.

        Their tokens are those of the last sweep. A page that turns out to have another next token
        makes the pages after it useless, so nothing is sent ahead while tokens change.
        """
        plan, quota, operation = self._plan(), self._client.quota, sweep.operation
        # Where pages could take all of the quota, the describes of changed rows come first.
        if not sweep.steady or sweep.in_order or plan.share > HALF:
            return 0
        now, count, last = self._clock.monotonic(), 0, sweep.under_way[-1]
        gap = plan.page_gap(quota.rate, quota.limit(operation))
        # Describes may want to be sent at once as well.
        most = min(most, MOST_AHEAD - len(sweep.under_way), quota.at_once(now, operation) // 2)
        while count < most and (due := last.due + gap) <= now and last.repeat.next_token:
            if not self._repeats.send(sweep, last.repeat.next_token, due, done):
                break
            self._client.late.append(now - due)
            count, last = count + 1, sweep.under_way[-1]
        if count:
            quota.take(now, operation, count)
        return count

    def has_sent(self, sweep: ListingSweep, tasks: TaskGroup) -> bool:
        """Let go of the page that was just taken; return whether the next one was requested.

        If another was, nothing that is under way is of use; ``tasks`` count what comes of it.
        """
        line = sweep.under_way
        line.popleft()
        if line and line[0].token == sweep.token and self._schedule.holds(sweep):
            sweep.due, sweep.sent_at = line[0].due, line[0].sent_at
            sweep.began_at = line[0].sent_at
            return True
        while line:
            unused, sweep.steady = line.popleft(), False
            unused.unused = True
            if unused.response is not None:
                tasks.start_soon(self.count_unused, sweep, unused)
        return False

    async def count_unused(self, sweep: ListingSweep, sent: SentPage) -> None:
        """Count a response that shows nothing: it was a request like any other."""
        assert sent.response is not None  # noqa: S101 -- it has come
        with suppress(PollError):
            await self._client.ask(sweep.operation, sent.response.read(), sent.sent_at)

    def note_unchanged(self, sweep: ListingSweep, tasks: TaskGroup) -> int:
        """Count pages that have come and show the same, and go on to the next; return how many.

        It ends before one that has to be read, or where something has to be stored. If none is
        under way in the end, the next page is due at the ``due`` of the sweep.
        """
        place, line, noted = self._place(sweep), sweep.under_way, 0
        if not self._recorder.baselines.is_settled(place, sweep.discovery) or sweep.last:
            return 0
        now, seen_at, operation = self._clock.monotonic(), self._clock.now(), sweep.operation
        while line and self._repeats.shows_the_same(sweep, line[0], now, seen_at):
            sent = line[0]
            sweep.pages += 1
            sweep.readable = True if sent.repeat.rows else sweep.readable
            polls = self._repeats.repeat(sweep, sent, now, seen_at)
            poll, durations = (place[0], operation, "sweep", polls), (now - sent.sent_at,)
            self._client.note_unchanged(poll, durations, now, seen_at)
            noted, delay = noted + 1, self._turn_page(sweep, sent.repeat)
            if sweep.token is None and not sweep.torn:
                sweep.swept_at = sweep.began
            if not self.has_sent(sweep, tasks):
                sweep.due = now + delay
        return noted

    async def page_once(self, sweep: ListingSweep, sent: SentPage | None = None) -> float:
        """Poll the next page of a listing; return the seconds until the one after it.

        Each page is due from the time of the last one, not from its end. A page that had to wait
        would otherwise wait again for every job whose describe it is there to save. ``sent`` is
        given if the request was sent before.
        """
        if sent is None:
            if sweep.token is None:
                await self._start(sweep)
                # The store may have been away meanwhile, and another replica may poll by now.
                self._client.check_lease()
            # Taken before the request: a describe that is answered meanwhile is newer than the row.
            sweep.sent_at, sweep.rests = self._clock.monotonic(), False
        try:
            page = await self._ask(sweep, sent)
        except PollError as error:
            if sent is not None and sent.ahead and error.reason in _REFUSED:
                # A service may take no token but those that the present sweep has handed out.
                sweep.in_order = True
                return max(0.0, sweep.due - self._clock.monotonic())
            # Some services deny access to what does not exist.
            denied = error.reason is PollReason.AUTH and sweep.attempts < FAILURES
            if sweep.last and error.reason in HOPELESS and not denied:
                await self._end(sweep)  # its parent, which is gone, lists nothing any more
                return 0.0
            return self._failed(sweep, error)
        sweep.attempts = sweep.forgiven = 0
        sweep.pages += 1
        await self._take_page(sweep, page)
        delay = self._turn_page(sweep, page.repeat if isinstance(page, SentPage) else page)
        # After all rows are durable; a reload may have dropped the sweep while they were recorded.
        if sweep.token is None and self._schedule.holds(sweep):
            if not sweep.torn:
                await self._complete(sweep)
            if sweep.ending and self._schedule.holds(sweep):
                await self._end(sweep)
        # The last sweep of a parent that is gone must begin after that was found.
        return 0.0 if sweep.token is None and sweep.last and not sweep.ending else delay

    async def _take_page(self, sweep: ListingSweep, page: Page | ParentPage | SentPage) -> None:
        """Record what a page shows of jobs."""
        if isinstance(page, Page):
            if page.rows or page.skipped:
                sweep.readable = bool(page.rows or sweep.readable)
            self._skipped.note_page(sweep.source.job_type.name, page)
            await self._take_rows(sweep, page)
            await self._repeats.plan(sweep, page)
        elif isinstance(page, SentPage):
            if page.repeat.rows:
                sweep.readable = True
            now, seen_at = self._clock.monotonic(), self._clock.now()
            polls = self._repeats.repeat(sweep, page, now, seen_at)
            self._metrics.count_polls(self._place(sweep), "sweep", "unchanged", polls)

    async def _ask(
        self, sweep: ListingSweep, sent: SentPage | None
    ) -> Page | ParentPage | SentPage:
        """Send the request for the next page, unless it was sent before."""
        if sweep.child:
            self._client.count_path("plain")
            page = await self._client.ask(sweep.operation, sweep.source.parents(sweep.token))
            sweep.names.update(page.names)
            return page
        sent_at = sent.sent_at if sent else None
        return await self._client.ask(sweep.operation, self._page(sweep, sent), sent_at)

    async def _page(self, sweep: ListingSweep, sent: SentPage | None) -> Page | SentPage:
        """Ask for the next page; return the response as sent, if it shows what is noted."""
        if sent is None and (repeat := sweep.repeats.get(sweep.token)) is not None:
            sent_at, asked_at = self._clock.monotonic(), self._clock.now()
            arrival: Arrival[PageResponse] = Arrival()
            if repeat.request.send(arrival.take):
                sent = SentPage(
                    repeat, sweep.token, sweep.due, sent_at, asked_at, await arrival.response()
                )
            else:
                self._repeats.forget(sweep.repeats.pop(sweep.token))
        if sent is None:
            self._client.count_path("plain")
            return await sweep.source.page(sweep.token, replace(sweep.request, since=sweep.since))
        self._client.count_path("fast")
        now, seen_at = self._clock.monotonic(), self._clock.now()
        if self._repeats.shows_the_same(sweep, sent, now, seen_at):
            return sent
        assert sent.response is not None  # noqa: S101 -- it has come
        self._repeats.forget(sent.repeat, sent.response.digest)
        return await sent.response.read()

    async def _start(self, sweep: ListingSweep) -> None:
        """Prepare to list from the first page."""
        if not self._start_again(sweep):
            now, place = self._clock.now(), self._place(sweep)
            # Stored before AWS is polled: a job created from here on is not in the baseline.
            baselines = self._recorder.baselines
            again = await baselines.begin(place, sweep.discovery, now, again=sweep.begun)
            self._set_out(sweep, now, again=again)

    def _start_again(self, sweep: ListingSweep) -> bool:
        """Prepare to list from the first page, unless something has to be stored for that."""
        again = self._recorder.baselines.resumed(
            self._place(sweep), sweep.discovery, again=sweep.begun
        )
        if again is None:
            return False
        self._set_out(sweep, self._clock.now(), again=again)
        return True

    def _set_out(self, sweep: ListingSweep, now: datetime, *, again: bool) -> None:
        """Begin a sweep at ``now``."""
        baselines, place = self._recorder.baselines, self._place(sweep)
        sweep.started, sweep.again = sweep.due, again
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
        now, plan, quota = self._clock.monotonic(), self._plan(), self._client.quota
        due: dict[str, float] = {}
        # One after the other, so that they leave a part of the quota to describes.
        for number, each in enumerate(found):
            gap, limit = plan.page_gap(quota.rate), quota.limit(each.operation)
            own = due.get(each.operation, now)
            self._schedule.put(each, max(now + number * gap, own))
            due[each.operation] = max(now + number * gap, own) + 1 / limit
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
            some = rows[start : start + ROWS_AT_ONCE]
            await self._recall(sweep, some)
            await self._promote(sweep, some)
            async with anyio.create_task_group() as tasks:
                for row in some:
                    if not self._shows_nothing_new(sweep, row):
                        tasks.start_soon(self._take_row, sweep, row)

    async def _recall(self, sweep: ListingSweep, rows: Sequence[Observation]) -> None:
        """Find out which of the jobs that are not in memory are archived."""
        known, get = self._recorder.snapshot, self._schedule.get
        unknown = [row.job for row in rows if known(row.job) is None and get(row.job) is None]
        if unknown:
            await self._recorder.recall(job for job in unknown if includes(sweep.discover, job.id))

    def _shows_nothing_new(self, sweep: ListingSweep, row: Observation) -> bool:
        """Do for a row at once what ``_take_row`` does, if nothing has to be stored for it.

        That is so for most; ``False`` is returned for the others.
        """
        if not self._schedule.holds(sweep) or self._recorder.compare(row) is not RowComparison.SAME:
            return False
        scheduled, known = self._schedule.get(row.job), self._recorder.snapshot(row.job)
        if scheduled is None or known is None:
            return True  # it has ended, or another watch excludes it
        options, recorder = scheduled.following, self._recorder
        busy = scheduled.state is State.BUSY
        if not busy:
            left = seconds_left(known, options, recorder.store.store_time())
            if left <= 0 or not is_whole(row) or means_more(scheduled, known):
                return False
            if recorder.is_unconfirmed(row.job):
                return False
        self._job_poller.note_date(scheduled, row)
        if not busy:
            recorder.note_poll(row.job, row.asked_at)
            self._confirmed(sweep, scheduled)
        return True

    async def _take_row(self, sweep: ListingSweep, row: Observation) -> None:
        # A reload may drop the sweep while the rows before this one are recorded.
        if not self._schedule.holds(sweep):
            return
        scheduled = self._schedule.get(row.job)
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

    async def _promote(self, sweep: ListingSweep, rows: Sequence[Observation]) -> None:
        """Bring archived jobs back into memory, together, if their rows show something new."""
        known, compare = self._recorder.snapshot, self._recorder.compare
        away = [row for row in rows if known(row.job) is None]
        news = [row for row in away if compare(row) is RowComparison.DIFFERENT]
        keys = [row.job.key for row in news if accepts(sweep.discover, row)]
        if keys and self._schedule.holds(sweep):
            await self._recorder.promote(keys)

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
        known = self._recorder.snapshot(scheduled.job)
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
        known = self._recorder.snapshot(scheduled.job)
        if known is not None and means_more(scheduled, known):
            self._poll_soon(scheduled)
            return
        if not is_whole(row):
            return
        unconfirmed = self._recorder.is_unconfirmed(scheduled.job)
        if unconfirmed and not speaks_against(sweep.sent_at, scheduled):
            return
        with self._schedule.busy(scheduled):
            await self._recorder.confirm(row, scheduled.following)
        self._confirmed(sweep, scheduled, puts_off=not unconfirmed)

    def _confirmed(
        self, sweep: ListingSweep, scheduled: ScheduledJob, *, puts_off: bool = True
    ) -> None:
        """Count a row as a poll of its job, and put off the next one.

        Listings lag: where another state was to be confirmed, the next poll comes soon all the
        same.
        """
        self._metrics.count_poll(scheduled.job, "sweep", "unchanged")
        at_once = scheduled.following.job_type.at_once
        pace = self._repeats.pace(sweep, scheduled.interval, at_once)
        scheduled.answered(self._clock, pace)
        due = scheduled.due
        # A describe that failed, is still owed, or is asked for by a hint, is not put off by a row.
        if puts_off and not (scheduled.attempts or scheduled.partial or scheduled.hint):
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
        waits = self._schedule.get(scheduled.job) is scheduled
        self._schedule.put(scheduled, min(now, scheduled.due) if waits else now)

    def _turn_page(self, sweep: ListingSweep, page: Page | ParentPage | RepeatedPage) -> float:
        """Go to the next page, or end the sweep and rest; return the seconds until then."""
        token, rate = page.next_token, self._client.quota.rate
        # A token that came before would lead round in a circle.
        if token and token not in sweep.tokens and sweep.pages < MAX_PAGES:
            sweep.tokens.add(token)
            sweep.token = token
            if len(sweep.under_way) > 1 and sweep.under_way[1].token == token:
                return 0.0  # it was requested ahead
            plan, now = self._plan(), self._clock.monotonic()
            gap = plan.page_gap(rate, self._client.quota.limit(sweep.operation))
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
        sweep.period = plan.sweep_period(sweep.interval, pages, rate, alike / limit)
        sweep.token = None
        sweep.steady = not sweep.torn and sweep.tokens == sweep.repeatable
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
                refused = error.reason in _REFUSED
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


def _shows_all(sweep: ListingSweep, row: Observation) -> bool:
    """Return whether a row shows the whole state of its job."""
    return sweep.listing.lists_states and is_whole(row)


def _has_ended(job_type: JobType, row: Observation) -> bool:
    verdict = job_type.judge(row.parts, None)
    return verdict is not None and verdict.phase.terminal
