"""The heavy parts of the monitor, imported when a command first uses one.

Written as ``late.app.Daemon``. With them imported at the top, ``--help`` and the answer to a
mistyped option would take a second: they bring the SDK, the database and the web server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "app",
    "config",
    "configuration",
    "daemon_client",
    "daemon_eye",
    "diagnosis",
    "examination",
    "health",
    "known_jobs",
    "logs",
    "own_eye",
    "permissions",
    "planning",
    "reload",
    "simulator",
    "single_look",
    "sinks",
    "supervisor",
    "unforeseen",
]

if TYPE_CHECKING:
    from monitor import (
        app,
        config,
        configuration,
        daemon_client,
        daemon_eye,
        diagnosis,
        examination,
        health,
        known_jobs,
        logs,
        own_eye,
        permissions,
        planning,
        reload,
        simulator,
        single_look,
        sinks,
        supervisor,
        unforeseen,
    )
else:

    def __getattr__(name: str) -> Any:
        """Import the module of that name."""
        return import_module(f"monitor.{name}")
