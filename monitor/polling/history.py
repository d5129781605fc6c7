"""How long jobs were in each state, from the ledger, and what poll times that suggests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import anyio.lowlevel

from monitor.interfaces import JobType
from monitor.polling import learned
from monitor.polling.planner import polls_by_sweep

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from monitor import config

PAGE = 500
"""Transitions that are read at a time."""
MOST = 100_000
"""Transitions that are read in all, the newest ones."""


class PolledType(JobType, Protocol):
    """A job type with the interval of watches that set none."""

    @property
    def interval(self) -> float:
        """Seconds between two polls of a job."""
        ...


class TransitionReader(Protocol):
    """The store, as far as it is read here."""

    async def position(self) -> int:
        """Return the position of the newest transition; 0 if there has been none."""
        ...

    async def transitions(
        self, *, after: int, limit: int, kinds: Collection[str], until: int
    ) -> Sequence[tuple[int, dict[str, Any]]]:
        """Return position and CloudEvent of transitions later than ``after``, in order."""
        ...


async def durations(ledger: TransitionReader) -> Mapping[learned.Key, Sequence[float]]:
    """Read how long jobs were in each state."""
    last = await ledger.position()
    found, after = learned.Durations(), max(0, last - MOST)
    kinds = sorted(learned.KINDS)
    while page := await ledger.transitions(after=after, limit=PAGE, kinds=kinds, until=last):
        for _, event in page:
            found.add(event)
        after = page[-1][0]
        # A page takes some milliseconds, for which polls wait.
        await anyio.lowlevel.checkpoint()
    return found.found


@dataclass(frozen=True, slots=True)
class Comparison:
    """What learning would gain for one state of the jobs of a watch."""

    watch: config.Watch
    key: learned.Key
    interval: float
    verdict: learned.LearningResult

    @property
    def curve_key(self) -> learned.CurveKey:
        """The states that it holds for."""
        return (*self.key, self.interval)

    @property
    def refusal(self) -> str:
        """Why the learned schedule is refused; empty if it is better."""
        if self.verdict.curve:
            return ""
        if self.verdict.ratio is None:
            return f"fewer than {learned.ENOUGH} samples"
        return "does not see changes clearly sooner"


def compare(
    watches: Sequence[config.Watch],
    types: Mapping[str, PolledType],
    found: Mapping[learned.Key, Sequence[float]],
    *,
    hinted: bool = False,
) -> Iterator[Comparison]:
    """Yield a comparison for each watch that describes its jobs one by one, and each state.

    With ``hinted``, the interval for times with hints is another one to compare at.
    """
    verdicts: dict[learned.CurveKey, learned.LearningResult] = {}
    for watch in watches:
        kind = types[watch.type]
        if kind.at_once > 1 or (watch.discover and polls_by_sweep(kind)):
            continue
        usual = watch.interval or kind.interval
        intervals = {usual, max(usual, watch.interval_with_hints or 0.0)} if hinted else {usual}
        for key, times in sorted(found.items()):
            if key[:2] != (watch.type, watch.account):
                continue
            for interval in sorted(intervals):
                # Many watches of one type may share an interval.
                if (*key, interval) not in verdicts:
                    verdicts[*key, interval] = learned.judge(times, interval)
                yield Comparison(watch, key, interval, verdicts[*key, interval])
