"""Reads the configuration; ``monitor.validation`` checks that it makes sense.

    yaml_files.py (yaml_document.py)  files ─► one tree of values that know their lines
    environment.py                    variables ─► values over those of the files
    loader.py                         the tree ─► Settings, or all problems of its shape
                                      (messages.py, schema.py)

``reference_docs.py`` writes the tables of docs/configuration.md from the settings.

Names are imported from here when they are used first: whoever needs durations alone does without
the reader of YAML and all settings.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monitor.config.loader import load, load_server
    from monitor.config.messages import report, similar
    from monitor.config.settings import (
        PLUGINS,
        SHORTEST_TOKEN,
        Account,
        AppriseSink,
        AwsSinkSettings,
        BuiltInSink,
        Discover,
        EventBridgeSink,
        Hint,
        LogSink,
        MaintenanceWindow,
        MetricsSettings,
        Origin,
        PluginSink,
        QuotaSettings,
        Route,
        RouteMatch,
        Section,
        ServerSettings,
        Settings,
        SilenceMatch,
        Sink,
        SinkSettings,
        SnsSink,
        SqsSink,
        StoreSettings,
        Tls,
        Watch,
        WatchRequest,
        WebhookSink,
    )
    from monitor.config.values import (
        Duration,
        format_duration,
        parse_duration,
        parse_listen,
        short_duration,
    )
    from monitor.config.yaml_files import files

__all__ = [
    "PLUGINS",
    "SHORTEST_TOKEN",
    "Account",
    "AppriseSink",
    "AwsSinkSettings",
    "BuiltInSink",
    "Discover",
    "Duration",
    "EventBridgeSink",
    "Hint",
    "LogSink",
    "MaintenanceWindow",
    "MetricsSettings",
    "Origin",
    "PluginSink",
    "QuotaSettings",
    "Route",
    "RouteMatch",
    "Section",
    "ServerSettings",
    "Settings",
    "SilenceMatch",
    "Sink",
    "SinkSettings",
    "SnsSink",
    "SqsSink",
    "StoreSettings",
    "Tls",
    "Watch",
    "WatchRequest",
    "WebhookSink",
    "files",
    "format_duration",
    "load",
    "load_server",
    "parse_duration",
    "parse_listen",
    "report",
    "short_duration",
    "similar",
]

_MODULES = ("values", "settings", "yaml_files", "messages", "loader")
"""Where the names are, what is imported quickly first."""


def __getattr__(name: str) -> Any:
    for module in _MODULES if name in __all__ else ():
        place = import_module(f"{__name__}.{module}")
        if hasattr(place, name):
            globals()[name] = found = getattr(place, name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
