"""The command ``job-monitor``: its commands, and how its errors end."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from monitor import __version__, redaction
from monitor.cli import (
    check,
    deliveries,
    demo,
    doctor,
    health,
    iam_policy,
    jobs,
    plan,
    render,
    replay,
    run,
    send_test,
    show,
    simulate,
    sinks,
    transitions,
    types,
    version,
    wait,
)
from monitor.cli.groups import leaves
from monitor.errors import ConfigurationError, MonitorError, StoreError, StoreLockedError

USAGE, UNAVAILABLE, SOFTWARE, IO_ERROR = 2, 69, 70, 74
"""Exit codes, after sysexits(3)."""

MOST_PROBLEMS = 20
"""Lines of problems that are printed: one screen."""

app = typer.Typer(
    name="job-monitor",
    help="Watches long-running AWS jobs and tells people and programs when they change.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("demo")(demo.demo)
app.command("check")(check.check)
app.command("doctor")(doctor.doctor)
app.command("health")(health.health)
app.command("iam-policy")(iam_policy.iam_policy)
app.command("plan")(plan.plan)
app.command("render")(render.render)
app.command("show")(show.show)
app.command("wait")(wait.wait)
app.add_typer(jobs.commands, name="jobs")
app.add_typer(transitions.commands, name="transitions")
app.add_typer(deliveries.commands, name="deliveries")
app.add_typer(sinks.commands, name="sinks")
app.add_typer(types.commands, name="types")
app.command("replay")(replay.replay)
app.command("send-test")(send_test.send_test)
app.command("simulate")(simulate.simulate)
app.command("version")(version.version)


def _version(wanted: bool) -> None:  # noqa: FBT001 -- the form of a typer callback
    if wanted:
        typer.echo(f"job-monitor {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[  # noqa: FBT002 -- the form of a typer option
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run a command; turn every foreseen error into one screen of text and an exit code."""
    sys.exit(_outcome())


def _outcome() -> int:
    code = 0
    try:
        code = app(standalone_mode=False) or 0
    except* typer.TyperException as group:
        code = _tell_usage(group)
    except* ConfigurationError as group:
        code = _tell(group, USAGE)
    except* StoreLockedError as group:
        code = _tell(group, UNAVAILABLE)
    except* StoreError as group:
        code = _tell(group, IO_ERROR)
    except* MonitorError as group:
        code = _tell(group, UNAVAILABLE)
    except* BrokenPipeError:
        # The reader of our output has left; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = IO_ERROR
    except* Exception as group:  # noqa: BLE001 -- the last net: a traceback could tell secrets
        typer.echo(f"error: a fault of job-monitor itself:\n{redaction.describe(group)}", err=True)
        code = SOFTWARE
    return code


def _tell_usage(group: BaseExceptionGroup[typer.TyperException]) -> int:
    for error in leaves(group):
        # It is empty where help was printed instead.
        if text := " ".join(error.format_message().split()):
            typer.echo(f"error: {_usage(text, error)}", err=True)
    return USAGE


def _usage(text: str, error: typer.TyperException) -> str:
    """Say what is wrong with the command line, and where to read on."""
    text, _, near = text.removesuffix(".").partition(" (Possible options: ")
    near = near.removesuffix(")")
    text = f"{text[0].lower()}{text[1:]}".replace("option: ", "option ").replace(
        "Value error, ", ""
    )
    context = getattr(error, "ctx", None)
    remedy = f"try: {context.command_path if context else app.info.name} --help"
    return f"{text} (did you mean {near}? {remedy})" if near else f"{text} ({remedy})"


def _tell(group: BaseExceptionGroup[MonitorError], code: int) -> int:
    lines = list(dict.fromkeys(line for error in leaves(group) for line in _lines(error)))
    for line in lines[:MOST_PROBLEMS]:
        typer.echo(f"error: {line}", err=True)
    if len(lines) > MOST_PROBLEMS:
        typer.echo(f"error: and {len(lines) - MOST_PROBLEMS} more", err=True)
    return code


def _lines(error: MonitorError) -> list[str]:
    if isinstance(error, ConfigurationError):
        return [str(problem) for problem in error.problems]
    return [str(error)]
