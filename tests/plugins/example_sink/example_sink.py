"""A sink that writes each event to a file of its own in a directory."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from monitor.errors import SendError, SendReason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence


class Settings(BaseModel):
    """What a user can set."""

    path: Path
    token: str = ""


class Directory:
    """Names each file after the event's id, so that one that comes again changes nothing."""

    batch_size = 1

    def __init__(self, path: Path) -> None:
        """``path`` is a directory that exists."""
        self._path = path

    async def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Write the one event."""
        (event,) = events
        file = self._path / f"{event['id']}.json"
        try:
            await asyncio.to_thread(file.write_text, json.dumps(event, default=dict))
        except OSError as error:
            message = f"cannot write to the directory: {error.strerror}"
            raise SendError(SendReason.CONNECTION, message) from None


@asynccontextmanager
async def open_sink(name: str, settings: Settings) -> AsyncIterator[Directory]:
    """Make the directory for the sink ``name``."""
    path = settings.path / name
    await asyncio.to_thread(path.mkdir, parents=True, exist_ok=True)
    yield Directory(path)
