"""What a sink would send, for showing: every secret is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from monitor.redaction import HIDDEN
from monitor.sinks import apprise, template
from monitor.sinks.encoding import encode
from monitor.sinks.webhook import sink
from monitor.sinks.webhook import target as endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor import config
    from monitor.sinks.aws.batch import Form


@dataclass(frozen=True, slots=True)
class Preview:
    """One event as it would go out; ``headers`` are whatever goes beside the body."""

    headers: Mapping[str, str]
    body: str


def of_event(events: Sequence[Mapping[str, Any]]) -> list[Preview]:
    """Preview a sink that sends the event as it is."""
    return [Preview({}, encode(event).decode()) for event in events]


def of_webhook(
    name: str, settings: config.WebhookSink, events: Sequence[Mapping[str, Any]]
) -> list[Preview]:
    """Preview posts; blocks.

    Raises:
        ConfigurationError: as ``endpoint.load``.
    """
    target = endpoint.load(name, settings)
    hidden = dict.fromkeys(target.template_secrets, HIDDEN)
    source = target.template
    bodies = (
        template.attempt(source, events, hidden)
        if source
        else [encode(event).decode() for event in events]
    )
    return [
        Preview({"POST": target.origin, **_headers(target, event)}, body)
        for event, body in zip(events, bodies, strict=True)
    ]


def _headers(target: endpoint.Endpoint, event: Mapping[str, Any]) -> dict[str, str]:
    sent = sink.headers(target, event["id"], 0, b"") | {"webhook-timestamp": "(now)"}
    hidden = {"webhook-signature", *(name for name, _ in target.headers)}
    return {name: HIDDEN if name in hidden else value for name, value in sent.items()}


def of_apprise(
    name: str, settings: config.AppriseSink, events: Sequence[Mapping[str, Any]]
) -> list[Preview]:
    """Preview notifications; blocks.

    Raises:
        ConfigurationError: as ``apprise.load``.
    """
    target = apprise.load(name, settings)
    rendered = map(apprise.parts, template.attempt(target.source, events, {}))
    return [Preview({"title": title}, body) for title, body in rendered]


def of_aws(form: Form, events: Sequence[Mapping[str, Any]]) -> list[Preview]:
    """Preview the entries of requests to AWS."""
    return [
        Preview(
            {"operation": form.operation},
            orjson.dumps(form.entry(event), option=orjson.OPT_INDENT_2).decode(),
        )
        for event in events
    ]
