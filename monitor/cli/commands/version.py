"""``job-monitor version``: print the versions of program, Python and platform."""

from __future__ import annotations

import platform

import typer

from monitor import __version__
from monitor.cli.options import Format, Output


def version(output: Output = Format.TABLE) -> None:
    """Print the version of the program, of Python and of the platform."""
    facts = {
        "version": __version__,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }
    if output is not Format.TABLE:
        from monitor.cli.output import show_data

        show_data(facts, output)
        return
    typer.echo(f"job-monitor {facts['version']}")
    typer.echo(f"{facts['implementation']} {facts['python']} on {facts['platform']}")
