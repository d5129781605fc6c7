"""Reads the configuration; ``monitor.validation`` checks that it makes sense.

    yaml_files.py (yaml_document.py)  files ─► one tree of values that know their lines
    environment.py                    variables ─► values over those of the files
    loader.py                         the tree ─► Settings, or all problems of its shape
                                      (messages.py, schema.py)

``reference_docs.py`` writes the tables of docs/configuration.md from the settings.
"""

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
