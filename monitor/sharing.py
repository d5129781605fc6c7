"""One object for each value that many jobs have in common.

Of a hundred thousand jobs, each would else keep its own. Nobody changes what is shared. Values
that were not met for long are forgotten here.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping


@lru_cache(maxsize=4096)
def shared_text(text: str) -> str:
    """Return one object for all texts that are the same, as most states and names are."""
    return text


@lru_cache(maxsize=1024)
def shared_time(text: str | None) -> datetime | None:
    """Read a time; of one job several are the same, and then are one object."""
    return None if text is None else datetime.fromisoformat(text)


def shared_parts(raw: Mapping[str, str | None]) -> Mapping[str, str | None]:
    """Return the mapping that all jobs with these parts share."""
    return _parts_of(*raw.items())


@lru_cache(maxsize=1024)
def _parts_of(*items: tuple[str, str | None]) -> Mapping[str, str | None]:
    return dict(items)


def shared_fields(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the mapping that all jobs with these fields share; the values are JSON values."""
    # By their JSON: 1 and true are equal, but not the same.
    return _fields_of(orjson.dumps(raw))


@lru_cache(maxsize=1024)
def _fields_of(text: bytes) -> Mapping[str, Any]:
    return {
        shared_text(name): shared_text(value) if isinstance(value, str) else value
        for name, value in orjson.loads(text).items()
    }
