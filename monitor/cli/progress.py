"""Show the progress of a job on standard error while it is waited for."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio
import typer

from monitor import events
from monitor.cli import output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.tools.wait import Progress

_COLOURS = {"info": None, "warning": "yellow", "error": "red"}
_CLEAR = "\r\x1b[K"
_NARROWEST, _USUAL = 20, 80
"""Columns of a terminal."""


class PlainProgress:
    """Print a line for each change, and one as trouble comes and goes."""

    def __init__(self) -> None:
        """Start with nothing known."""
        self._last: tuple[str | None, str | None] = (None, None)

    def show(self, job: Progress) -> None:
        """Print what is new."""
        state, trouble = self._last
        self._last = (job.state, job.trouble)
        if job.trouble:
            if not trouble:
                _say(job, f"unreachable now: {job.trouble}")
        elif job.state is not None and (trouble or job.state != state):
            before = f"{state} -> " if state not in {None, job.state} else ""
            _say(job, f"{before}{job.state} ({job.phase})")

    async def run(self) -> None:
        """Do nothing: lines stand as they are."""

    def close(self) -> None:
        """Do nothing."""


class LiveProgress:
    """Show one line on a terminal, and redraw it every second."""

    def __init__(self, *, colours: bool) -> None:
        """Start with nothing known."""
        self._colours = colours
        self._job: Progress | None = None

    def show(self, job: Progress) -> None:
        """Show this progress from now on."""
        self._job = job
        self._draw()

    async def run(self) -> None:
        """Redraw the line every second, as its ages grow, until cancelled."""
        while True:
            await anyio.sleep(1)
            self._draw()

    def close(self) -> None:
        """Erase the line."""
        sys.stderr.write(_CLEAR)
        sys.stderr.flush()

    def _draw(self) -> None:
        if self._job is None:
            return
        try:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or _USUAL
        except OSError:
            columns = _USUAL
        # One column less, as some terminals begin a new line after the last one.
        line = " · ".join(_parts(self._job, datetime.now(UTC)))[: max(_NARROWEST, columns - 1)]
        colour = "yellow" if self._job.trouble else _COLOURS[self._job.severity]
        shown = typer.style(line, fg=colour) if self._colours and colour else line
        sys.stderr.write(f"{_CLEAR}{shown}")
        sys.stderr.flush()


def progress() -> PlainProgress | LiveProgress:
    """Return the live line for a terminal, else plain lines."""
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return PlainProgress()
    return LiveProgress(colours=not os.environ.get("NO_COLOR"))


def _say(job: Progress, what: str) -> None:
    moment = events.timestamp(datetime.now(UTC))
    typer.echo(output.text(f"{moment} {job.name}: {what}"), err=True)


def _parts(job: Progress, now: datetime) -> Iterator[str]:
    """Yield what the line is made of, the most important first: a narrow terminal cuts it off."""
    from monitor.config import short_duration

    name = job.name.rpartition("/")[2]
    if job.state is not None:
        yield output.text(f"{name}  {job.state} ({job.phase})")
        if job.since is not None:
            yield f"for {short_duration((now - job.since).total_seconds())}"
    else:
        yield output.text(f"{name}  not polled yet")
    if job.trouble:
        yield output.text(f"unreachable now: {job.trouble}")
    if job.next_poll_at is not None:
        seconds = (job.next_poll_at - now).total_seconds()
        if seconds < 0 and job.interval:
            seconds %= job.interval  # that poll is over: add intervals
        yield f"next poll in {short_duration(seconds)}" if seconds >= 1 else "polling"
