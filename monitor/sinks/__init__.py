"""Where transitions go. Each sink sends once and raises; the dispatcher does the rest.

    log.py (output.py)                              lines of JSON
    webhook.py (endpoint.py, addresses.py,          signed HTTP posts
                signature.py, reply.py)

A new kind of sink has its settings in ``config.Sink`` and its two lines here.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, assert_never

from monitor import config, errors
from monitor.sinks import endpoint, log, webhook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from monitor import interfaces


def _utc() -> datetime:
    return datetime.now(UTC)


def problems(name: str, settings: config.Sink) -> list[errors.Problem]:
    """Return what is wrong with a sink's settings and the files they name.

    Blocks on the file system, and touches no network. No text repeats a secret.
    """
    match settings:
        case config.LogSink():
            return log.problems(name, settings)
        case config.WebhookSink():
            return endpoint.problems(name, settings)
    assert_never(settings)


@asynccontextmanager
async def open_sink(
    name: str, settings: config.Sink, now: Callable[[], datetime] = _utc
) -> AsyncIterator[interfaces.Sink]:
    """Build a sink, and release what it holds at the end; secrets are read here, once.

    Raises:
        ConfigurationError: with all that ``problems`` tells.
    """
    match settings:
        case config.LogSink():
            yield await asyncio.to_thread(log.open_log, name, settings)
        case config.WebhookSink():
            target = await asyncio.to_thread(endpoint.load, name, settings)
            async with webhook.open_webhook(target, now) as sink:
                yield sink
        case _:
            assert_never(settings)
