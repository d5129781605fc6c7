"""``job-monitor plan``: estimate what a configuration costs, and how late it reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import options
from monitor.cli import output as tables
from monitor.cli.options import Format

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.tools.plan import QuotaPlan, WatchPlan


def plan(
    config: options.Config = None,
    jobs: Annotated[
        int,
        typer.Option(
            min=0,
            max=1_000_000,
            help="How many jobs are running in each region of a watch that discovers.",
        ),
    ] = 100,
    parents: Annotated[
        int,
        typer.Option(
            min=1,
            max=100_000,
            help="How many clusters, queues or the like there are in each region, where a watch "
            "discovers the jobs of all of them.",
        ),
    ] = 10,
    finished: Annotated[
        int,
        typer.Option(
            min=0,
            max=10_000_000,
            help="How many ended jobs AWS still lists in each region of a watch that discovers.",
        ),
    ] = 0,
    output: options.Output = Format.TABLE,
) -> None:
    """Estimate calls per day, use of the quotas and detection delay; makes no call to AWS."""
    from monitor.tools import plan as planning

    settings, types = options.load_parts(config, "watches", ".account", "quotas")
    watches, quotas = planning.plan(settings, types, jobs, parents, finished)
    if output is not Format.TABLE:
        tables.show_data({"watches": _watches(watches), "quotas": _quotas(quotas)}, output)
        return
    if not watches:
        typer.echo("There is nothing to plan: no watches.")
        return
    tables.show(_watches(watches), output, "")
    typer.echo()
    tables.show(_quotas(quotas), output, "")
    for one in watches:
        if one.every > 1.01 * one.interval:
            polls = f"polls each job every {one.every:.0f} s instead of every {one.interval:.0f} s"
            place = f"{one.watch} in {one.account}/{one.region}"
            typer.echo(f"warning: {place}: {polls}: the quota permits only that", err=True)


def _watches(plans: Sequence[WatchPlan]) -> list[dict[str, Any]]:
    return [
        {
            "watch": one.watch,
            "account": one.account,
            "region": one.region,
            "jobs": one.jobs,
            "list_calls_per_day": round(one.lists),
            "describe_calls_per_day": round(one.describes),
            "seconds_between_polls": round(one.every, 3),
            # A change is equally likely at any moment between two polls.
            "mean_delay_seconds": round(one.every / 2, 3),
            "worst_delay_seconds": round(one.every, 3),
            "ended_interval_seconds": one.ended_every,
        }
        for one in plans
    ]


def _quotas(plans: Sequence[QuotaPlan]) -> list[dict[str, Any]]:
    return [
        {
            "service": one.service,
            "account": one.account,
            "region": one.region,
            "requests_per_second": one.rate,
            "wanted_per_second": round(one.wanted, 4),
            "percent_of_quota": round(100 * one.wanted / one.rate, 1),
            "mode": one.mode.value,
        }
        for one in plans
    ]
