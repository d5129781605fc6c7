"""How a job that is waited for stands, told on standard error while it is waited for."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio
import typer

from monitor import events
from monitor.cli import lazy, output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.tools.wait import Sight

_COLOURS = {"info": None, "warning": "yellow", "error": "red"}
_CLEAR = "\r\x1b[K"
_NARROWEST = 20


class Lines:
    """A plain line for each change, and one for each trouble as it comes and goes."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._last: tuple[str | None, str | None] = (None, None)

    def show(self, sight: Sight) -> None:
        """Print what is new."""
        state, trouble = self._last
        self._last = (sight.state, sight.trouble)
        if sight.trouble:
            if not trouble:
                _say(sight, f"cannot be seen now: {sight.trouble}")
        elif sight.state is not None and (trouble or sight.state != state):
            before = f"{state} -> " if state not in {None, sight.state} else ""
            _say(sight, f"{before}{sight.state} ({sight.phase})")

    async def run(self) -> None:
        """Do nothing: lines stand as they are."""

    def close(self) -> None:
        """Do nothing."""


class Live:
    """One line on a terminal, written anew every second."""

    def __init__(self, *, colours: bool) -> None:
        """Begin with nothing known."""
        self._colours = colours
        self._sight: Sight | None = None

    def show(self, sight: Sight) -> None:
        """Show this from now on."""
        self._sight = sight
        self._draw()

    async def run(self) -> None:
        """Let the times of the line go on, until cancelled."""
        while True:
            await anyio.sleep(1)
            self._draw()

    def close(self) -> None:
        """Take the line away."""
        sys.stderr.write(_CLEAR)
        sys.stderr.flush()

    def _draw(self) -> None:
        if self._sight is None:
            return
        # One column less, as some terminals begin a new line after the last one.
        line = " · ".join(_parts(self._sight, datetime.now(UTC)))[: max(_NARROWEST, _columns() - 1)]
        colour = "yellow" if self._sight.trouble else _COLOURS[self._sight.severity]
        shown = typer.style(line, fg=colour) if self._colours and colour else line
        sys.stderr.write(f"{_CLEAR}{shown}")
        sys.stderr.flush()


def progress() -> Lines | Live:
    """Return what fits where standard error leads to."""
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return Lines()
    return Live(colours=not os.environ.get("NO_COLOR"))


def _say(sight: Sight, what: str) -> None:
    moment = events.timestamp(datetime.now(UTC))
    typer.echo(output.text(f"{moment} {sight.name}: {what}"), err=True)


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80


def _parts(sight: Sight, now: datetime) -> Iterator[str]:
    """Yield what the line is made of, the most important first: a narrow terminal cuts it off."""
    name = sight.name.rpartition("/")[2]
    if sight.state is not None:
        yield output.text(f"{name}  {sight.state} ({sight.phase})")
        if sight.since is not None:
            yield f"for {lazy.config.short_duration((now - sight.since).total_seconds())}"
    else:
        yield output.text(f"{name}  not seen yet")
    if sight.trouble:
        yield output.text(f"cannot be seen now: {sight.trouble}")
    if (seconds := until_next_look(sight, now)) is not None:
        yield f"next look in {lazy.config.short_duration(seconds)}" if seconds >= 1 else "looking"


def until_next_look(sight: Sight, now: datetime) -> float | None:
    """Return the seconds until the next look; where it was told long ago, counted on from then."""
    if sight.next_look_at is None:
        return None
    seconds = (sight.next_look_at - now).total_seconds()
    if seconds < 0 and sight.interval:
        return seconds % sight.interval
    return max(0.0, seconds)
