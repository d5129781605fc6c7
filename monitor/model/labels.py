"""The labels of watches on metrics."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

Place = tuple[str, str, str]
"""Type, account and region."""

MOST_WATCH_LABELS = 5
MOST_LABEL_VALUES = 50
"""Values of one label that have series of their own: the first ones in the configuration."""

OTHER_VALUE = "other"
"""Stands for every further value."""

TAKEN_LABELS = frozenset(
    # Of the metrics that carry the labels of watches, and of every series that is scraped.
    {"type", "account", "region", "phase", "kind", "watch", "job", "instance", "le", "quantile"}
)
"""Names that a label of a watch cannot have on metrics."""


def label_column(label: str) -> str:
    """Return the name under which a label of a watch stands on metrics."""
    name = re.sub("[^a-zA-Z0-9_]", "_", label)
    return f"_{name}" if name[:1].isdigit() else name


@dataclass(frozen=True, slots=True)
class WatchLabels:
    """The chosen labels with their values; immutable, so that a scrape sees one state of them."""

    names: tuple[str, ...] = ()
    known: tuple[frozenset[str], ...] = ()
    """The values of each label that have series of their own."""
    places: Mapping[Place, AbstractSet[tuple[str, ...]]] = field(default_factory=dict)
    """Place → the values that the watches there have."""

    @classmethod
    def of(
        cls, names: Sequence[str], watched: Iterable[tuple[Place, Mapping[str, str]]]
    ) -> WatchLabels:
        """Choose the labels ``names``; ``watched`` are the places and labels of the watches."""
        if not names:
            return cls()
        given = list(watched)
        known = []
        for name in names:
            values = dict.fromkeys(labels[name] for _, labels in given if labels.get(name))
            known.append(frozenset([*values][:MOST_LABEL_VALUES]))
        bare = cls(tuple(names), tuple(known))
        places: dict[Place, set[tuple[str, ...]]] = {}
        for place, labels in given:
            places.setdefault(place, set()).add(bare.values(labels))
        return cls(bare.names, bare.known, places)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the labels on metrics."""
        return tuple(map(label_column, self.names))

    def values(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        """Return the values on metrics; empty where a watch does not have the label."""
        given = [labels.get(name, "") for name in self.names]
        return tuple(
            value if value in known or not value else OTHER_VALUE
            for value, known in zip(given, self.known, strict=True)
        )

    def at(self, place: Place) -> AbstractSet[tuple[str, ...]]:
        """Return the values whose series exist from the start at a place."""
        return self.places.get(place) or {("",) * len(self.names)}
