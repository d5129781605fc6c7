"""``job-monitor wait``: block until a job has ended."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from monitor.cli import arguments, completions, options, progress
from monitor.cli import output as tables
from monitor.cli.options import Format
from monitor.clock import SystemClock
from monitor.tools import wait as waiting
from monitor.tools.wait import Outcome

if TYPE_CHECKING:
    from monitor.cli.arguments import ServerOptions
    from monitor.config import Settings
    from monitor.tools import wait_on_daemon
    from monitor.tools.describe_once import DescribeOnce
    from monitor.tools.wait import JobGetter, WaitResult

EXIT_CODES = {
    Outcome.SUCCEEDED: 0,
    Outcome.FAILED: 1,
    Outcome.TIMEOUT: 3,
    Outcome.UNREACHABLE: 4,
}


def wait(  # noqa: PLR0913 -- each is an argument or an option
    *,
    type_: completions.Type,
    job_id: completions.JobId,
    config: options.Config = None,
    account: Annotated[
        str | None,
        typer.Option(
            help="One of the configured accounts; with --server, by default that of a watch."
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            help="The AWS region; by default that of an ARN as ID, or else [AWS_REGION]; "
            "with --server, first that of a watch."
        ),
    ] = None,
    profile: options.Profile = None,
    type_file: options.TypeFile = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Such as 2h; by default without end.")
    ] = None,
    interval: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Between two polls; by default the job type's own."),
    ] = None,
    server: arguments.ServerUrl = None,
    token_file: arguments.TokenFile = None,
    ca_file: arguments.CaFile = None,
    output: options.Output = Format.TABLE,
) -> None:
    """Block until a job has ended; its outcome is the exit code.

    Exit code 0: it has succeeded; 1: it has failed, expired or was canceled;
    3: the timeout has passed; 4: it cannot be reached.

    Polls AWS itself, or with --server asks a daemon. If no watch of the daemon
    covers the job, it adds one that expires when the job has ended. Any number
    of waiters costs no further poll.

    Without --timeout, a job that was never found is given up after 5 minutes.
    """
    from monitor.tools import wait_on_daemon

    seconds = arguments.duration("--timeout", timeout)
    pause = arguments.duration("--interval", interval)
    local = config or pause or profile or type_file
    daemon = arguments.server(server, token_file, ca_file, local=local)
    began = time.monotonic()
    if daemon:
        for option, given in (("--interval", pause), ("--profile", profile)):
            if given is not None:
                raise arguments.mistake(option, "is the daemon's own with --server")
        if type_file is not None:
            remedy = "add the file to its job_types_dir"
            raise arguments.mistake("--type-file", "cannot be sent to the daemon", remedy)
        selector = wait_on_daemon.JobSelector(type_, account, region, job_id)
        result = anyio.run(_through_daemon, daemon, selector, seconds)
    else:
        from monitor.tools.describe_once import DescribeOnce

        settings = options.load(config)
        place = (account or "default", region, job_id)
        job = DescribeOnce(settings, type_, *place, profile=profile, type_file=type_file)
        result = anyio.run(_by_polling, settings, job, pause, seconds)
    _report(result, output, timeout, time.monotonic() - began)
    raise typer.Exit(EXIT_CODES[result.outcome])


async def _by_polling(
    settings: Settings, job: DescribeOnce, interval: float | None, longest: float | None
) -> WaitResult:
    from monitor.polling.quota import Budget, Quota
    from monitor.tools import wait_on_aws

    clock, random = SystemClock(), Random()  # noqa: S311 -- jitter, no secret
    kind = job.job_type
    own = settings.quotas.get(kind.service)
    budget = Budget.of(own) if own else Budget(kind.rate, kind.burst)
    quota = Quota(budget.rate, budget.burst, clock.monotonic())
    async with job.opened() as describe:
        every = interval or kind.interval
        getter = wait_on_aws.AwsGetter(describe, kind, every, quota, clock, random, job.pending)
        return await _wait(getter, job.job.key, longest)


async def _through_daemon(
    server: ServerOptions, selector: wait_on_daemon.JobSelector, longest: float | None
) -> WaitResult:
    from monitor.tools.wait_on_daemon import DaemonGetter

    def region() -> str | None:
        # Only here is the SDK needed, which takes longer to import than everything else.
        from monitor.config import Settings
        from monitor.tools import describe_once

        return describe_once.find_region(Settings(), "default", selector.id)[0]

    async with server.opened() as client:
        random = Random()  # noqa: S311 -- jitter, no secret
        getter = DaemonGetter(client, selector, SystemClock(), random, region)
        return await _wait(getter, str(selector), longest)


async def _wait(getter: JobGetter, name: str, longest: float | None) -> WaitResult:
    """Wait, and show the progress meanwhile."""
    shown = progress.progress()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shown.run)
            result = await waiting.wait(getter, name, longest, shown.show)
            tasks.cancel_scope.cancel()
    finally:
        shown.close()
    return result


def _report(result: WaitResult, output: Format, timeout: str | None, waited: float) -> None:
    """Print the job, and in one line on standard error why the exit code is not 0."""
    job = result.progress
    if job.state is not None or output is not Format.TABLE:
        facts = {
            "job": job.name,
            "outcome": result.outcome.value,
            "state": job.state,
            "phase": job.phase.value,
            "severity": job.severity.value,
            "reason": job.reason,
            "since": job.since,
            "seen_at": job.seen_at,
            "updated_at": job.updated_at,
            "waited_seconds": round(waited, 3),
            "trouble": result.why or job.trouble,
            "fields": dict(job.fields),
        }
        tables.show_one(facts, output)
    state = f"{job.state} ({job.phase})"
    match result.outcome:
        case Outcome.SUCCEEDED:
            return
        case Outcome.FAILED:
            error = f"{state}: {job.reason}" if job.reason else state
        case Outcome.TIMEOUT:
            trouble = f", and unreachable now: {job.trouble}" if job.trouble else ""
            error = f"still {state} after {timeout}{trouble}"
        case Outcome.UNREACHABLE:
            error = f"unreachable: {result.why}"
    typer.echo(tables.text(f"error: {job.name}: {error}"), err=True)
