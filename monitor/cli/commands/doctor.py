"""``job-monitor doctor``: check that AWS permits what this configuration watches."""

from __future__ import annotations

from dataclasses import asdict

import anyio
import typer

from monitor.cli import options
from monitor.cli import output as tables
from monitor.cli.options import Format


def doctor(config: options.Config = None, output: options.Output = Format.TABLE) -> None:
    """Call AWS once for each account, region and operation that the watches use; print the outcome.

    Records and sends nothing; exit code 1 if any call failed.
    """
    from monitor.tools import doctor as diagnosis

    settings, types = options.load_parts(config, "watches", "accounts", "hints")
    calls = anyio.run(diagnosis.check, settings, types)
    rows = [asdict(each) for each in calls]
    if output is Format.TABLE:
        rows = [{name: row[name] for name in row if name != "remedy"} for row in rows]
    tables.show(rows, output, "There is nothing to check: no watches.")
    failed = [each for each in calls if each.outcome is diagnosis.CallOutcome.FAILED]
    if failed:
        if output is Format.TABLE:
            for remedy in dict.fromkeys(each.remedy for each in failed):
                typer.echo(remedy, err=True)
        raise typer.Exit(1)
