"""The limit on open files, and how it is shared between connections and the daemon's own work."""

from __future__ import annotations

import resource
from contextlib import suppress

MOST_WANTED = 65_536
"""Open files beyond which a higher limit is of no use."""
MOST_CONNECTIONS = 1024
"""Connections to the server at once, where the limit on open files permits so many."""
RESERVE = 256
"""Open files that the store, AWS clients and sinks keep, where the limit permits it."""


def raise_limit() -> int:
    """Raise the soft limit on open files as far as allowed and useful; return the one in effect."""
    # "Unlimited" is -1 here, which would count as fewer than any number.
    soft, hard = (
        MOST_WANTED if limit == resource.RLIM_INFINITY else limit
        for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    wanted = min(hard, MOST_WANTED)
    if soft >= wanted:
        return soft
    with suppress(ValueError, OSError):  # what a sandbox forbids is done without
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        )
        return wanted
    return soft


def connections(limit: int, configured: int | None = None) -> int:
    """Return how many connections may be open so that enough of ``limit`` is left for the rest.

    A quarter of the limit stays back, and at least RESERVE, unless that is more than half.
    """
    reserve = max(limit // 4, min(RESERVE, limit // 2))
    return max(1, min(configured or MOST_CONNECTIONS, limit - reserve))
