"""``job-monitor render``: print what a sink would send, without sending it."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor import example_events
from monitor.cli import arguments, completions, options
from monitor.cli import output as tables
from monitor.cli.options import Format
from monitor.model import Kind
from monitor.web.links import EventLinks, PageLinks


def render(
    sink: completions.Sink,
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
    from monitor import sinks

    settings = options.load_own(config)
    arguments.require_sink(settings, sink, "--sink")
    for each in kind or ():
        if each not in set(Kind):
            raise arguments.unknown("--kind", "kind", each, Kind)
    kinds = [Kind(each) for each in kind or Kind]
    # Of an example's type none is read: what it adds is the link to the page.
    added = EventLinks(PageLinks.of(settings.server), {})
    events = [added.added_to(example_events.event(each)) for each in kinds]
    previews = sinks.previews(sink, settings.sinks[sink], events)
    pairs = list(zip(kinds, previews, strict=True))
    if output is not Format.TABLE:
        shown = [
            {"kind": each.value, "headers": dict(preview.headers), "body": preview.body}
            for each, preview in pairs
        ]
        tables.show_data(shown, output)
        return
    texts = []
    for each, preview in pairs:
        headers = [f"{name}: {value}" for name, value in preview.headers.items()]
        body = preview.body.rstrip("\n")
        texts.append("\n".join([f"# {each.value}", *headers, *([""] if headers else []), body]))
    typer.echo("\n\n".join(texts))
