"""The program ``job-monitor``: its commands, and the exit codes of its errors."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from monitor import __version__, redaction
from monitor.cli import streams
from monitor.cli.commands import (
    check,
    deliveries,
    demo,
    doctor,
    health,
    hints,
    iam_policy,
    jobs,
    lab,
    plan,
    render,
    replay,
    run,
    send_test,
    show,
    simulate,
    sinks,
    test,
    transitions,
    types,
    version,
    wait,
)
from monitor.cli.exception_groups import leaves
from monitor.errors import ConfigurationError, MonitorError, StoreError, StoreLockedError

if TYPE_CHECKING:
    from collections.abc import Iterable

USAGE, UNAVAILABLE, SOFTWARE, IO_ERROR = 2, 69, 70, 74
"""Exit codes, after sysexits(3)."""

MOST_PROBLEMS = 20
"""Problems that are printed at most: one screen."""

app = typer.Typer(
    name="job-monitor",
    help="Watches long-running AWS jobs and notifies people and programs when they change.",
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
app.command("lab")(lab.lab)
app.command("plan")(plan.plan)
app.command("render")(render.render)
app.command("show")(show.show)
app.command("wait")(wait.wait)
app.add_typer(jobs.commands, name="jobs")
app.add_typer(transitions.commands, name="transitions")
app.add_typer(deliveries.commands, name="deliveries")
app.add_typer(sinks.commands, name="sinks")
app.add_typer(types.commands, name="types")
app.add_typer(hints.commands, name="hints")
app.command("replay")(replay.replay)
app.command("send-test")(send_test.send_test)
app.command("simulate")(simulate.simulate)
app.command("test")(test.run_tests)
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


def main() -> None:  # noqa: C901 -- one branch per family of errors
    """Run a command; turn every expected error into one screen of text and an exit code."""
    streams.prepare()
    code = 0
    try:
        code = _run()
    except* streams.OutputError as group:
        for output_error in leaves(group):
            # A reader that has left, as ``head`` does, wants no message.
            if not output_error.left:
                streams.say(f"error: {output_error}")
        code = IO_ERROR
    except* typer.TyperException as group:
        for usage_error in leaves(group):
            # The message is empty where help was printed instead.
            if text := " ".join(usage_error.format_message().split()):
                streams.say(f"error: {_usage(text, usage_error)}")
        code = USAGE
    except* ConfigurationError as group:
        code = _report([str(one) for error in leaves(group) for one in error.problems], USAGE)
    except* StoreLockedError as group:
        code = _report([str(error) for error in leaves(group)], UNAVAILABLE)
    except* StoreError as group:
        code = _report([str(error) for error in leaves(group)], IO_ERROR)
    except* MonitorError as group:
        code = _report([str(error) for error in leaves(group)], UNAVAILABLE)
    except* Exception as group:  # noqa: BLE001 -- the last resort: a traceback could show secrets
        streams.say(f"error: a bug in job-monitor itself:\n{redaction.describe(group)}")
        code = SOFTWARE
    sys.exit(code)


def _run() -> int:
    try:
        code = app(standalone_mode=False)
    except SystemExit as end:
        # --help and --version end like this; their output may not be written yet.
        streams.finish()
        return end.code if isinstance(end.code, int) else USAGE
    streams.finish()
    return code or 0


def _usage(text: str, error: typer.TyperException) -> str:
    """Return the error of a command line in our form, with the command that explains more."""
    text, _, near = text.removesuffix(".").partition(" (Possible options: ")
    near = near.removesuffix(")")
    text = f"{text[0].lower()}{text[1:]}".replace("option: ", "option ").replace(
        "Value error, ", ""
    )
    context = getattr(error, "ctx", None)
    remedy = f"try: {context.command_path if context else app.info.name} --help"
    return f"{text} (did you mean {near}? {remedy})" if near else f"{text} ({remedy})"


def _report(problems: Iterable[str], code: int) -> int:
    # Several tasks may fail for the same reason: one line is enough.
    lines = list(dict.fromkeys(problems))
    for line in lines[:MOST_PROBLEMS]:
        streams.say(f"error: {line}")
    if len(lines) > MOST_PROBLEMS:
        streams.say(f"error: and {len(lines) - MOST_PROBLEMS} more")
    return code
