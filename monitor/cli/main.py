"""The program ``job-monitor``: its commands, and the exit codes of its errors."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from monitor import __version__, redaction
from monitor.cli import shell_completion, streams
from monitor.cli.exception_groups import leaves
from monitor.cli.groups import HELP, lazy
from monitor.errors import ConfigurationError, MonitorError, StoreError, StoreLockedError

if TYPE_CHECKING:
    from collections.abc import Iterable

USAGE, UNAVAILABLE, SOFTWARE, IO_ERROR = 2, 69, 70, 74
"""Exit codes, after sysexits(3)."""

MOST_PROBLEMS = 20
"""Problems that are printed at most: one screen."""

_PACKAGE = "monitor.cli.commands"
COMMANDS = {
    "run": "run:run",
    "demo": "demo:demo",
    "check": "check:check",
    "doctor": "doctor:doctor",
    "health": "health:health",
    "iam-policy": "iam_policy:iam_policy",
    "lab": "lab:lab",
    "plan": "plan:plan",
    "render": "render:render",
    "show": "show:show",
    "wait": "wait:wait",
    "jobs": "jobs:commands",
    "transitions": "transitions:commands",
    "deliveries": "deliveries:commands",
    "silences": "silences:commands",
    "acknowledge": "acknowledge:acknowledge",
    "sinks": "sinks:commands",
    "sources": "sources:commands",
    "replicas": "replica_list:commands",
    "watches": "watch_list:commands",
    "types": "types:commands",
    "hints": "hints:commands",
    "replay": "replay:replay",
    "store": "store:commands",
    "send-test": "send_test:send_test",
    "simulate": "simulate:simulate",
    "test": "test:run_tests",
    "completion": "completion:completion",
    "version": "version:version",
}
"""Each command with its module and what is in it: a function, or a group of commands."""

app = typer.Typer(
    name="job-monitor",
    cls=lazy({name: f"{_PACKAGE}.{place}" for name, place in COMMANDS.items()}),
    help="Watches long-running AWS jobs and notifies people and programs when they change.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=HELP,
)


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
    # Nothing here uses plug-ins of pydantic, and to find them it reads the entry points of every
    # installed package. Whoever wants them names others in this variable, or none.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
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
    gc.freeze()  # so that its end does not search all that was imported, either
    sys.exit(code)


def _run() -> int:
    if shell_completion.VARIABLE in os.environ:
        shell_completion.prepare()
    try:
        code = app(standalone_mode=False, complete_var=shell_completion.VARIABLE)
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
