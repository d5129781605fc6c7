"""``job-monitor version``: what runs here."""

from __future__ import annotations

import json
import platform

import typer

from monitor import __version__
from monitor.cli.options import Format, Output


def version(output: Output = Format.TABLE) -> None:
    """Print the version of the program, of Python and of the platform."""
    told = {
        "version": __version__,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }
    if output is Format.JSON:
        typer.echo(json.dumps(told, indent=2))
        return
    typer.echo(f"job-monitor {told['version']}")
    typer.echo(f"{told['implementation']} {told['python']} on {told['platform']}")
