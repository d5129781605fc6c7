"""``job-monitor wait``: blocks until a job has ended."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer

from monitor.cli import arguments, options, progress
from monitor.cli import output as tables
from monitor.cli.options import Format
from monitor.clock import SystemClock
from monitor.tools import wait as waiting
from monitor.tools.wait import End

if TYPE_CHECKING:
    from monitor.cli.arguments import ServerOptions
    from monitor.config import Settings
    from monitor.tools import wait_on_daemon
    from monitor.tools.describe_once import DescribeOnce
    from monitor.tools.wait import Eye, Outcome, Sight

EXIT_CODES = {End.SUCCEEDED: 0, End.FAILED: 1, End.TIMEOUT: 3, End.UNSEEN: 4}


def wait(  # noqa: PLR0913 -- each is an argument or an option
    *,
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="Such as panorama.package-import.")],
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the job.")],
    config: options.Config = None,
    account: Annotated[
        str | None,
        typer.Option(help="One of the configured accounts; with --server, by default any."),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            help="The AWS region; by default that of an ARN as ID, or else [AWS_REGION]; "
            "with --server, by default any."
        ),
    ] = None,
    profile: options.Profile = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Such as 2h; by default without end.")
    ] = None,
    interval: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Between two looks; by default the job type's own."),
    ] = None,
    server: arguments.ServerUrl = None,
    token_file: arguments.TokenFile = None,
    ca_file: arguments.CaFile = None,
    output: options.Output = Format.TABLE,
) -> None:
    """Block until a job has ended; its outcome is the exit code.

    Exit code 0: it has succeeded; 1: it has failed, expired or was canceled;
    3: the timeout has passed; 4: it cannot be seen.

    Looks at AWS itself, or with --server through a daemon that watches the
    job: then any number of waiters costs no further look.

    Without --timeout, a job that was never seen is given up after 5 minutes.
    """
    from monitor.tools import wait_on_daemon
    from monitor.tools.describe_once import DescribeOnce

    seconds = arguments.duration("--timeout", timeout)
    pause = arguments.duration("--interval", interval)
    daemon = arguments.server(server, token_file, ca_file)
    began = time.monotonic()
    if daemon:
        if pause is not None:
            raise arguments.mistake("--interval", "is the daemon's own with --server")
        if profile is not None:
            raise arguments.mistake("--profile", "is the daemon's own with --server")
        wanted = wait_on_daemon.Wanted(type_, account, region, job_id)
        outcome = anyio.run(_through_daemon, daemon, wanted, seconds)
    else:
        settings = options.load(config)
        look = DescribeOnce(settings, type_, account or "default", region, job_id, profile=profile)
        outcome = anyio.run(_by_looks, settings, look, pause, seconds)
    _tell(outcome, output, timeout, time.monotonic() - began)
    raise typer.Exit(EXIT_CODES[outcome.end])


async def _by_looks(
    settings: Settings,
    look: DescribeOnce,
    interval: float | None,
    longest: float | None,
) -> Outcome:
    from monitor.tools import wait_on_aws

    clock = SystemClock()
    quota = wait_on_aws.quota(look.job_type, settings.quotas, clock)
    async with look.opened() as ask:
        eye = wait_on_aws.OwnEye(
            ask,
            look.job_type,
            interval or look.job_type.interval,
            quota,
            clock,
            _random(),
            look.awaited,
        )
        return await _watched(eye, look.job.key, longest)


async def _through_daemon(
    server: ServerOptions, wanted: wait_on_daemon.Wanted, longest: float | None
) -> Outcome:
    from monitor.tools import wait_on_daemon

    async with server.opened() as client:
        eye = wait_on_daemon.DaemonEye(client, wanted, SystemClock(), _random())
        return await _watched(eye, str(wanted), longest)


def _random() -> Random:
    return Random()  # noqa: S311 -- jitter, no secret


async def _watched(eye: Eye, name: str, longest: float | None) -> Outcome:
    """Wait, and show how the job stands meanwhile."""
    shown = progress.progress()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shown.run)
            outcome = await waiting.wait(eye, name, longest, shown.show)
            tasks.cancel_scope.cancel()
    finally:
        shown.close()
    return outcome


def _tell(outcome: Outcome, output: Format, timeout: str | None, waited: float) -> None:
    """Print what is known of the job, and in one line what there is to complain of."""
    if outcome.sight.state is not None or output is Format.JSON:
        tables.show_one(_told(outcome, waited), output)
    if complaint := _complaint(outcome, timeout):
        typer.echo(tables.text(f"error: {outcome.sight.name}: {complaint}"), err=True)


def _told(outcome: Outcome, waited: float) -> dict[str, Any]:
    sight = outcome.sight
    return {
        "job": sight.name,
        "outcome": outcome.end.value,
        "state": sight.state,
        "phase": sight.phase.value,
        "severity": sight.severity.value,
        "reason": sight.reason,
        "since": sight.since,
        "seen_at": sight.seen_at,
        "updated_at": sight.updated_at,
        "waited_seconds": round(waited, 3),
        "trouble": outcome.why or sight.trouble,
        "fields": dict(sight.fields),
    }


def _complaint(outcome: Outcome, timeout: str | None) -> str:
    sight = outcome.sight
    match outcome.end:
        case End.FAILED:
            why = f": {sight.reason}" if sight.reason else ""
            return f"{_named(sight)}{why}"
        case End.TIMEOUT:
            trouble = f", and cannot be seen now: {sight.trouble}" if sight.trouble else ""
            return f"still {_named(sight)} after {timeout}{trouble}"
        case End.UNSEEN:
            return f"cannot be seen: {outcome.why}"
    return ""


def _named(sight: Sight) -> str:
    return f"{sight.state} ({sight.phase})"
