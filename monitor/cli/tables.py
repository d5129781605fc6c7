"""Rows for the eye, or as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
import typer

from monitor import events
from monitor.cli.options import Format

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def show(rows: Sequence[Mapping[str, Any]], output: Format, empty: str) -> None:
    """Print rows that all have the same keys; where there are none, a table says ``empty``."""
    if output is Format.JSON:
        show_json(rows)
    elif rows:
        typer.echo("\n".join(_table(rows)))
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


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    heads = tuple(name.upper().replace("_", " ") for name in rows[0])
    cells = [heads, *(tuple(map(text, row.values())) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def text(value: Any) -> str:
    """Write one value on one line."""
    if value is None:
        return "-"
    written = events.timestamp(value) if isinstance(value, datetime) else str(value)
    return "".join(sign if sign.isprintable() else "?" for sign in written)
