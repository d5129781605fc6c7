"""For how long a job may stay in a state before it counts as stuck; pure."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

Limits = float | Mapping[str, float | None] | None
"""Seconds for every state, or by state, glob or phase; ``None`` means never."""

DEFAULT = "default"
"""The key of a limit for all states that no other key takes."""


def limit(limits: Limits, state: str, phase: str) -> float | None:
    """Return the seconds for which a job may stay in ``state``; ``None`` if for ever.

    Of the keys, the state itself counts first, then the first glob that matches it, then
    its phase, then ``default``.
    """
    if not isinstance(limits, Mapping):
        return limits
    globs = (key for key in limits if is_glob(key) and fnmatchcase(state, key))
    keys = (state, next(globs, state), phase, DEFAULT)
    return next((limits[key] for key in keys if key in limits), None)


def is_glob(key: str) -> bool:
    """Whether a key stands for more than the one state that it spells."""
    return any(sign in key for sign in "*?[")
