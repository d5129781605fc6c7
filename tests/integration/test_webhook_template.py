"""Webhooks whose body is rendered: what arrives, signed, and what a failure does."""

import asyncio
import json
import time

import anyio
import pytest
import standardwebhooks

from monitor import config, sinks
from monitor.errors import SendError, SendReason
from monitor.sinks.rotation import Rotating
from monitor.sinks.webhook.sink import WebhookSender
from tests import rounds
from tests.contracts import sink_kit
from tests.contracts.sink_kit import event, receiving, replying, webhook

SECRET = "whsec_cGxhbnRlZC1zZWNyZXQtMDEyMzQ1Njc4OWFi"


def hook(url="https://h/", **more):
    return config.WebhookSink(type="webhook", url=url, **more)


@pytest.fixture
def templated(tmp_path):
    def settings(url, text, **more):
        (tmp_path / "t.j2").write_text(text)
        (tmp_path / "token").write_text("planted-token\n")
        secrets = {"token": str(tmp_path / "token")}
        path = str(tmp_path / "t.j2")
        given = {"timeout": "15s"} | more  # a template starts a process
        return webhook(url, template=path, template_secrets=secrets, **given)

    return settings


async def test_the_rendered_body_is_what_is_sent_and_signed(templated, tmp_path):
    (tmp_path / "key").write_text(SECRET)
    text = '{"say": "{{ title }}", "token": "{{ secrets.token }}", "é": 1}\n'
    async with receiving() as receiver:
        settings = templated(receiver.url, text, secret_files=[str(tmp_path / "key")])
        async with sinks.open_sink("ops", settings) as sink:
            await sink.send([event()])
            await sink.send([event()])
    first, second = receiver.requests
    assert first.body == second.body
    assert first.headers["content-type"] == "application/json"
    assert standardwebhooks.Webhook(SECRET).verify(first.body, first.headers) == {
        "say": "panorama.package-import job-1: PENDING → SUCCEEDED",
        "token": "planted-token",
        "é": 1,
    }


async def test_another_content_type_is_sent_as_it_is_named(templated):
    async with receiving() as receiver:
        settings = templated(receiver.url, "{{ data.reason }}", content_type="text/plain")
        async with sinks.open_sink("ops", settings) as sink:
            await sink.send([event(reason="<a> & b")])
    assert receiver.requests[0].body == b"<a> & b"
    assert receiver.requests[0].headers["content-type"] == "text/plain"


async def test_a_receiver_that_echoes_the_secret_of_a_template_does_not_have_it_told(templated):
    async with receiving() as receiver:

        async def echo(writer, request):
            await replying(400, request.body)(writer, request)

        receiver.answer = echo
        settings = templated(receiver.url, '{"token": "{{ secrets.token }}"}')
        async with sinks.open_sink("ops", settings) as sink:
            with pytest.raises(SendError) as caught:
                await sink.send([event()])
    assert "planted" not in caught.value.message
    assert caught.value.message.endswith('answered 400: {"***": "***"}')


FAILS = '{"a": {% if data.reason == "fail" %}{{ data.nope }}{% else %}1{% endif %}}'
HANGS = (
    '{"a": {% if data.reason == "fail" %}{% for i in range(99999) %}{% for j in range(99999) %}'
    "{% endfor %}{% endfor %}{% endif %}1}"
)


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        (FAILS, SendReason.INTERNAL, ":1 'dict object' has no attribute 'nope'"),
        (HANGS, SendReason.INTERNAL, "takes too long or too much memory"),
    ],
)
async def test_a_failing_template_is_tried_again_and_harms_no_other_event(
    templated, text, reason, message
):
    async with receiving() as receiver:
        settings = templated(receiver.url, text, timeout="15s")
        async with sinks.open_sink("ops", settings) as sink:
            await sink.send([event(reason="fine")])
            with pytest.raises(SendError) as caught:
                await sink.send([event(reason="fail")])
            await sink.send([event(reason="fine")])
    assert caught.value.reason is reason
    assert caught.value.reason.retryable
    assert message in caught.value.message
    assert [request.event for request in receiver.requests] == [{"a": 1}] * 2


async def test_a_template_that_hangs_blocks_neither_the_loop_nor_the_deadline(templated):
    async with receiving() as receiver:
        settings = templated(receiver.url, HANGS, timeout="500ms")
        async with sinks.open_sink("ops", settings) as sink:
            longest: list[float] = []
            for _ in rounds.until_enough(1, lambda: min(longest) < 0.3):
                started = time.monotonic()
                attempt = asyncio.create_task(sink.send([event(reason="fail")]))
                longest.append(await sink_kit.longest_gap(attempt))
                with pytest.raises(SendError) as caught:
                    await attempt
                assert time.monotonic() - started < 20
                assert caught.value.reason is SendReason.TIMEOUT
            assert min(longest) < 0.3, "a busy machine stops the loop too, but not each time"
        assert not receiver.requests


async def test_events_sent_at_once_each_get_their_own_body(templated):
    async with receiving() as receiver:
        settings = templated(receiver.url, '"{{ subject }}"', timeout="15s")
        async with sinks.open_sink("ops", settings) as sink, anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(sink.send, [event(job_id=f"job-{number}")])
    told = {request.headers["webhook-id"]: request.event for request in receiver.requests}
    assert told == {event(job_id=f"job-{n}")["id"]: f"job-{n}" for n in range(20)}


async def test_the_process_that_renders_is_gone_with_the_sink(templated):
    async with receiving() as receiver:
        settings = templated(receiver.url, "1")
        async with sinks.open_sink("ops", settings) as sink:
            await sink.send([event()])
            assert isinstance(sink, Rotating)
            assert isinstance(sink.current, WebhookSender)
            assert sink.current._renderer
            process = sink.current._renderer._process
            assert process
            assert process.returncode is None
        assert process.returncode is not None


@pytest.mark.parametrize("kind", ["", "json", "a/b\r\nX: y", "text/é"])
def test_a_bad_content_type_is_told(kind):
    settings = hook(url="https://h/x", content_type=kind)
    (problem,) = sinks.problems("ops", settings)
    assert (problem.path, problem.message) == ("sinks.ops.content_type", "is not a media type")


def test_secrets_without_a_template_are_told(tmp_path):
    (tmp_path / "key").write_text("x")
    secrets = {"a": str(tmp_path / "key")}
    settings = hook(url="https://h/", template_secrets=secrets)
    (problem,) = sinks.problems("ops", settings)
    assert problem.path == "sinks.ops.template_secrets"
    assert json.dumps(settings.model_dump(mode="json"))
