"""The values of query parameters and bodies; commands read them too, without an HTTP server."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from monitor.config import parse_duration

LARGEST = 2**63 - 1
"""The highest position that a ledger can have."""
ODD = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


class Form(BaseModel):
    """What can be asked for; unknown names are refused, as they would be ignored otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def _printable(text: str) -> str:
    if ODD.search(text):
        raise ValueError("holds a control character")
    return text


def _moment(value: Any) -> datetime:
    """Read an age (``2h``) or a time of RFC 3339."""
    text = str(value)
    try:
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    except ValueError:
        pass
    try:
        # A plus sign that was not percent-encoded has become a space.
        at = datetime.fromisoformat(text.replace(" ", "+"))
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("is neither an age, such as 2h, nor a time, such as 2026-03-01T12:00:00Z")


Text = Annotated[str, Field(max_length=1024), AfterValidator(_printable)]
Glob = Annotated[str, Field(max_length=256), AfterValidator(_printable)]
"""Longer than any type or kind; what it costs to match one grows with its length."""
Limit = Annotated[int, Field(ge=1, le=500)]
Position = Annotated[int, Field(ge=0, le=LARGEST)]
Since = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "examples": ["2h", "2026-03-01T12:00:00Z"]}),
]
Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "examples": ["60s", "2m"]}),
]
