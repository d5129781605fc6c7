"""Where transitions go. Each sink sends once and raises; the dispatcher does the rest.

    kind.py                    what the monitor needs to know of a kind of sink
    log.py                     lines of JSON
    webhook/                   signed HTTP posts
    apprise.py                 notifications by a library
    aws/                       SNS, SQS, EventBridge: several events in one request
    plugin.py                  what installed packages offer
    rotation.py                files that change while the sink is open
    template.py                bodies of other forms, rendered by template_worker.py
    format.py                  events as bytes, and in one line for people

To add a kind, follow "Adding a sink" in docs/sinks.md.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from monitor.errors import ConfigurationError
from monitor.sinks import apprise, format, log, plugin, rotation  # noqa: A004 -- our module
from monitor.sinks.aws import eventbridge, sns, sqs
from monitor.sinks.kind import Preview, SinkTools
from monitor.sinks.webhook import sink as webhook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from monitor import config, interfaces
    from monitor.aws.clients import Clients
    from monitor.errors import Problem
    from monitor.sinks.kind import SinkKind

    Renderer = Callable[[Sequence[Mapping[str, Any]]], list[Preview]]

KINDS: Mapping[str, SinkKind[Any, Any]] = {
    "apprise": apprise.KIND,
    "eventbridge": eventbridge.KIND,
    "log": log.KIND,
    "sns": sns.KIND,
    "sqs": sqs.KIND,
    "webhook": webhook.KIND,
}
"""Every built-in ``type`` of a sink. Any other is that of an installed plug-in."""


def kind_of(settings: config.Sink) -> SinkKind[Any, Any]:
    """Return the kind of a configured sink."""
    return KINDS.get(settings.type, plugin.KIND)


def problems(name: str, settings: config.Sink) -> list[Problem]:
    """Return what is wrong with a sink's settings and the files they name.

    Blocks on the file system, and touches no network. No text repeats a secret.
    """
    try:
        kind_of(settings).load(name, settings, None)
    except ConfigurationError as error:
        return list(error.problems)
    return []


def files(settings: config.Sink) -> list[str]:
    """Name the files that are read when a sink is opened.

    Of a plug-in's settings, those count whose key ends in ``_file`` or ``_files``.
    """
    return kind_of(settings).files(settings)


@asynccontextmanager
async def open_sink(
    name: str,
    settings: config.Sink,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    clients: Clients | None = None,
) -> AsyncIterator[interfaces.Sink]:
    """Build a sink, and release what it holds at the end.

    Files that the settings name are read here, and again when they change.
    A sink in AWS needs ``clients``, and leaves it to their owner to close them.

    Raises:
        ConfigurationError: the settings have ``problems``.
    """
    kind, tools = kind_of(settings), SinkTools(now, clients)
    async with rotation.open_rotating(
        name,
        kind.files(settings) if kind.rereads else (),
        lambda before: kind.load(name, settings, before),
        lambda target: kind.open(target, tools),
    ) as sink:
        yield sink


def previews(
    name: str, settings: config.Sink, events: Sequence[Mapping[str, Any]]
) -> list[Preview]:
    """Return how each event would go out, with every secret hidden; blocks.

    A plug-in's own form of an event is not known: shown is what the plug-in is given.

    Raises:
        ConfigurationError: the settings have ``problems``.
    """
    kind = kind_of(settings)
    return _renderer(kind, kind.load(name, settings, None))(events)


def renderer(name: str, settings: config.Sink) -> Renderer:
    """Return what does as ``previews``, and needs no file that holds a secret.

    Raises:
        ConfigurationError: the settings have problems that show without their secrets.
    """
    kind = kind_of(settings)
    target = kind.sample(name, settings) if kind.sample else kind.load(name, settings, None)
    return _renderer(kind, target)


def _renderer(kind: SinkKind[Any, Any], target: Any) -> Renderer:
    if kind.preview is None:
        return lambda events: [Preview({}, format.encode(event).decode()) for event in events]
    return partial(kind.preview, target)


def permission(name: str, settings: config.Sink) -> tuple[str, str] | None:
    """Return the IAM action that a sink needs and the ARN it is needed on, if any.

    Raises:
        ConfigurationError: the settings have ``problems``.
    """
    kind = kind_of(settings)
    return kind.permission(kind.load(name, settings, None)) if kind.permission else None
