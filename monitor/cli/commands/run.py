"""``job-monitor run``: the daemon."""

from __future__ import annotations

import ctypes
import gc
import os
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from monitor.aws.process_groups import ProcessGroups
from monitor.cli import options, signals
from monitor.errors import ConfigurationError, StoppingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from monitor.app import Daemon
    from monitor.config import Settings
    from monitor.runtime.reload import WatchedFiles


_M_ARENA_MAX = -8
"""From malloc.h: how many heaps there may be."""


def run(config: options.Config = None) -> None:
    """Watch the configured jobs and report their changes, until SIGTERM or Ctrl-C."""
    # What a start makes lasts: to look for garbage in it takes a tenth of the time. Once all has
    # started, the daemon freezes it and lets the collector work.
    gc.disable()
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError, OSError):  # another library than glibc
            # Each thread would else keep the memory that it once needed: 70 MiB with 504 sources.
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    gc.set_threshold(700)  # the usual one, for a long life
    from monitor import logs
    from monitor.app import Daemon
    from monitor.runtime.systemd import Supervisor

    gc.freeze()  # so that the collection at the end of the start leaves out what was imported
    groups = ProcessGroups()
    receiver = signals.prepare(groups.kill)
    source = ConfigurationSource(config)
    settings = source.load()
    logs.configure(settings.log.format, settings.log.level)
    supervisor = Supervisor(os.environ)
    daemon = Daemon(settings, load=source.load, supervisor=supervisor, groups=groups)
    try:
        # It takes half of the CPU of asyncio's own loop, and is there on Linux and macOS.
        options = {"use_uvloop": find_spec("uvloop") is not None}
        anyio.run(_run, daemon, source.files, receiver, backend_options=options)
    finally:
        receiver.leaving()


async def _run(daemon: Daemon, files: WatchedFiles, receiver: signals.SignalReceiver) -> None:
    async def reload_quietly() -> None:
        with suppress(ConfigurationError, StoppingError):  # the daemon has logged it
            await daemon.reloader.reload()

    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        await tasks.start(signals.stop_on_signal, stop, receiver)
        await tasks.start(signals.reload_on_signal, reload_quietly, receiver)
        tasks.start_soon(files.watch, reload_quietly, stop, name="watch the configuration")
        try:
            await daemon.run(stop)
        finally:
            stop.set()  # the thread that watches the files waits for nothing else
        tasks.cancel_scope.cancel()


class ConfigurationSource:
    """The configuration that the options or the environment name; a reload reads it again."""

    def __init__(self, config: list[Path] | None) -> None:
        """Take the value of the option ``--config``."""
        from monitor.runtime.reload import WatchedFiles

        self._config = config
        self._types: list[Path] = []
        self.files = WatchedFiles(
            settings=lambda: _with_content(options.paths(self._config) or ()),
            types=lambda: _with_content(self._types),
        )
        """Notices when the files that ``load`` read have changed."""

    def load(self) -> Settings:
        """Read the settings.

        Raises:
            ConfigurationError: with every problem.
        """
        self.files.note("settings")
        settings = options.load_own(self._config)
        self._types = [Path(settings.job_types_dir)] if settings.job_types_dir else []
        self.files.note("types")
        return settings


def _with_content(paths: Iterable[Path]) -> Iterator[Path]:
    from monitor.config import yaml_files

    for path in paths:
        yield path
        with suppress(OSError, ValueError):  # reading it says what is wrong with it
            if path.is_dir():
                yield from yaml_files.files([path])
