"""What the pages on events and sinks show is true."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from monitor import config
from monitor.model import Kind
from monitor.sinks.webhook.signature import sign
from tests.contracts.sink_kit import SCHEMA, VALIDATOR, check

DOCS = Path(config.__file__).parents[2] / "docs"
KEY = "whsec_" + "QUJD" * 8


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def keys(schema):
    for name, inner in schema.get("properties", {}).items():
        yield name
        yield from keys(inner)
        yield from keys(inner.get("items", {}))


def test_there_is_a_true_example_of_each_kind():
    examples = [json.loads(block) for block in blocks("events.md", "json")]
    for example in examples:
        if "specversion" in example:
            check(example)
        VALIDATOR.validate(example.get("data", example))
    assert {example.get("data", example)["kind"] for example in examples} == set(Kind)


def test_each_key_of_an_event_is_documented():
    words = set(re.findall(r"\w+", (DOCS / "events.md").read_text()))
    assert {*keys(SCHEMA), *keys(SCHEMA["$defs"]["standing"])} <= words


def test_each_setting_of_a_sink_is_documented():
    words = set(re.findall(r"`(\w+)`", (DOCS / "sinks.md").read_text()))
    aws = (config.SnsSink, config.SqsSink, config.EventBridgeSink)
    kinds = (config.LogSink, config.WebhookSink, config.Tls, config.AppriseSink, *aws)
    assert {name for kind in kinds for name in kind.model_fields} <= words


@pytest.mark.parametrize(
    "code", [block for block in blocks("sinks.md", "python") if "event_of" in block]
)
def test_the_verification_examples_accept_a_delivery_and_nothing_else(code):
    scope: dict[str, Any] = {}
    exec(code, scope)
    now = int(time.time())
    body = '{"id": "ü"}'.encode()
    headers = {
        "webhook-id": "1",
        "webhook-timestamp": str(now),
        "webhook-signature": sign([b"x" * 24, b"ABC" * 8], "1", now, body),
    }
    assert scope["event_of"](KEY, headers, body) == {"id": "ü"}
    for odd in (
        {**headers, "webhook-id": "2"},
        {**headers, "webhook-timestamp": str(now - 1)},
        {**headers, "webhook-signature": sign([b"x" * 24], "1", now, body)},
        {
            **headers,
            "webhook-timestamp": str(now - 900),
            "webhook-signature": sign([b"ABC" * 8], "1", now - 900, body),
        },
    ):
        with pytest.raises(Exception, match=r"[Nn]o|too old"):
            scope["event_of"](KEY, odd, body)
