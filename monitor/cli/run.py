"""``job-monitor run``: the daemon."""

from __future__ import annotations

import anyio

from monitor.cli import late, options, signals


def run(config: options.Config = None) -> None:
    """Watch the configured jobs and tell their changes, until SIGTERM or Ctrl-C."""
    signals.prepare()
    settings = options.load_own(config)
    late.logs.configure(settings.log.format, settings.log.level)
    anyio.run(_run, late.app.Daemon(settings))


async def _run(daemon: late.app.Daemon) -> None:
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        await tasks.start(signals.stop_on_signal, stop)
        await daemon.run(stop)
        tasks.cancel_scope.cancel()
