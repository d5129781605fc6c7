"""The followed jobs that are not in memory: how many they are, and what listings show of them.

A job that has ended, and is not polled any more, is archived: the store alone keeps it. A listing
may go on showing it for years. Its rows are compared with a few words of what is stored; one
that differs brings the job back into memory before anything else is done with it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from monitor.model import Archived, ArchiveMark

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from monitor.interfaces import ArchiveStore
    from monitor.model import ArchivedRow, Phase, Snapshot

Place = tuple[str, str, str]
"""Type, account and region of jobs."""

MOST_ROWS = 10_000
"""Archived jobs of which the last listed row is kept in memory: some 5 MB."""


@dataclass(frozen=True, slots=True)
class RecentEnd:
    """The end of a job that was archived soon after it."""

    place: Place
    phase: Phase
    ended_at: datetime
    own_ended: datetime | None


class Archive:
    """Counts the archived jobs, and knows them again."""

    def __init__(self, store: ArchiveStore) -> None:
        """Start with none; ``load`` counts those of the store."""
        self.store = store
        self.present: frozenset[Place] = frozenset()
        """The places whose archived jobs are followed now."""
        self.recent: Sequence[RecentEnd] = ()
        """Ends that are not long ago; replaced as a whole, so that any thread may read it."""
        self.epoch = object()
        """Another object whenever an archived job has come back into memory."""
        self.lock = anyio.Lock()
        """Held while jobs are archived or come back, so that the counts stay right."""
        self._many: Counter[tuple[Place, Phase]] = Counter()
        self._ended: Counter[tuple[Place, Phase]] = Counter()
        self._rows: dict[str, ArchivedRow] = {}

    async def load(self) -> None:
        """Count the archived jobs of the store; the caller holds ``lock``."""
        # Another process may have owned some of them since the last time.
        self._rows.clear()
        counts = await self.store.counts()
        self._many = Counter({where: many for where, (many, _) in counts.items()})
        self._ended = Counter({where: ended for where, (_, ended) in counts.items()})

    def counts(self) -> Mapping[tuple[Place, Phase], int]:
        """Return how many followed jobs are archived, by place and phase; from any thread."""
        present = self.present
        return {where: many for where, many in self._many.copy().items() if where[0] in present}

    def has_others(self) -> bool:
        """Return whether the store has archived jobs of places where none are followed now."""
        return any(
            where[0] not in self.present for where, many in self._many.copy().items() if many
        )

    def ends(self, places: Collection[Place]) -> Mapping[tuple[Place, Phase], int]:
        """Return how many archived jobs were seen to end at some places, by place and phase."""
        found = self._ended.items()
        return {
            where: many
            for where, many in found
            if many and where[0] in places and where[0] in self.present
        }

    async def recall(self, keys: Iterable[str]) -> Sequence[str]:
        """Find out which of ``keys`` are archived; return those that must be polled again."""
        unknown = [key for key in keys if key not in self._rows]
        if not unknown:
            return ()
        found = await self.store.rows(unknown)
        for key in list(self._rows)[: max(0, len(self._rows) + len(found) - MOST_ROWS)]:
            del self._rows[key]
        self._rows.update((key, row) for key, row in found.items() if row.settled)
        return [key for key, row in found.items() if not row.settled]

    def row(self, key: str) -> ArchivedRow | None:
        """Return what was recalled of an archived job."""
        return self._rows.get(key)

    async def take(self, keys: Collection[str]) -> Sequence[Snapshot]:
        """Return the jobs among ``keys`` that are stored; they are archived no longer."""
        async with self.lock:
            found = await self.store.find(keys)
            away = [one for one in found if one[1] is not Archived.LIVE]
            await self.store.mark([mark_of(known, Archived.LIVE) for known, _ in away])
            for known, archived in away:
                self._count(known, archived, -1)
            for known, _ in found:
                self._rows.pop(known.job.key, None)
            if found:
                self.epoch = object()
        return [known for known, _ in found]

    def add(self, known: Snapshot, archived: Archived) -> None:
        """Count a job that the store has as archived from now on; the caller holds ``lock``."""
        self._rows.pop(known.job.key, None)
        self._count(known, archived, 1)

    def _count(self, known: Snapshot, archived: Archived, change: int) -> None:
        if archived is Archived.UNWATCHED:
            return
        where = (place_of(known), known.phase)
        self._many[where] += change
        if archived is Archived.ENDED:
            self._ended[where] += change


def mark_of(known: Snapshot, archived: Archived) -> ArchiveMark:
    """Return the note on where to keep a job."""
    return ArchiveMark(known.job.key, known.sequence, archived, known.looked_at)


def kind_of(known: Snapshot) -> Archived:
    """Return how a followed job that has ended is archived."""
    return Archived.ENDED if known.has_ended else Archived.BASELINE


def place_of(known: Snapshot) -> Place:
    """Return the place of a job."""
    return known.job.type, known.job.account, known.job.region
