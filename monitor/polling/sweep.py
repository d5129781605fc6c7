"""One page of a listing: jobs that are new, jobs that differ, and looks for free."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from monitor import logs, pacing
from monitor.errors import PollError, PollReason
from monitor.polling.describe import tells_all
from monitor.polling.skipped import SkippedParts
from monitor.polling.source_client import facts
from monitor.recording.recorder import RowComparison

if TYPE_CHECKING:
    from monitor.interfaces import Clock, JobType, Random
    from monitor.metrics import Metrics
    from monitor.model import Observation, Page
    from monitor.polling.describe import JobPoller
    from monitor.polling.schedule import ListingSweep, Schedule, ScheduledJob
    from monitor.polling.source_client import SourceClient
    from monitor.recording.recorder import Recorder

ROWS_AT_ONCE = 1000
"""Rows of a page that are taken together: the most that a page of AWS has."""

MAX_PAGES = 2000
"""Pages of one listing; one that goes on is taken as endless."""

FAILURES = 3
"""Failures of one page after which the sweep begins anew, or is shown as incomplete."""

LONGEST_WAIT = 30.0
"""Seconds that a sweep, whatever its interval, waits for its next page."""

HOPELESS = frozenset({PollReason.CONFIG, PollReason.MISSING, PollReason.AUTH})
"""Failures of a page that the same token would meet again."""


class Sweeper:
    """Goes through listings page by page; absence from one proves nothing."""

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
        """Take the poller's parts."""
        self._client = client
        self._schedule = schedule
        self._job_poller = job_poller
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._skipped = SkippedParts(client.key, metrics)
        self._log = logs.get()

    async def page_once(self, sweep: ListingSweep) -> float:
        """Ask for the next page of a listing; return the seconds until the one after it.

        Pages are due one by one, each from the last one's time and not from its end: a page
        that had to wait would else wait again for every job that it is there to spare a look.
        """
        if sweep.token is None:
            sweep.started = sweep.due
            await self._begin_baseline(sweep)
        sweep.asked_at, sweep.rests = self._clock.monotonic(), False
        question = sweep.source.page(sweep.token)
        try:
            page = await self._client.ask(sweep.operation, question)
        except PollError as error:
            return self._failed(sweep, error)
        sweep.attempts = sweep.forgiven = 0
        sweep.pages += 1
        if page.rows or page.skipped:
            sweep.readable = bool(page.rows or sweep.readable)
        self._skipped.note_page(sweep.source.job_type.name, page)
        await self._take_rows(sweep, page)
        delay = self._turn_page(sweep, page)
        await self._complete_baseline(sweep)
        return delay

    async def _begin_baseline(self, sweep: ListingSweep) -> None:
        """Write down that a sweep begins, before AWS is asked: what comes later is no baseline."""
        place, now = self._place(sweep), self._clock.now()
        baselines, begun = self._recorder.baselines, sweep.begun
        wanted, listed = sweep.discover, sweep.source.job_type.listed
        sweep.listed = listed
        sweep.again = await baselines.begin(place, wanted, listed, now, again=begun)
        sweep.begun = True

    async def _complete_baseline(self, sweep: ListingSweep) -> None:
        """Write down that a sweep went through the whole listing, after all of its rows."""
        whole = sweep.token is None and not sweep.torn
        if whole and self._schedule.holds(sweep):
            place = self._place(sweep)
            wanted, listed, now = sweep.discover, sweep.listed, self._clock.now()
            await self._recorder.baselines.complete(place, wanted, listed, now)

    def _note_first(self, sweep: ListingSweep, row: Observation) -> None:
        """Note a job that nobody has recorded: it may have been there before it was watched."""
        job_type = sweep.source.job_type
        listed_open = job_type.lists_states and not _has_ended(job_type, row)
        wanted, listed = sweep.discover, sweep.listed
        self._recorder.baselines.find(
            self._place(sweep), wanted, listed, row, sweep.again, listed_open
        )

    def _place(self, sweep: ListingSweep) -> tuple[str, str, str]:
        key = self._client.key
        return sweep.source.job_type.name, key.account, key.region

    async def _take_rows(self, sweep: ListingSweep, page: Page) -> None:
        """Take the rows of a page concurrently, so that they share commits.

        Of a large page some at a time, so that other work gets its turn.
        """
        rows = list({row.job.key: row for row in page.rows}.values())
        for start in range(0, len(rows), ROWS_AT_ONCE):
            async with anyio.create_task_group() as tasks:
                for row in rows[start : start + ROWS_AT_ONCE]:
                    tasks.start_soon(self._take_row, sweep, row)

    async def _take_row(self, sweep: ListingSweep, row: Observation) -> None:
        if not self._schedule.holds(sweep):
            return
        tracked = self._schedule.get(row.job.key)
        news = self._recorder.compare(row)
        if news is RowComparison.FIRST and sweep.accepts(row):
            self._note_first(sweep, row)
        if tracked:
            self._job_poller.note_date(tracked, row)
        if tracked and tracked.busy:
            self._keep(sweep, tracked, row, news)
            return
        match news:
            case RowComparison.FIRST if tracked is None and sweep.accepts(row):
                found = sweep.track(row.job)
                self._keep(sweep, found, row, news)
                await self._first(found, row)
            case RowComparison.FIRST if tracked and tells_all(tracked, row):
                await self._differs(sweep, tracked, row)
            case RowComparison.SAME if tracked and self._is_judged_anew(tracked):
                self._poll_soon(tracked)
            case RowComparison.SAME if tracked and _is_whole(row):
                await self._confirm(sweep, tracked, row)
            case RowComparison.DIFFERENT if tracked or sweep.accepts(row):
                await self._differs(sweep, tracked or sweep.track(row.job), row)

    def _keep(
        self, sweep: ListingSweep, tracked: ScheduledJob, row: Observation, news: RowComparison
    ) -> None:
        """Keep a row that shows something new, in case the describe fails that is to come."""
        if news in {RowComparison.FIRST, RowComparison.DIFFERENT} and tells_all(tracked, row):
            tracked.keep_row(row, sweep.asked_at)

    async def _first(self, tracked: ScheduledJob, row: Observation) -> None:
        """Begin with a job; what ended before it was ever seen needs no look of its own."""
        if tracked.following.job_type.lists_states and _has_ended(tracked.following.job_type, row):
            await self._record(tracked, row)
        else:
            self._poll_soon(tracked)

    async def _differs(self, sweep: ListingSweep, tracked: ScheduledJob, row: Observation) -> None:
        """Look at a job whose row differs, for the full snapshot.

        A listing without states that tells an end all the same (``IsCanceled``) is
        recorded as it is: no look need ever show the same. Where describes of the job fail, the
        row is recorded before the next of them.
        """
        job_type = tracked.following.job_type
        if not job_type.lists_states and _has_ended(job_type, row):
            await self._record(tracked, row)
            return
        self._keep(sweep, tracked, row, RowComparison.DIFFERENT)
        if not tracked.attempts or self._is_missing(tracked):
            self._poll_soon(tracked)
        elif tracked.failing is not PollReason.MISSING:
            await self._record_before_describe(sweep, tracked, row)

    async def _record_before_describe(
        self, sweep: ListingSweep, tracked: ScheduledJob, row: Observation
    ) -> None:
        with self._schedule.busy(tracked):
            changed = await self._job_poller.record_row(tracked, row, sweep.asked_at)
        soon = max(self._clock.monotonic(), tracked.hold_until) if changed else tracked.due
        self._put(tracked, min(soon, tracked.due))

    async def _record(self, tracked: ScheduledJob, row: Observation) -> None:
        # It stands in the schedule at once: another listing may show the same job meanwhile.
        self._poll_soon(tracked)
        with self._schedule.busy(tracked):
            self._count(row, await self._recorder.observe(row, tracked.following))
            tracked.hear(self._clock)
        self._put(tracked, tracked.due)

    async def _confirm(self, sweep: ListingSweep, tracked: ScheduledJob, row: Observation) -> None:
        """Take a row that shows nothing new as a look at its job."""
        with self._schedule.busy(tracked):
            await self._recorder.confirm(row, tracked.following)
        self._count(row, "unchanged")
        pace = self._pace(sweep, tracked)
        tracked.hear(self._clock, pace)
        due = tracked.due
        if not (tracked.attempts or tracked.partial):
            due = max(due, self._clock.monotonic() + pacing.patience(pace))
        self._put(tracked, due)

    def _put(self, tracked: ScheduledJob, due: float) -> None:
        if not self._schedule.holds(tracked):
            return
        if self._job_poller.is_finished(tracked):
            self._schedule.finish(tracked)
        else:
            self._schedule.put(tracked, due)

    def _pace(self, sweep: ListingSweep, tracked: ScheduledJob) -> float:
        rate = self._client.quota.rate
        return pacing.sweep_pace(tracked.interval, sweep.period, len(self._schedule), rate)

    def _is_missing(self, tracked: ScheduledJob) -> bool:
        snapshot = self._recorder.snapshot(tracked.job.key)
        return snapshot is not None and snapshot.missing

    def _is_judged_anew(self, tracked: ScheduledJob) -> bool:
        """Whether the job type has changed since, so that the same state has another phase now."""
        known = self._recorder.snapshot(tracked.job.key)
        if known is None:
            return False
        verdict = tracked.following.job_type.judge(known.parts, known.phase)
        return verdict is not None and (verdict.state, verdict.phase) != (known.state, known.phase)

    def _poll_soon(self, tracked: ScheduledJob) -> None:
        """Look at a job next; one that is overdue already keeps its place."""
        now = self._clock.monotonic()
        waits = self._schedule.get(tracked.job.key) is tracked
        self._schedule.put(tracked, min(now, tracked.due) if waits else now)

    def _turn_page(self, sweep: ListingSweep, page: Page) -> float:
        """Go on with the listing, or rest until the next sweep.

        A token that was met before would lead round in a circle. A sweep that could read not one
        row has told nothing, though it came to its end.
        """
        token = page.next_token
        if token and token not in sweep.tokens and sweep.pages < MAX_PAGES:
            sweep.tokens.add(token)
            sweep.token = token
            return self._seconds_until(sweep.due + pacing.page_gap(self._client.quota.rate))
        untold = sweep.readable is False
        self._note_torn(sweep, torn=bool(token) or page.torn or untold)
        self._note_end(sweep)
        return self._rest(sweep)

    def _note_torn(self, sweep: ListingSweep, *, torn: bool) -> None:
        """Log a listing that does not end the first time that it does not."""
        if torn and not sweep.torn:
            self._log.warning(logs.LISTING_TORN, **self._about(sweep), pages=sweep.pages)
        sweep.torn = torn

    def _rest(self, sweep: ListingSweep) -> float:
        rate = self._client.quota.rate
        sweep.period = pacing.sweep_period(sweep.interval, sweep.pages, rate)
        _rewind(sweep)
        return max(0.0, self._seconds_until(sweep.started + sweep.period))

    def _seconds_until(self, moment: float) -> float:
        return moment - self._clock.monotonic()

    def _failed(self, sweep: ListingSweep, error: PollError) -> float:
        """Ask for the same page again later, but not for ever: then the listing begins anew.

        A later page that keeps failing must not hide what comes onto the first one.
        """
        attempt, sweep.attempts = sweep.attempts, sweep.attempts + 1
        hopeless = error.reason in HOPELESS or sweep.attempts >= FAILURES
        if hopeless:
            self._note_incomplete(sweep, error)
        sweep.trouble = error
        retry_after = error.retry_after
        sweep.hold_until = self._clock.monotonic() + pacing.honoured(retry_after)
        attempt -= sweep.forgiven
        delay = pacing.retry_delay(error.reason, attempt, self._random, retry_after=retry_after)
        if sweep.token is None:
            return delay
        if hopeless or delay > max(sweep.interval, LONGEST_WAIT):
            self._note_incomplete(sweep, error)
            sweep.hold_until, sweep.rests = 0.0, True
            return self._rest(sweep)
        return delay

    def _note_incomplete(self, sweep: ListingSweep, error: PollError) -> None:
        """Show a listing that does not come to its end, and log it until it has once."""
        if sweep.complete is not False or sweep.trouble is None:
            refused = error.reason in {PollReason.CONFIG, PollReason.MISSING}
            event = logs.LISTING_REFUSED if refused else logs.LISTING_FAILING
            where = {"page": sweep.pages + 1}
            self._log.warning(event, **self._about(sweep), **where, **facts(error))
        sweep.complete = False
        self.show(sweep)

    def _note_end(self, sweep: ListingSweep) -> None:
        """Show that a sweep came to its end; one that was torn did not."""
        if sweep.torn:
            sweep.complete = False
        else:
            if sweep.complete is False and sweep.trouble:
                self._log.info(logs.LISTING_RECOVERED, **self._about(sweep))
            sweep.complete, sweep.completed_at = True, self._clock.now()
        sweep.trouble = None
        self.show(sweep)

    def show(self, sweep: ListingSweep) -> None:
        """Let the metrics show the listings of the type of ``sweep``; the worst counts."""
        name = sweep.source.job_type.name
        listings = [one for one in self._schedule.listings() if one.source.job_type.name == name]
        key = self._client.key
        self._metrics.set_listing(
            (name, key.account, key.region),
            [(one.complete, one.completed_at) for one in listings],
        )

    def _about(self, sweep: ListingSweep) -> dict[str, str]:
        key = self._client.key
        return {
            "type": sweep.source.job_type.name,
            "account": key.account,
            "region": key.region,
        }

    def _count(self, row: Observation, outcome: str) -> None:
        self._metrics.count_poll(row.job, "sweep", outcome)


def _rewind(sweep: ListingSweep) -> None:
    """Begin the listing anew."""
    sweep.pages = 0
    sweep.token = None
    sweep.tokens.clear()
    sweep.readable = None


def _is_whole(row: Observation) -> bool:
    """Whether a row tells every part of the state, so that it stands for a look."""
    return bool(row.parts) and all(row.parts.values())


def _has_ended(job_type: JobType, row: Observation) -> bool:
    verdict = job_type.judge(row.parts, None)
    return verdict is not None and verdict.phase.terminal
