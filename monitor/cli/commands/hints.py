"""``job-monitor hints``: set up the queues whose events make polls due at once."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli import arguments, options, output
from monitor.errors import ConfigurationError, Problem

commands = typer.Typer(help="Set up the queues of hints.", no_args_is_help=True)


@commands.callback()
def _hints() -> None:
    """Keep the name of a single command."""


@commands.command("rule")
def rule(
    config: options.Config = None,
    queue: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The queue, if the configuration has several."),
    ] = None,
) -> None:
    """Print the EventBridge rules, the queue and its policy as a CloudFormation template."""
    from monitor.tools import hint_rules

    settings, types = options.load_parts(config, "hints", ".type", ".account")
    found = hint_rules.templates(settings, types)
    if not found:
        remedy = "add hints: [{queue_url: URL}]"
        raise ConfigurationError([Problem("", "hints", "no queue is configured", remedy)])
    if queue is None and len(found) > 1:
        remedy = f"choose one with --queue: {', '.join(found)}"
        raise ConfigurationError([Problem("", "hints", "there are several queues", remedy)])
    if queue is not None and queue not in found:
        raise arguments.unknown("--queue", "queue", queue, found)
    output.show_json(found[queue or next(iter(found))])
