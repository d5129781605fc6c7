"""Events as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping


def encode(event: Mapping[str, Any]) -> bytes:
    """Write an event as one line of JSON, the same bytes for the same event every time."""
    return orjson.dumps(event, default=dict, option=orjson.OPT_SORT_KEYS)
