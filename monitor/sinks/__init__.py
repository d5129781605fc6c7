"""Where transitions go. Each sink sends once and raises; the dispatcher does the rest.

    log.py (output.py)                              lines of JSON
    webhook.py (endpoint.py, addresses.py,          signed HTTP posts
                signature.py, reply.py,
                success.py, tls.py)
    apprise.py (threads.py)                         notifications by a library
    plugin.py                                       what installed packages offer
    sns.py, sqs.py (messages.py), eventbridge.py    requests to AWS
               (aws_batch.py, aws_target.py,
                aws_refusals.py, shortening.py)
    rotation.py                                     files that change meanwhile
    template.py (template_worker.py, wording.py)    bodies of other forms
    preview.py                                      what would be sent

A new kind of sink has its settings in ``config.Sink`` and its lines here.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, assert_never

from monitor import config, errors
from monitor.sinks import apprise, log, plugin, preview, rotation
from monitor.sinks.aws import eventbridge, sns, sqs
from monitor.sinks.aws import target as aws_target
from monitor.sinks.aws.batch import AwsSink
from monitor.sinks.webhook import sink as webhook
from monitor.sinks.webhook import target as endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from monitor import interfaces
    from monitor.aws.clients import Clients


def _utc() -> datetime:
    return datetime.now(UTC)


def problems(name: str, settings: config.Sink) -> list[errors.Problem]:
    """Return what is wrong with a sink's settings and the files they name.

    Blocks on the file system, and touches no network. No text repeats a secret.
    """
    match settings:
        case config.LogSink():
            return log.problems(name, settings)
        case config.WebhookSink():
            return endpoint.problems(name, settings)
        case config.SnsSink() | config.SqsSink() | config.EventBridgeSink():
            return aws_target.problems(name, settings)
        case config.AppriseSink():
            return apprise.problems(name, settings)
        case config.PluginSink():
            return plugin.problems(name, settings)
    assert_never(settings)


def files(settings: config.Sink) -> list[str]:
    """Name the files that are read when a sink is opened.

    Of a plug-in's settings, those count whose key ends in ``_file`` or ``_files``.
    """
    match settings:
        case config.WebhookSink():
            return endpoint.files(settings)
        case config.AppriseSink():
            return list(settings.url_files)
        case config.PluginSink():
            return plugin.files(settings)
        case config.LogSink() | config.SnsSink() | config.SqsSink() | config.EventBridgeSink():
            return []
    assert_never(settings)


@asynccontextmanager
async def open_sink(
    name: str,
    settings: config.Sink,
    now: Callable[[], datetime] = _utc,
    clients: Clients | None = None,
) -> AsyncIterator[interfaces.Sink]:
    """Build a sink, and release what it holds at the end.

    Files that the settings name are read here, and again when they change.
    A sink in AWS needs ``clients``, and leaves it to their owner to close them.

    Raises:
        ConfigurationError: with all that ``problems`` tells.
    """
    match settings:
        case config.LogSink():
            yield await asyncio.to_thread(log.open_log, name, settings)
        case config.WebhookSink():
            load = partial(endpoint.load, name, settings)
            opener = partial(webhook.open_webhook, now=now)
            async with rotation.open_rotating(name, files(settings), load, opener) as sink:
                yield sink
        case config.SnsSink() | config.SqsSink() | config.EventBridgeSink():
            yield _aws_sink(aws_target.load(name, settings), clients, now)
        case config.AppriseSink():
            reread = partial(apprise.load, name, settings)
            async with rotation.open_rotating(name, files(settings), reread, _apprise) as sink:
                yield sink
        case config.PluginSink():
            async with plugin.open_plugin(name, settings) as sink:
                yield sink
        case _:
            assert_never(settings)


def previews(
    name: str, settings: config.Sink, events: Sequence[Mapping[str, Any]]
) -> list[preview.Preview]:
    """Return how each event would go out, with every secret hidden; blocks.

    What a plug-in makes of an event is its own affair: shown is what it is given.

    Raises:
        ConfigurationError: with all that ``problems`` tells.
    """
    match settings:
        case config.LogSink() | config.PluginSink():
            return preview.of_event(events)
        case config.WebhookSink():
            return preview.of_webhook(name, settings, events)
        case config.AppriseSink():
            return preview.of_apprise(name, settings, events)
        case config.SnsSink() | config.SqsSink() | config.EventBridgeSink():
            target = aws_target.load(name, settings)
            return preview.of_aws(_FORMS[target.service](target), events)
    assert_never(settings)


_FORMS = {"sns": sns.form, "sqs": sqs.form, "events": eventbridge.form}


def _apprise(target: apprise.Notification) -> AbstractAsyncContextManager[apprise.Apprise]:
    return aclosing(apprise.Apprise(target))


def _aws_sink(
    target: aws_target.Target, clients: Clients | None, now: Callable[[], datetime]
) -> AwsSink:
    if clients is None:
        raise ValueError("a sink in AWS needs clients")
    return AwsSink(target, _FORMS[target.service](target), clients, now)
