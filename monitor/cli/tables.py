"""Tables for people: columns that fit a terminal, ages, and colours.

On a terminal that is too narrow, columns that can be spared are left out, and long values end in an
ellipsis. Into a pipe or a file everything is written.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import typer

from monitor import events
from monitor.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

COLOURS = {"info": None, "warning": "yellow", "error": "red"}
"""By severity."""
ELLIPSIS = "…"
_GAP = "  "
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_LONG = 3 * _DAY
_EMPTY, _SAME = 100, 10
"""How much sooner a column is left out that is empty, or that has the same value in all rows."""


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """One column; ``value`` is text, a number, a time, or ``None``."""

    head: str
    value: Callable[[T], Any]
    wide: bool = False
    """Only in the wide form."""
    stamp: str = ""
    """The head in the wide form, where a time stands in place of an age."""
    least: int | None = None
    """The width down to which it may shrink; ``None``: it does not."""
    spare: int = 0
    """Where there is no room, the column with the highest is left out first; 0: never."""
    common: bool = False
    """It is left out sooner if it has the same value in all rows."""
    colour: Callable[[T], str | None] | None = None


@dataclass(frozen=True, slots=True)
class Table(Generic[T]):
    """The way in which one kind of thing is listed."""

    columns: Sequence[Column[T]]
    name: Callable[[T], str]
    """What ``-o name`` prints, and other commands accept."""
    data: Callable[[T], Any]
    """The object of the HTTP API, as JSON values."""
    empty: str
    """Printed where there are no rows."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a table is made for; ``width`` is that of a terminal, if there is one."""

    now: datetime
    wide: bool = False
    width: int | None = None
    colours: bool = False


@dataclass(frozen=True, slots=True)
class _Cell:
    text: str
    columns: int
    colour: str | None = None


def lines(table: Table[T], items: Sequence[T], look: Look) -> list[str]:
    """Return the head and one line for each item."""
    chosen = [column for column in table.columns if look.wide or not column.wide]
    rows = [
        [
            _Cell(
                text := _text(column.value(item), look),
                width(text),
                column.colour(item) if column.colour else None,
            )
            for column in chosen
        ]
        for item in items
    ]
    heads = [_head(column, look) for column in chosen]
    kept, widths = _fit(chosen, heads, rows, look.width)
    shown = [_line(heads, kept, widths, colours=False)]
    if look.colours:
        shown = [typer.style(shown[0], bold=True)]
    return shown + [_line(row, kept, widths, colours=look.colours) for row in rows]


def age(seconds: float) -> str:
    """Write how long ago something was, or with ``in`` how soon it is: 3m, 2h5m, 4d."""
    if seconds <= -1:
        return f"in {age(-seconds)}"
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m"
    if whole < _DAY:
        return _two(whole // _HOUR, "h", whole % _HOUR // _MINUTE, "m")
    return _two(whole // _DAY, "d", whole % _DAY // _HOUR if whole < _LONG else 0, "h")


def _two(more: int, unit: str, less: int, lesser: str) -> str:
    return f"{more}{unit}{less}{lesser}" if less else f"{more}{unit}"


def cut(text: str, columns: int) -> str:
    """Shorten text to so many columns of a terminal; what is left out shows as an ellipsis."""
    if width(text) <= columns:
        return text
    kept, used = [], 0
    for letter in text:
        used += _columns(letter)
        if used > columns - 1:
            break
        kept.append(letter)
    return "".join(kept).rstrip() + ELLIPSIS if columns > 0 else ""


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in {"W", "F"} else 1


def _head(column: Column[T], look: Look) -> _Cell:
    text = (column.stamp if look.wide else "") or column.head
    return _Cell(text, len(text))


def _text(value: Any, look: Look) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        passed = (look.now - value).total_seconds()
        return events.timestamp(value) if look.wide else age(passed)
    return printable(str(value))


def _line(
    row: Sequence[_Cell], kept: Sequence[int], widths: Sequence[int], *, colours: bool
) -> str:
    parts = []
    for index in kept:
        cell, wanted = row[index], widths[index]
        text = cut(cell.text, wanted) if cell.columns > wanted else cell.text
        last = index == kept[-1]
        fill = "" if last else " " * (wanted - width(text))
        parts.append(
            (typer.style(text, fg=cell.colour) if colours and cell.colour else text) + fill
        )
    return _GAP.join(parts).rstrip()


def _fit(
    columns: Sequence[Column[T]],
    heads: Sequence[_Cell],
    rows: Sequence[Sequence[_Cell]],
    room: int | None,
) -> tuple[list[int], list[int]]:
    """Return which columns there is room for, and the width of each of all columns."""
    kept = list(range(len(columns)))
    widths = [
        max([head.columns, *(row[index].columns for row in rows)])
        for index, head in enumerate(heads)
    ]
    if room is None:
        return kept, widths
    least = [
        wanted if column.least is None else min(wanted, max(column.least, head.columns))
        for column, head, wanted in zip(columns, heads, widths, strict=True)
    ]
    while sum(least[index] for index in kept) + len(_GAP) * (len(kept) - 1) > room:
        spared = [index for index in kept if columns[index].spare]
        if not spared:
            break
        kept.remove(max(spared, key=lambda index: _rank(columns[index], index, rows)))
    over = sum(widths[index] for index in kept) + len(_GAP) * (len(kept) - 1) - room
    while over > 0:
        # The widest loses first, so that short values stay whole.
        widest = max(kept, key=lambda index: widths[index] if widths[index] > least[index] else -1)
        if widths[widest] <= least[widest]:
            break
        widths[widest] -= 1
        over -= 1
    return kept, widths


def _rank(column: Column[T], index: int, rows: Sequence[Sequence[_Cell]]) -> int:
    values = {row[index].text for row in rows}
    rank = column.spare
    if values <= {"-"}:
        rank += _EMPTY
    if column.common and len(values) == 1:
        rank += _SAME
    return rank
