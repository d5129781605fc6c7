"""Signals: the first asks the daemon to stop, a second one ends it at once."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

AT_ONCE = 130


async def stop_on_signal(
    stop: anyio.Event, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Set ``stop`` at the first SIGTERM or SIGINT; exit without ado at the second.

    Exiting at once is safe at any time: nothing is told before it is durable.
    """
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            if stop.is_set():
                os._exit(AT_ONCE)
            stop.set()
