"""The heavy parts of the monitor, imported when a command first uses one.

Written as ``lazy.app.Daemon``. With them imported at the top, ``--help`` and the answer to a
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
    "job_type_loader",
    "known_jobs",
    "logs",
    "own_eye",
    "permissions",
    "planning",
    "reload",
    "route_table",
    "simulator",
    "single_look",
    "sinks",
    "supervisor",
    "unforeseen",
    "validation",
]

if TYPE_CHECKING:
    from monitor import app, config, logs, simulator, sinks, validation
    from monitor import config as configuration
    from monitor.config import unforeseen
    from monitor.runtime import reload
    from monitor.runtime import systemd as supervisor
    from monitor.sources import loader as job_type_loader
    from monitor.tools import api_client as daemon_client
    from monitor.tools import describe_once as single_look
    from monitor.tools import doctor as diagnosis
    from monitor.tools import healthcheck as health
    from monitor.tools import iam_policy as permissions
    from monitor.tools import plan as planning
    from monitor.tools import stored_jobs as known_jobs
    from monitor.tools import wait_on_aws as own_eye
    from monitor.tools import wait_on_daemon as daemon_eye
    from monitor.validation import everything as examination
    from monitor.validation import route_table
else:
    _MODULES = {
        "app": "monitor.app",
        "config": "monitor.config",
        "configuration": "monitor.config",
        "daemon_client": "monitor.tools.api_client",
        "daemon_eye": "monitor.tools.wait_on_daemon",
        "diagnosis": "monitor.tools.doctor",
        "examination": "monitor.validation.everything",
        "health": "monitor.tools.healthcheck",
        "job_type_loader": "monitor.sources.loader",
        "known_jobs": "monitor.tools.stored_jobs",
        "logs": "monitor.logs",
        "own_eye": "monitor.tools.wait_on_aws",
        "permissions": "monitor.tools.iam_policy",
        "planning": "monitor.tools.plan",
        "reload": "monitor.runtime.reload",
        "route_table": "monitor.validation.route_table",
        "simulator": "monitor.simulator",
        "single_look": "monitor.tools.describe_once",
        "sinks": "monitor.sinks",
        "supervisor": "monitor.runtime.systemd",
        "unforeseen": "monitor.config.unforeseen",
        "validation": "monitor.validation",
    }

    def __getattr__(name: str) -> Any:
        """Import the module of that name."""
        return import_module(_MODULES[name])
