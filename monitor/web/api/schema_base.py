"""The base of every view, and types that several of them share."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    WithJsonSchema,
)

from monitor.events import timestamp

if TYPE_CHECKING:
    from enum import StrEnum

Moment = Annotated[
    datetime,
    PlainSerializer(timestamp, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time of RFC 3339 in UTC with milliseconds."""

Event = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "description": "A CloudEvent 1.0 in JSON form, as sinks are sent it.",
            "required": ["specversion", "id", "source", "type", "time", "data"],
        }
    ),
]


class View(BaseModel):
    """Data that the API returns; unknown keys, as of a newer daemon, are ignored."""

    model_config = ConfigDict(frozen=True, defer_build=True)


Rate = Annotated[float, AfterValidator(lambda value: round(value, 3))]
"""Requests per second."""


def known(kind: type[StrEnum], default: StrEnum | None) -> BeforeValidator:
    """Read a value that only a newer daemon knows as ``default``."""
    known = frozenset(kind)
    return BeforeValidator(lambda value: value if value in known else default)
