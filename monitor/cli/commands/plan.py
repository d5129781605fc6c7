"""``job-monitor plan``: what a configuration will cost, and how late it will tell."""

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
            help="How many jobs are under way in each region of a watch that discovers.",
        ),
    ] = 100,
    output: options.Output = Format.TABLE,
) -> None:
    """Reckon calls per day, use of the quotas and detection delay; asks nothing of AWS."""
    from monitor.tools import plan as planning

    settings, types = options.load_parts(config, "watches", ".account", "quotas")
    watches, quotas = planning.plan(settings, types, jobs)
    if output is Format.JSON:
        tables.show_json({"watches": _watches(watches), "quotas": _quotas(quotas)})
        return
    if not watches:
        typer.echo("There is nothing to plan: no watches.")
        return
    tables.show(_watches(watches), output, "")
    typer.echo()
    tables.show(_quotas(quotas), output, "")
    for one in watches:
        if one.every > 1.01 * one.interval:
            typer.echo(f"warning: {_late(one)}", err=True)


def _late(one: WatchPlan) -> str:
    looks = f"a look at each job every {one.every:.0f} s instead of every {one.interval:.0f} s"
    return f"{one.watch} in {one.account}/{one.region}: {looks}, as the quota permits no more"


def _watches(plans: Sequence[WatchPlan]) -> list[dict[str, Any]]:
    return [
        {
            "watch": one.watch,
            "account": one.account,
            "region": one.region,
            "jobs": one.jobs,
            "list_calls_per_day": round(one.lists),
            "describe_calls_per_day": round(one.describes),
            "seconds_between_looks": round(one.every, 3),
            "mean_delay_seconds": round(one.mean_delay, 3),
            "worst_delay_seconds": round(one.worst_delay, 3),
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
            "percent_of_quota": round(100 * one.share, 1),
        }
        for one in plans
    ]
