"""Signals: the first asks the daemon to stop, a second one ends it at once."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import anyio
import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from anyio.abc import TaskStatus

AT_ONCE, NOT_IN_TIME = 130, 74
"""Exit codes."""

LONGEST_STOP = 10.0
"""Seconds after the first signal in which all must have ended: a disk may never answer."""


def prepare() -> None:
    """Behave from the first moment, while nothing is open yet that would have to be closed.

    As the first process of a container there is no default for SIGTERM at all. SIGHUP
    would end the daemon by default; while it starts there is nothing to reload.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


async def stop_on_signal(
    stop: anyio.Event, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Set ``stop`` at the first SIGTERM or SIGINT; exit without ado at the second, or when late.

    Exiting at once is safe at any time: nothing is told before it is durable.
    """
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async with anyio.create_task_group() as tasks:
            async for _ in signals:
                if stop.is_set():
                    os._exit(AT_ONCE)
                stop.set()
                tasks.start_soon(_end_anyway)


async def reload_on_signal(
    reload: Callable[[], Coroutine[Any, Any, None]],
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Await ``reload`` at each SIGHUP, until cancelled; ones that come meanwhile share the next.

    Tools that rotate logs send it too, which does no harm: a log sink opens its file anew
    for every write.
    """
    try:
        with anyio.open_signal_receiver(signal.SIGHUP) as signals:
            task_status.started()
            async with anyio.create_task_group() as tasks:
                async for _ in signals:
                    tasks.start_soon(reload)
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


async def _end_anyway() -> None:
    await anyio.sleep(LONGEST_STOP)
    typer.echo(
        f"error: not all came to its end within {LONGEST_STOP:.0f} s, as when the store does not"
        " answer (nothing is lost; what is missing is seen again after the next start)",
        err=True,
    )
    os._exit(NOT_IN_TIME)
