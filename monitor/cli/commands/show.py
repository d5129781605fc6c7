"""``job-monitor show``: poll one job once, and print it."""

from __future__ import annotations

from typing import Annotated

import anyio
import typer

from monitor.cli import completions, options
from monitor.cli import output as tables
from monitor.cli.options import Format
from monitor.errors import PollError, PollReason

_EXIT_CODES = {PollReason.MISSING: 1, PollReason.CONFIG: 2}
_UNAVAILABLE = 69


def show(
    *,
    type_: completions.Type,
    job_id: completions.JobId,
    config: options.Config = None,
    account: Annotated[str, typer.Option(help="One of the configured accounts.")] = "default",
    region: options.Region = None,
    profile: options.Profile = None,
    type_file: options.TypeFile = None,
    output: options.Output = Format.TABLE,
) -> None:
    """Poll one job once and print what AWS reports; records and sends nothing."""
    from monitor.tools.describe_once import DescribeOnce

    settings = options.load(config)
    job = DescribeOnce(
        settings, type_, account, region, job_id, profile=profile, type_file=type_file
    )
    try:
        seen, verdict = anyio.run(job.once)
    except PollError as error:
        typer.echo(f"error: {job_id}: {error}", err=True)
        raise typer.Exit(_EXIT_CODES.get(error.reason, _UNAVAILABLE)) from None
    facts = {
        "job": seen.job.key,
        "state": verdict.state,
        "phase": verdict.phase.value,
        "severity": verdict.severity.value,
        "ending": verdict.ending.value,
        "seen_at": seen.seen_at,
        "updated_at": seen.updated_at,
        "reason": seen.reason,
        "fields": dict(seen.fields),
    }
    tables.show_one(facts, output)
