"""Messages about sinks: what is wrong with them, and what people are told by them."""

import json
import re

import anyio.to_thread

from monitor import sinks
from monitor.model import Parking
from monitor.stores.store import open_store
from tests.contracts.sink_kit import event, receiving, replying, webhook
from tests.contracts.store_examples import T0, SettableClock, entry, failed
from tests.golden.config_messages import told
from tests.golden.kit import command, logged
from tests.golden.registry import message

SINK_TYPES = ("slack", "msteams", "pagerduty", "discord", "email", "https")


@message("13 a receiver's name as the type of a sink")
def types(directory):
    return [
        line
        for name in SINK_TYPES
        for line in told(directory, f"sinks: {{ops: {{type: {name}, url: 'https://h/x'}}}}\n")
    ]


def with_sink(directory, url, **more):
    hook = {"type": "webhook", "url": url, "allow_http": True, "allow_networks": ["127.0.0.0/8"]}
    file = directory / "monitor.yaml"
    store = f"sqlite://{directory}/state.db"
    file.write_text(json.dumps({"store": store, "sinks": {"ops": {**hook, **more}}}))
    return file


async def tested(directory, reply, **more):
    """Return what send-test says of a receiver that answers so."""
    async with receiving(reply) as receiver:
        file = with_sink(directory, receiver.url.replace("/hook", "/T00/B00"), **more)
        return await anyio.to_thread.run_sync(lambda: command("send-test", "ops", "-c", file))


def steady(lines):
    """Leave out what differs each time."""
    return [re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27,}|(?<= in )[0-9.]+(?= s)", "…", one) for one in lines]


NOS = {
    "says no with 200 (Slack)": ({"template": "slack"}, 200, b'{"ok":false,"error":"no_channel"}'),
    "says no with 200 (Teams)": (
        {"template": "teams"},
        200,
        b"Webhook message delivery failed with error: HTTP error 429",
    ),
    "says no with 200 (own condition)": ({"success": "json.ok"}, 200, b'{"ok": false}'),
    "answers 401": ({}, 401, b""),
    "answers 410": ({}, 410, b""),
    "answers 503": ({}, 503, b"try later"),
}


def _register(name, more, status, body):
    @message(f"27 send-test to a receiver that {name} (exit code 1)")
    async def produce(directory):
        return steady(await tested(directory, replying(status, body), **more))


for _name, (_more, _status, _body) in NOS.items():
    _register(_name, _more, _status, _body)

CONDITIONS = ("status == 200", "json.ok == true", "body.ok", "contain(text, 'ok')", "!json.failed")


@message("27 a success condition that cannot be meant")
def conditions(directory):
    hook = "sinks:\n  ops:\n    type: webhook\n    url: https://hooks.example.com/x\n"
    return [
        line for text in CONDITIONS for line in told(directory, f'{hook}    success: "{text}"\n')
    ]


@message("28 a sink whose files cannot be read any more, and can again")
async def files_refused(directory):
    token = directory / "token"
    token.write_text("Bearer one")
    async with receiving(replying(200)) as receiver:
        settings = webhook(receiver.url, header_files={"Authorization": str(token)})
        with logged() as lines:
            async with sinks.open_sink("ops", settings) as sink:
                token.write_text("")
                await sink.send([event()])
                token.write_text("Bearer two")
                await sink.send([event()])
        return lines("sink_files.refused", "sink_files.reloaded")


@message("7 sinks list: one that fails, one that is parked")
async def listed(directory):
    file = with_sink(directory, "http://127.0.0.1:9/x")
    async with open_store(f"sqlite://{directory}/state.db", SettableClock()) as store:
        await store.record(entry(1))
        (due,) = await store.due("ops", SettableClock().now(), 1)
        await store.settle(failed(due, T0, error="status 503"))
        await store.park(Parking("old", SettableClock().now(), "410 Gone"))
    return await anyio.to_thread.run_sync(lambda: command("sinks", "list", "-c", file))
