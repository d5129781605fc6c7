"""The terminal on standard output: its width, its colours, and a screen to draw on."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

from monitor.cli.tables import cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_USUAL = (80, 24)
_ENTER = "\x1b[?1049h\x1b[?25l"
"""Take the other screen, as pagers do: what was there before comes back at the end."""
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


class When(StrEnum):
    """When to use colours."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def colours(when: When) -> bool:
    """Return whether to use colours."""
    if when is When.AUTO:
        return is_capable() and not os.environ.get("NO_COLOR")
    return when is When.ALWAYS


def width() -> int | None:
    """Return how many columns it has; ``None`` if it is not a terminal."""
    return _size()[0] if sys.stdout.isatty() else None


@contextmanager
def screen() -> Iterator[None]:
    """Draw on a screen of its own, and give back the former one at the end."""
    sys.stdout.write(_ENTER)
    try:
        yield
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


def draw(rows: Sequence[str], below: Sequence[str]) -> None:
    """Draw rows, as many as there is room for, and short remarks below them."""
    columns, height = _size()
    room = max(1, height - len(below) - 1)
    if len(rows) > room:
        more = len(rows) - room + 1
        rows = [*rows[: room - 1], f"… and {more} more"]
    dim = [typer.style(cut(line, columns), dim=True) for line in below]
    text = f"{_END_OF_LINE}\n".join([*rows, "", *dim])
    # At once, so that nothing half drawn is seen.
    sys.stdout.write(f"{_HOME}{text}{_END_OF_LINE}{_BELOW}")
    sys.stdout.flush()


def _size() -> tuple[int, int]:
    try:
        found = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return _USUAL
    return found.columns or _USUAL[0], found.lines or _USUAL[1]


def is_capable() -> bool:
    """Return whether it has colours and can be drawn over."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
