"""``job-monitor lab``: replay the ledger under both schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from monitor.cli import options
from monitor.cli import output as tables
from monitor.cli.options import Format

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor.config import Settings
    from monitor.polling.history import Comparison


def lab(config: options.Config = None, output: options.Output = Format.TABLE) -> None:
    """Replay the ledger under fixed and learned poll times, at equal calls; does not call AWS."""
    from monitor.polling import history

    settings, types = options.load_parts(config, "watches", ".account", "store")
    found = anyio.run(_durations, settings)
    rows = [_row(one) for one in history.compare(settings.watches, types, found)]
    if output is not Format.TABLE:
        tables.show_data(rows, output)
        return
    tables.show(rows, output, "The ledger shows no state of a described job from begin to end.")


async def _durations(settings: Settings) -> Mapping[tuple[str, str, str], Sequence[float]]:
    from monitor.polling import history
    from monitor.tools.ledger import read_ledger

    async with read_ledger(settings) as store:
        return await history.durations(store)


def _row(one: Comparison) -> dict[str, Any]:
    ratio, fixed = one.verdict.ratio, one.interval / 2
    return {
        "watch": one.watch.name,
        "state": one.key[2],
        "samples": one.verdict.samples,
        "fixed_mean_delay_seconds": round(fixed, 3),
        "learned_mean_delay_seconds": None if ratio is None else round(ratio * fixed, 3),
        "ratio": None if ratio is None else round(ratio, 3),
        "verdict": f"refused: {one.refusal}" if one.refusal else "learned is better",
        "schedule": one.watch.schedule,
    }
