"""Who claims a job: the watches that name it, and those that discover it.

Commands read this too, so it imports nothing of the polling itself.
"""

from __future__ import annotations

import re
from fnmatch import translate
from operator import itemgetter
from typing import TYPE_CHECKING, Generic, TypeVar

from monitor.config import Discover
from monitor.recording.baselines import includes

if TYPE_CHECKING:
    from monitor.config import Watch

Claimant = TypeVar("Claimant")


def discovers(watch: Watch, job_id: str, parent: str | None = None) -> bool:
    """Return whether the watch follows a job with this id, once AWS lists it.

    Where jobs are listed for each parent, that is ``parent``; ``None`` if it is not known.
    """
    discover = discovery_of(watch)
    if discover is None or not includes(discover, job_id):
        return False
    return parent is None or not isinstance(discover.of, list) or parent in discover.of


def discovery_of(watch: Watch) -> Discover | None:
    """Return what a watch discovers, if it does."""
    wanted = watch.discover
    return wanted if isinstance(wanted, Discover) else Discover() if wanted else None


class Claims(Generic[Claimant]):
    """The claimants to the jobs of one place: those that name a job, and those that discover it.

    Names and parents are looked up, so that the cost of a job does not grow with the number of
    watches.
    """

    def __init__(self) -> None:
        """Start with none."""
        self.named: dict[str, tuple[int, Claimant]] = {}
        """Job id → order and claimant."""
        self.discovering: list[Claimant] = []
        self._everyone: _Discoverers[Claimant] = _Discoverers()
        self._of_any_parent: _Discoverers[Claimant] = _Discoverers()
        self._by_parent: dict[str, _Discoverers[Claimant]] = {}

    def add(self, order: int, watch: Watch, claimant: Claimant) -> None:
        """Add the claims of ``watch``; call this in rising ``order``."""
        claim = (order, claimant)
        for job_id in watch.jobs:
            self.named.setdefault(job_id, claim)
        discover = discovery_of(watch)
        if discover is None:
            return
        self.discovering.append(claimant)
        self._everyone.add(order, discover, claimant)
        if isinstance(discover.of, list):
            for parent in set(discover.of):
                found = self._by_parent.setdefault(parent, _Discoverers())
                found.add(order, discover, claimant)
        else:
            self._of_any_parent.add(order, discover, claimant)

    def first(self, job_id: str, parent: str | None = None) -> tuple[int, Claimant] | None:
        """Return the first claimant to a job, with its order; see ``discovers``."""
        claims = [self.named.get(job_id)]
        if parent is None:
            claims.append(self._everyone.first(job_id))
        else:
            claims.append(self._of_any_parent.first(job_id))
            if parent in self._by_parent:
                claims.append(self._by_parent[parent].first(job_id))
        return min(filter(None, claims), key=itemgetter(0), default=None)


class _Discoverers(Generic[Claimant]):
    """Claimants by the ids that they discover; all their globs are tried as one expression."""

    def __init__(self) -> None:
        self._all: list[tuple[int, Discover, Claimant]] = []
        self._globs: re.Pattern[str] | None = None

    def add(self, order: int, discover: Discover, claimant: Claimant) -> None:
        self._all.append((order, discover, claimant))
        self._globs = None

    def first(self, job_id: str) -> tuple[int, Claimant] | None:
        if not self._all:
            return None
        if self._globs is None:
            globs = ("|".join(map(translate, discover.include)) for _, discover, _ in self._all)
            self._globs = re.compile("|".join(f"({each})" for each in globs))
        found = self._globs.match(job_id)
        # Alternatives are tried in order: the group that matched is the first to include it.
        including = self._all[(found.lastindex or 1) - 1 :] if found else ()
        for order, discover, claimant in including:
            if includes(discover, job_id):
                return order, claimant
        return None
