"""Reads the configuration; ``monitor.validation`` checks what it asks for.

    yaml_files.py (yaml_document.py)  files ─► values that know their lines
    environment.py                    variables ─► values over those of the files (layers.py)
    loader.py                         both ─► Draft: Settings, or what can be read of them
                                      (recovery.py) and all mistakes (messages.py, schema.py)

``reference_docs.py`` writes the tables of docs/configuration.md from the settings.
"""

from monitor.config.loader import Draft, load, read
from monitor.config.messages import report, similar
from monitor.config.settings import (
    PLUGINS,
    SHORTEST_TOKEN,
    Account,
    AppriseSink,
    AwsSinkSettings,
    BuiltInSink,
    Discover,
    Duration,
    EventBridgeSink,
    LogSink,
    MetricsSettings,
    Origin,
    PluginSink,
    QuotaSettings,
    Route,
    RouteMatch,
    Section,
    ServerSettings,
    Settings,
    Sink,
    SinkSettings,
    SnsSink,
    SqsSink,
    Tls,
    Watch,
    WebhookSink,
    format_duration,
    parse_duration,
    parse_listen,
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
    "Draft",
    "Duration",
    "EventBridgeSink",
    "LogSink",
    "MetricsSettings",
    "Origin",
    "PluginSink",
    "QuotaSettings",
    "Route",
    "RouteMatch",
    "Section",
    "ServerSettings",
    "Settings",
    "Sink",
    "SinkSettings",
    "SnsSink",
    "SqsSink",
    "Tls",
    "Watch",
    "WebhookSink",
    "files",
    "format_duration",
    "load",
    "parse_duration",
    "parse_listen",
    "read",
    "report",
    "similar",
]
