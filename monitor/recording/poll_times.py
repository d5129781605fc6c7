"""The time of the last poll of jobs that are polled by one request, again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(slots=True, eq=False)
class SharedPollTime:
    """When the last request was sent that showed what is known of several jobs."""

    at: datetime
