"""Pages of listings that are sent again as they are, and need no task while nothing changes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitor import pacing
from monitor.polling.describe import is_whole
from monitor.polling.page_turn import PageTurn
from monitor.polling.turn_queue import State
from monitor.polling.unchanged import MARGIN, RepeatedPage, RepeatedRow, SentPage, seconds_left
from monitor.recording import diff
from monitor.recording.baselines import includes
from monitor.recording.poll_times import SharedPollTime
from monitor.recording.recorder import RowComparison

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from monitor.interfaces import Clock, PageResponse
    from monitor.model import Page, Snapshot
    from monitor.polling.describe import JobPoller
    from monitor.polling.planner import Planner
    from monitor.polling.schedule import ListingSweep, Schedule
    from monitor.polling.scheduled_job import ScheduledJob
    from monitor.polling.source_client import SourceClient
    from monitor.recording.recorder import Recorder


@dataclass(frozen=True, slots=True)
class PageRepeats:
    """Sends known pages again, and notes for all their jobs at once that nothing has changed."""

    client: SourceClient
    schedule: Schedule
    job_poller: JobPoller
    recorder: Recorder
    clock: Clock
    planner: Planner

    def send(
        self, sweep: ListingSweep, token: str | None, due: float, done: Callable[[SentPage], None]
    ) -> bool:
        """Send the request for a page if that is known; return whether it was sent."""
        repeat = sweep.repeats.get(token)
        if repeat is None or repeat.rows is None:
            return False
        sent = SentPage(repeat, token, due, self.clock.monotonic(), self.clock.now())

        def take(came: PageResponse) -> None:
            sent.response = came
            done(sent)

        if repeat.request.send(take):
            sent.ahead = bool(sweep.under_way)
            sweep.under_way.append(sent)
            return True
        return False

    def shows_the_same(
        self, sweep: ListingSweep, sent: SentPage, now: float, seen_at: datetime
    ) -> bool:
        """Return whether a page has come by ``now``, shows what was noted, and that is still so."""
        repeat = sent.repeat
        return (
            sent.response is not None
            and now < repeat.expires_at
            and self.schedule.holds(sweep)
            and repeat.repeats(sent.response.digest, sent.asked_at, seen_at)
            and repeat.is_true(self.recorder, self.schedule)
        )

    async def plan(self, sweep: ListingSweep, page: Page) -> None:
        """Prepare the request for this page of the next sweep, or note what this one showed."""
        repeat = sweep.repeats.get(sweep.token)
        if repeat is not None:
            self._note(sweep, repeat, page)
        elif not sweep.listing.windowed and (
            sweep.token is None or sweep.token in sweep.repeatable
        ):
            token, source = sweep.token, sweep.source
            request = await self.client.prepared(source.prepare_page(token, sweep.request))
            if request is not None:
                sweep.repeats[token] = RepeatedPage(request)

    def forget(self, repeat: RepeatedPage, digest: bytes | None = None) -> None:
        """Read the next answer; ``digest`` is that of the one that is read now."""
        repeat.digest, repeat.rows, repeat.checked = digest, None, None
        if repeat.turn is not None:
            self.schedule.dissolve(repeat.turn)
            repeat.turn = None

    def _note(self, sweep: ListingSweep, repeat: RepeatedPage, page: Page) -> None:
        """Note what a page showed, if it showed nothing new, so that it need not be read again."""
        repeat.next_token, rows, left = page.next_token, [], math.inf
        store_time, now = self.recorder.store.store_time(), self.clock.monotonic()
        for row in page.rows:
            job, news = row.job, self.recorder.compare(row)
            turn, known = self.schedule.get(job), self.recorder.snapshot(job)
            excluded = news is RowComparison.FIRST and not includes(sweep.discover, row.job.id)
            if row.unreadable or diff.is_misdated(row):
                return
            if news is not RowComparison.SAME and not (excluded and turn is None):
                return
            if turn is not None and known is not None:
                if means_more(turn, known):
                    return
                left = min(left, seconds_left(known, turn.following, store_time))
            counts = turn is not None and is_whole(row)
            options = turn.following if turn else None
            rows.append(RepeatedRow(job, self.recorder.mark(job), turn, options, counts))
        if page.torn or page.skipped or len({row.job for row in rows}) < len(page.rows):
            return
        repeat.rows, repeat.expires_at = rows, now + left - MARGIN
        repeat.dated = max((row.updated_at for row in page.rows if row.updated_at), default=None)
        counted = [row.turn for row in rows if row.turn is not None and row.counts]
        if counted:
            first = counted[0]
            at_once = first.following.job_type.at_once
            polled = SharedPollTime(self.clock.now())
            repeat.turn = PageTurn(self.recorder, first.interval, at_once, now, counted, polled)

    def repeat(self, sweep: ListingSweep, sent: SentPage, now: float, seen_at: datetime) -> int:
        """Count a page that was not read as a poll of its jobs; return of how many."""
        page = sent.repeat.turn
        if page is None:
            return 0
        pace = self.pace(sweep, page.interval, page.at_once)
        page.note(sent.asked_at, now, seen_at, pace, now + pacing.patience(pace))
        polls = len(page)
        if page.loose:
            loose, page.loose = page.loose, []
            for turn in loose:
                polls += self._repeat_alone(sweep, page, turn, sent, now, seen_at)
        return polls

    def _repeat_alone(
        self,
        sweep: ListingSweep,
        page: PageTurn,
        turn: ScheduledJob,
        sent: SentPage,
        now: float,
        seen_at: datetime,
    ) -> bool:
        """Count a row as a poll of a job that does not wait with the page yet, if it is one."""
        # Its describe is under way: the row counts only if that fails, and shows nothing new.
        if turn.state is State.BUSY:
            page.loose.append(turn)
            return False
        unconfirmed = self.recorder.is_unconfirmed(turn.job)
        if unconfirmed and not speaks_against(sent.sent_at, turn):
            page.loose.append(turn)
            return False
        due = turn.due
        self.schedule.leave(turn)
        self.recorder.note_poll(turn.job, sent.asked_at)
        pace = self.pace(sweep, turn.interval, page.at_once)
        turn.note_poll(now, seen_at, pace)
        # A describe that failed, is still owed, is asked for by a hint, or was to confirm another
        # state, is not put off by a row.
        put_off = not (turn.attempts or turn.hint or turn.partial or unconfirmed)
        if put_off and turn.interval == page.interval:
            self.schedule.join(turn, page)
            return True
        page.loose.append(turn)
        if turn.partial and self.job_poller.is_finished(turn):
            self.schedule.finish(turn)
        else:
            due = max(due, now + pacing.patience(pace)) if put_off else due
            self.schedule.put(turn, due)
        return True

    def pace(self, sweep: ListingSweep, interval: float, at_once: int) -> float:
        """Return the seconds between two polls of a job that the sweep shows."""
        requests = math.ceil(len(self.schedule) / at_once)
        share = self.planner.choose(self.clock.monotonic()).share
        rate = self.client.quota.rate
        return pacing.sweep_pace(interval, sweep.period, requests, rate, share)


def speaks_against(sent_at: float, turn: ScheduledJob) -> bool:
    """Return whether a row with the old state speaks against one that is not confirmed yet.

    Listings lag, so that is left to describes, as long as they do not fail.
    """
    return turn.attempts > 0 and sent_at > turn.shown_at


def means_more(turn: ScheduledJob, known: Snapshot) -> bool:
    """Return whether the job type now gives a known state another phase, after a reload."""
    verdict = turn.following.job_type.judge(known.parts, known.phase)
    return verdict is not None and (verdict.state, verdict.phase) != (known.state, known.phase)
