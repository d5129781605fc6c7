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

    from monitor.interfaces import SinkContext


class Settings(BaseModel):
    """What a user can set."""

    path: Path
    token: str = ""


class Directory:
    """Names each file after the event's id, so that one that comes again changes nothing."""

    batch_size = 1

    def __init__(self, path: Path, timeout: float) -> None:
        """``path`` is a directory that exists; one event may take ``timeout`` seconds."""
        self._path = path
        self._timeout = timeout

    async def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Write the one event."""
        (event,) = events
        file = self._path / f"{event['id']}.json"
        try:
            async with asyncio.timeout(self._timeout):
                await asyncio.to_thread(file.write_text, json.dumps(event, default=dict))
        except TimeoutError:
            message = f"not written within {self._timeout:g} s"
            raise SendError(SendReason.TIMEOUT, message) from None
        except OSError as error:
            message = f"cannot write to the directory: {error.strerror}"
            raise SendError(SendReason.CONNECTION, message) from None


@asynccontextmanager
async def open_sink(context: SinkContext, settings: Settings) -> AsyncIterator[Directory]:
    """Make a directory of the sink's name."""
    path = settings.path / context.name
    await asyncio.to_thread(path.mkdir, parents=True, exist_ok=True)
    yield Directory(path, context.timeout)
