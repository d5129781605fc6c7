"""Print rows for people, or as JSON: a table shows UTC and says so, JSON holds ISO 8601."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import typer

from monitor import events
from monitor.cli.options import Format
from monitor.errors import printable
from monitor.model import TERMINAL, Job, Kind
from monitor.web.page.format import moment

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from monitor.model import Transition


_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME
_ONE_LINE = 1 << 20
"""Columns of YAML: no text is broken into several lines."""


def show(
    rows: Sequence[Mapping[str, Any]],
    output: Format,
    empty: str,
    aged: Collection[str] = (),
) -> None:
    """Print rows that all have the same keys; a table without rows prints ``empty``.

    A table shows the age beside the times whose keys are in ``aged``.
    """
    if output is not Format.TABLE:
        show_data(rows, output)
    elif rows:
        typer.echo("\n".join(_table(rows, aged, datetime.now(UTC))))
    else:
        typer.echo(empty)


def show_one(facts: Mapping[str, Any], output: Format) -> None:
    """Print one object; a table puts its ``fields`` below and leaves out unknown values."""
    if output is not Format.TABLE:
        show_data(facts, output)
        return
    rows = {**{name: value for name, value in facts.items() if name != "fields"}, **facts["fields"]}
    width = max(map(len, rows))
    for name, value in rows.items():
        if value is not None:
            typer.echo(f"{name:<{width}}  {text(value)}")


def show_data(value: Any, output: Format) -> None:
    """Print a value as YAML or else as JSON."""
    (show_yaml if output is Format.YAML else show_json)(value)


def show_json(value: Any) -> None:
    """Print a value as JSON; times have the form of those in events."""
    typer.echo(orjson.dumps(value, default=_plain, option=_OPTIONS | orjson.OPT_INDENT_2).decode())


def show_yaml(value: Any) -> None:
    """Print a value as YAML, with what JSON would hold."""
    typer.echo(yaml_text(value), nl=False)


def yaml_text(value: Any) -> str:
    """Return a value as YAML; texts that look like numbers or times are quoted."""
    import yaml

    plain = orjson.loads(orjson.dumps(value, default=_plain, option=_OPTIONS))
    text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=_ONE_LINE)
    return text


def _plain(value: Any) -> Any:
    return events.timestamp(value) if isinstance(value, datetime) else dict(value)


def _table(rows: Sequence[Mapping[str, Any]], aged: Collection[str], now: datetime) -> list[str]:
    heads = tuple(name.upper().replace("_", " ") for name in rows[0])
    cells = [heads]
    for row in rows:
        named = row.items()
        cells.append(tuple(text(v, now if name in aged else None) for name, v in named))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def text(value: Any, now: datetime | None = None) -> str:
    """Write one value on one line; of a time, with ``now`` also its age or the time until it."""
    if value is None:
        return "-"
    if not isinstance(value, datetime):
        return printable(str(value))
    if now is None:
        return printable(moment(value))
    from monitor.config import short_duration

    passed = (now - value).total_seconds()
    age = f"{short_duration(passed)} ago" if passed >= 0 else f"in {short_duration(-passed)}"
    return printable(f"{moment(value)} ({age})")


_COLOURS = {"info": "green", "warning": "yellow", "error": "red"}


def transition_line(transition: Transition) -> str:
    """Return one line: the time, the job, the change, and the window it fell into."""
    subject, current = transition.subject, transition.current
    name = f"{subject.type}/{subject.id}" if isinstance(subject, Job) else subject.key
    when = transition.before.astimezone(UTC).strftime("%H:%M:%S UTC")
    match transition.kind:
        case Kind.STATE_CHANGED if transition.previous:
            what = f"{transition.previous.state} -> {current.state}  [{current.phase}]"
        case Kind.UPDATED:
            changed = ", ".join(change.field for change in transition.changes)
            what = f"{current.state}  changed: {changed}"
        case Kind.SOURCE_UNAVAILABLE | Kind.SOURCE_RECOVERED:
            what = current.state
        case _:
            verb = transition.kind.partition(".")[2]
            what = f"{verb}: {current.state}  [{current.phase}]"
    ended = current.phase in TERMINAL and not transition.baseline
    quiet = transition.kind is Kind.DISCOVERED and not ended
    colour = "bright_black" if quiet else _COLOURS[transition.severity]
    window = ""
    if transition.after is not None and transition.kind is Kind.STATE_CHANGED:
        seconds = (transition.before - transition.after).total_seconds()
        window = typer.style(f"  (within {seconds:.1f} s)", dim=True)
    return f"{when}  {name:<40} {typer.style(what, fg=colour)}{window}"
