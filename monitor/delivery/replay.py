"""Sending again what a sink has given up, or has taken before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from monitor.model import DeliveryStatus
from monitor.recording.router import matcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence
    from datetime import datetime

LABEL = "labels."
KEYS = ("kind", "phase", "state", "severity", "type", "account", "region", "job")
"""What can be matched, beside the labels: ``job`` is a key or an id."""


class Outbox(Protocol):
    """The store, as far as deliveries at their end go."""

    async def settled(
        self,
        sink: str,
        statuses: Collection[DeliveryStatus],
        since: datetime | None,
        after: int = 0,
    ) -> Sequence[tuple[int, int, dict[str, Any]]]:
        """(id, position, CloudEvent) of some of them, by position, later than ``after``."""
        ...

    async def replay(self, ids: Sequence[int]) -> int:
        """Send them again, behind what waits; return how many."""
        ...

    async def discard(self, ids: Sequence[int]) -> int:
        """Mark those that are dead as discarded; return how many."""
        ...


@dataclass(frozen=True, slots=True)
class Selection:
    """Which deliveries of a sink; ``match`` maps each key to globs, of which one must fit.

    ``since`` is the earliest time at which the change was observed.
    """

    sink: str
    statuses: tuple[DeliveryStatus, ...] = (DeliveryStatus.DEAD,)
    since: datetime | None = None
    match: tuple[tuple[str, tuple[str, ...]], ...] = ()


async def discard(store: Outbox, sink: str, ids: Collection[int], job: str | None) -> int:
    """Discard dead deliveries of a sink: those of ``ids``, or of a job (key or id), or all.

    Return how many.
    """
    after = count = 0
    while page := await store.settled(sink, (DeliveryStatus.DEAD,), None, after):
        after = page[-1][1]
        chosen = [
            number
            for number, _, event in page
            if (not ids or number in ids) and (job is None or job in _values(event, "job"))
        ]
        if chosen:
            count += await store.discard(chosen)
    return count


async def replay(
    store: Outbox, selection: Selection, *, dry_run: bool = False
) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
    """Put what is selected into the outbox once more; yield the events, by the page.

    Within a job they come in the order of the ledger, behind what waits already. A
    ``dry_run`` changes nothing.
    """
    # Compiled once: there may be a hundred thousand events to match.
    matchers = [(key, matcher(globs)) for key, globs in selection.match]
    after = 0
    while page := await store.settled(selection.sink, selection.statuses, selection.since, after):
        after = page[-1][1]
        chosen = {
            number: event
            for number, _, event in page
            if all(any(map(fits, _values(event, key))) for key, fits in matchers)
        }
        if chosen and not dry_run:
            await store.replay(tuple(chosen))
        yield tuple(chosen.values())


def _values(event: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return the values of a key in an event; more than one where the key has two meanings."""
    data = event["data"]
    about = data.get("job") or data["source"]
    match key:
        case "kind" | "severity":
            return (data[key],)
        case "phase" | "state":
            return (data["current"].get(key, ""),)
        case "job":
            return (about["key"], about.get("id", ""))
        case _ if key.startswith(LABEL):
            return (about.get("labels", {}).get(key.removeprefix(LABEL), ""),)
    return (about.get(key, ""),)
