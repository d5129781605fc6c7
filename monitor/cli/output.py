"""Rows for people, or as JSON: a table shows UTC and says so, JSON holds ISO 8601."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import typer

from monitor import events
from monitor.cli import lazy
from monitor.cli.options import Format
from monitor.web.page import format as wording

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


def show(
    rows: Sequence[Mapping[str, Any]],
    output: Format,
    empty: str,
    aged: Collection[str] = (),
) -> None:
    """Print rows that all have the same keys; where there are none, a table says ``empty``.

    In a table, how long ago it was stands beside the times whose keys are ``aged``.
    """
    if output is Format.JSON:
        show_json(rows)
    elif rows:
        typer.echo("\n".join(_table(rows, aged, datetime.now(UTC))))
    else:
        typer.echo(empty)


def show_one(facts: Mapping[str, Any], output: Format) -> None:
    """Print one thing; in a table its ``fields`` stand below, and what is not known is left out."""
    if output is Format.JSON:
        show_json(facts)
        return
    rows = {**{name: value for name, value in facts.items() if name != "fields"}, **facts["fields"]}
    width = max(map(len, rows))
    for name, value in rows.items():
        if value is not None:
            typer.echo(f"{name:<{width}}  {text(value)}")


def show_json(value: Any) -> None:
    """Print a value as JSON; times as events have them."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_PASSTHROUGH_DATETIME
    typer.echo(orjson.dumps(value, default=_plain, option=option).decode())


def _plain(value: Any) -> Any:
    return events.timestamp(value) if isinstance(value, datetime) else dict(value)


def _table(rows: Sequence[Mapping[str, Any]], aged: Collection[str], now: datetime) -> list[str]:
    heads = tuple(name.upper().replace("_", " ") for name in rows[0])
    cells = [heads]
    for row in rows:
        named = row.items()
        cells.append(tuple(_with_age(v, now) if name in aged else text(v) for name, v in named))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def text(value: Any) -> str:
    """Write one value on one line."""
    if value is None:
        return "-"
    written = wording.moment(value) if isinstance(value, datetime) else str(value)
    return "".join(sign if sign.isprintable() else "?" for sign in written)


def _with_age(value: Any, now: datetime) -> str:
    """Write a time and how long ago it was, or in how long it will be; other values as ``text``."""
    if not isinstance(value, datetime):
        return text(value)
    passed = (now - value).total_seconds()
    age = (
        f"{lazy.config.short_duration(passed)} ago"
        if passed >= 0
        else f"in {lazy.config.short_duration(-passed)}"
    )
    return f"{text(value)} ({age})"
