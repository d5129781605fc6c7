"""``job-monitor render``: what a sink would send, without sending it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from monitor import example_events
from monitor.cli import arguments, lazy, options
from monitor.cli.options import Format
from monitor.model import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.sinks.kind import Preview


def render(
    sink: Annotated[str, typer.Option("--sink", "-s", metavar="NAME", help="Which sink.")],
    config: options.Config = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", "-k", help="Such as job.stuck; may be repeated; default: all."),
    ] = None,
    output: options.Output = Format.TABLE,
) -> None:
    """Print what a sink would send for an example of each kind of event; sends nothing.

    Secrets are shown as ***.
    """
    settings = options.load_own(config)
    arguments.require_sink(settings, sink, "--sink")
    kinds = [_kind(each) for each in kind or Kind]
    events = [example_events.event(each) for each in kinds]
    previews = lazy.sinks.previews(sink, settings.sinks[sink], events)
    typer.echo(_json(kinds, previews) if output is Format.JSON else _text(kinds, previews))


def _kind(text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError:
        raise arguments.unknown("--kind", "kind", text, Kind) from None


def _json(kinds: Sequence[Kind], previews: Sequence[Preview]) -> str:
    told = [
        {"kind": kind.value, "headers": dict(preview.headers), "body": preview.body}
        for kind, preview in zip(kinds, previews, strict=True)
    ]
    return orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()


def _text(kinds: Sequence[Kind], previews: Sequence[Preview]) -> str:
    return "\n\n".join(
        "\n".join([f"# {kind.value}", *_lines(preview)])
        for kind, preview in zip(kinds, previews, strict=True)
    )


def _lines(preview: Preview) -> list[str]:
    headers = [f"{name}: {value}" for name, value in preview.headers.items()]
    return [*headers, *([""] if headers else []), preview.body.rstrip("\n")]
