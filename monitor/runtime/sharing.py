"""Shares sources and sinks out among replicas: in equal counts, and moving as few as may be.

All replicas compute the same from the same list, so that nobody has to decide for the others.
"""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SOURCE, SINK, UPKEEP = "source:", "sink:", "upkeep"
"""How the names of resources begin: ``UPKEEP`` is the whole name of what one replica does for all,
such as pruning."""


def share_out(wanted: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return the replica that should own each resource; ``wanted`` maps replicas to resources.

    Each resource prefers the replicas in an order of its own. It gets the first that wants it and
    has less than its share of that kind. Where all want all, counts differ by one at most. So a
    replica that comes takes a little from each of the others, and what one leaves behind is spread
    over all.
    """
    resources = {name for some in wanted.values() for name in some}
    found: dict[str, str] = {}
    for kind in sorted({_kind(name) for name in resources}):
        of_kind = [name for name in resources if _kind(name) == kind]
        able = [each for each, some in wanted.items() if any(_kind(name) == kind for name in some)]
        share, left = divmod(len(of_kind), len(able))
        owned = Counter[str]()
        for name in sorted(of_kind, key=lambda name: (_score("", name), name)):
            willing = [each for each in able if name in wanted[each]]
            # As many as are left over may have one more than the others.
            free = [each for each in willing if owned[each] < share + (left > 0)]
            chosen = max(free or willing, key=lambda each: (_score(each, name), each))
            left -= owned[chosen] == share
            owned[chosen] += 1
            found[name] = chosen
    return found


def _kind(name: str) -> str:
    return name.partition(":")[0]


def _score(replica: str, name: str) -> bytes:
    return sha256(f"{replica}\n{name}".encode()).digest()
