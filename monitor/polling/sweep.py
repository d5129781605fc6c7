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
        inquiry: SourceClient,
        agenda: Schedule,
        looker: JobPoller,
        recorder: Recorder,
        metrics: Metrics,
        clock: Clock,
        random: Random,
    ) -> None:
        """Take the poller's parts."""
        self._inquiry = inquiry
        self._agenda = agenda
        self._looker = looker
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._oddities = SkippedParts(inquiry.key, metrics)
        self._log = logs.get()

    async def page_once(self, discovery: ListingSweep) -> float:
        """Ask for the next page of a listing; return the seconds until the one after it.

        Pages are due one by one, each from the last one's time and not from its end: a page
        that had to wait would else wait again for every job that it is there to spare a look.
        """
        if discovery.token is None:
            discovery.started = discovery.due
            await self._begin_baseline(discovery)
        discovery.asked_at, discovery.rests = self._clock.monotonic(), False
        question = discovery.source.page(discovery.token)
        try:
            page = await self._inquiry.ask(discovery.operation, question)
        except PollError as error:
            return self._failed(discovery, error)
        discovery.attempts = discovery.forgiven = 0
        discovery.pages += 1
        if page.rows or page.skipped:
            discovery.readable = bool(page.rows or discovery.readable)
        self._oddities.note_page(discovery.source.job_type.name, page)
        await self._take_rows(discovery, page)
        delay = self._turn_page(discovery, page)
        await self._complete_baseline(discovery)
        return delay

    async def _begin_baseline(self, discovery: ListingSweep) -> None:
        """Write down that a sweep begins, before AWS is asked: what comes later is no baseline."""
        place, now = self._place(discovery), self._clock.now()
        baselines, begun = self._recorder.baselines, discovery.begun
        wanted, listed = discovery.discover, discovery.source.job_type.listed
        discovery.listed = listed
        discovery.again = await baselines.begin(place, wanted, listed, now, again=begun)
        discovery.begun = True

    async def _complete_baseline(self, discovery: ListingSweep) -> None:
        """Write down that a sweep went through the whole listing, after all of its rows."""
        whole = discovery.token is None and not discovery.torn
        if whole and self._agenda.holds(discovery):
            place = self._place(discovery)
            wanted, listed, now = discovery.discover, discovery.listed, self._clock.now()
            await self._recorder.baselines.complete(place, wanted, listed, now)

    def _note_first(self, discovery: ListingSweep, row: Observation) -> None:
        """Note a job that nobody has recorded: it may have been there before it was watched."""
        job_type = discovery.source.job_type
        listed_open = job_type.lists_states and not _has_ended(job_type, row)
        wanted, listed = discovery.discover, discovery.listed
        self._recorder.baselines.find(
            self._place(discovery), wanted, listed, row, discovery.again, listed_open
        )

    def _place(self, discovery: ListingSweep) -> tuple[str, str, str]:
        key = self._inquiry.key
        return discovery.source.job_type.name, key.account, key.region

    async def _take_rows(self, discovery: ListingSweep, page: Page) -> None:
        """Take the rows of a page concurrently, so that they share commits.

        Of a large page some at a time, so that other work gets its turn.
        """
        rows = list({row.job.key: row for row in page.rows}.values())
        for start in range(0, len(rows), ROWS_AT_ONCE):
            async with anyio.create_task_group() as tasks:
                for row in rows[start : start + ROWS_AT_ONCE]:
                    tasks.start_soon(self._take_row, discovery, row)

    async def _take_row(self, discovery: ListingSweep, row: Observation) -> None:
        if not self._agenda.holds(discovery):
            return
        tracked = self._agenda.get(row.job.key)
        news = self._recorder.compare(row)
        if news is RowComparison.FIRST and discovery.accepts(row):
            self._note_first(discovery, row)
        if tracked:
            self._looker.note_date(tracked, row)
        if tracked and tracked.busy:
            self._keep(discovery, tracked, row, news)
            return
        match news:
            case RowComparison.FIRST if tracked is None and discovery.accepts(row):
                found = discovery.track(row.job)
                self._keep(discovery, found, row, news)
                await self._first(found, row)
            case RowComparison.FIRST if tracked and tells_all(tracked, row):
                await self._differs(discovery, tracked, row)
            case RowComparison.SAME if tracked and self._is_judged_anew(tracked):
                self._look_soon(tracked)
            case RowComparison.SAME if tracked and _is_whole(row):
                await self._confirm(discovery, tracked, row)
            case RowComparison.DIFFERENT if tracked or discovery.accepts(row):
                await self._differs(discovery, tracked or discovery.track(row.job), row)

    def _keep(
        self, discovery: ListingSweep, tracked: ScheduledJob, row: Observation, news: RowComparison
    ) -> None:
        """Keep a row that shows something new, in case the describe fails that is to come."""
        if news in {RowComparison.FIRST, RowComparison.DIFFERENT} and tells_all(tracked, row):
            tracked.keep_row(row, discovery.asked_at)

    async def _first(self, tracked: ScheduledJob, row: Observation) -> None:
        """Begin with a job; what ended before it was ever seen needs no look of its own."""
        if tracked.following.job_type.lists_states and _has_ended(tracked.following.job_type, row):
            await self._record(tracked, row)
        else:
            self._look_soon(tracked)

    async def _differs(
        self, discovery: ListingSweep, tracked: ScheduledJob, row: Observation
    ) -> None:
        """Look at a job whose row differs, for the full snapshot.

        A listing without states that tells an end all the same (``IsCanceled``) is
        recorded as it is: no look need ever show the same. Where describes of the job fail, the
        row is recorded before the next of them.
        """
        job_type = tracked.following.job_type
        if not job_type.lists_states and _has_ended(job_type, row):
            await self._record(tracked, row)
            return
        self._keep(discovery, tracked, row, RowComparison.DIFFERENT)
        if not tracked.attempts or self._is_missing(tracked):
            self._look_soon(tracked)
        elif tracked.failing is not PollReason.MISSING:
            await self._record_before_describe(discovery, tracked, row)

    async def _record_before_describe(
        self, discovery: ListingSweep, tracked: ScheduledJob, row: Observation
    ) -> None:
        with self._agenda.busy(tracked):
            changed = await self._looker.record_row(tracked, row, discovery.asked_at)
        soon = max(self._clock.monotonic(), tracked.hold_until) if changed else tracked.due
        self._put(tracked, min(soon, tracked.due))

    async def _record(self, tracked: ScheduledJob, row: Observation) -> None:
        # It stands in the agenda at once: another listing may show the same job meanwhile.
        self._look_soon(tracked)
        with self._agenda.busy(tracked):
            self._count(row, await self._recorder.observe(row, tracked.following))
            tracked.hear(self._clock)
        self._put(tracked, tracked.due)

    async def _confirm(
        self, discovery: ListingSweep, tracked: ScheduledJob, row: Observation
    ) -> None:
        """Take a row that shows nothing new as a look at its job."""
        with self._agenda.busy(tracked):
            await self._recorder.confirm(row, tracked.following)
        self._count(row, "unchanged")
        pace = self._pace(discovery, tracked)
        tracked.hear(self._clock, pace)
        due = tracked.due
        if not (tracked.attempts or tracked.partial):
            due = max(due, self._clock.monotonic() + pacing.patience(pace))
        self._put(tracked, due)

    def _put(self, tracked: ScheduledJob, due: float) -> None:
        if not self._agenda.holds(tracked):
            return
        if self._looker.is_finished(tracked):
            self._agenda.finish(tracked)
        else:
            self._agenda.put(tracked, due)

    def _pace(self, discovery: ListingSweep, tracked: ScheduledJob) -> float:
        rate = self._inquiry.quota.rate
        return pacing.sweep_pace(tracked.interval, discovery.period, len(self._agenda), rate)

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

    def _look_soon(self, tracked: ScheduledJob) -> None:
        """Look at a job next; one that is overdue already keeps its place."""
        now = self._clock.monotonic()
        waits = self._agenda.get(tracked.job.key) is tracked
        self._agenda.put(tracked, min(now, tracked.due) if waits else now)

    def _turn_page(self, discovery: ListingSweep, page: Page) -> float:
        """Go on with the listing, or rest until the next sweep.

        A token that was met before would lead round in a circle. A sweep that could read not one
        row has told nothing, though it came to its end.
        """
        token = page.next_token
        if token and token not in discovery.tokens and discovery.pages < MAX_PAGES:
            discovery.tokens.add(token)
            discovery.token = token
            return self._seconds_until(discovery.due + pacing.page_gap(self._inquiry.quota.rate))
        untold = discovery.readable is False
        self._note_torn(discovery, torn=bool(token) or page.torn or untold)
        self._note_end(discovery)
        return self._rest(discovery)

    def _note_torn(self, discovery: ListingSweep, *, torn: bool) -> None:
        """Log a listing that does not end the first time that it does not."""
        if torn and not discovery.torn:
            self._log.warning(logs.LISTING_TORN, **self._about(discovery), pages=discovery.pages)
        discovery.torn = torn

    def _rest(self, discovery: ListingSweep) -> float:
        rate = self._inquiry.quota.rate
        discovery.period = pacing.sweep_period(discovery.interval, discovery.pages, rate)
        _rewind(discovery)
        return max(0.0, self._seconds_until(discovery.started + discovery.period))

    def _seconds_until(self, moment: float) -> float:
        return moment - self._clock.monotonic()

    def _failed(self, discovery: ListingSweep, error: PollError) -> float:
        """Ask for the same page again later, but not for ever: then the listing begins anew.

        A later page that keeps failing must not hide what comes onto the first one.
        """
        attempt, discovery.attempts = discovery.attempts, discovery.attempts + 1
        hopeless = error.reason in HOPELESS or discovery.attempts >= FAILURES
        if hopeless:
            self._note_incomplete(discovery, error)
        discovery.trouble = error
        retry_after = error.retry_after
        discovery.hold_until = self._clock.monotonic() + pacing.honoured(retry_after)
        attempt -= discovery.forgiven
        delay = pacing.retry_delay(error.reason, attempt, self._random, retry_after=retry_after)
        if discovery.token is None:
            return delay
        if hopeless or delay > max(discovery.interval, LONGEST_WAIT):
            self._note_incomplete(discovery, error)
            discovery.hold_until, discovery.rests = 0.0, True
            return self._rest(discovery)
        return delay

    def _note_incomplete(self, discovery: ListingSweep, error: PollError) -> None:
        """Show a listing that does not come to its end, and log it until it has once."""
        if discovery.complete is not False or discovery.trouble is None:
            refused = error.reason in {PollReason.CONFIG, PollReason.MISSING}
            event = logs.LISTING_REFUSED if refused else logs.LISTING_FAILING
            where = {"page": discovery.pages + 1}
            self._log.warning(event, **self._about(discovery), **where, **facts(error))
        discovery.complete = False
        self.show(discovery)

    def _note_end(self, discovery: ListingSweep) -> None:
        """Show that a sweep came to its end; one that was torn did not."""
        if discovery.torn:
            discovery.complete = False
        else:
            if discovery.complete is False and discovery.trouble:
                self._log.info(logs.LISTING_RECOVERED, **self._about(discovery))
            discovery.complete, discovery.completed_at = True, self._clock.now()
        discovery.trouble = None
        self.show(discovery)

    def show(self, discovery: ListingSweep) -> None:
        """Let the metrics show the listings of the type of ``discovery``; the worst counts."""
        name = discovery.source.job_type.name
        listings = [one for one in self._agenda.listings() if one.source.job_type.name == name]
        key = self._inquiry.key
        self._metrics.set_listing(
            (name, key.account, key.region),
            [(one.complete, one.completed_at) for one in listings],
        )

    def _about(self, discovery: ListingSweep) -> dict[str, str]:
        key = self._inquiry.key
        return {
            "type": discovery.source.job_type.name,
            "account": key.account,
            "region": key.region,
        }

    def _count(self, row: Observation, outcome: str) -> None:
        self._metrics.count_poll(row.job, "sweep", outcome)


def _rewind(discovery: ListingSweep) -> None:
    """Begin the listing anew."""
    discovery.pages = 0
    discovery.token = None
    discovery.tokens.clear()
    discovery.readable = None


def _is_whole(row: Observation) -> bool:
    """Whether a row tells every part of the state, so that it stands for a look."""
    return bool(row.parts) and all(row.parts.values())


def _has_ended(job_type: JobType, row: Observation) -> bool:
    verdict = job_type.judge(row.parts, None)
    return verdict is not None and verdict.phase.terminal
