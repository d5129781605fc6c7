"""``job-monitor send-test``: send one example event through a real sink."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import anyio
import orjson
import typer

from monitor import events, example_events
from monitor.cli import arguments, completions, options
from monitor.cli import output as tables
from monitor.cli.options import Format
from monitor.errors import PartialSendError, SendError, SendReason
from monitor.interfaces import Replying
from monitor.model import Kind
from monitor.web.links import EventLinks, PageLinks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.config import Settings

_MARK = {"test": "true"}


def send_test(
    sink: Annotated[
        str,
        typer.Argument(
            metavar="SINK", help="One of the configured sinks.", autocompletion=completions.sinks
        ),
    ],
    config: options.Config = None,
    output: options.Output = Format.TABLE,
) -> None:
    """Send one event, labelled as a test, to a sink; exit code 0 if accepted, else 1.

    Nothing is recorded, and nothing is retried.
    """
    settings = options.load_own(config)
    arguments.require_sink(settings, sink)
    event = _event()
    started = time.monotonic()
    added = EventLinks(PageLinks.of(settings.server), {})
    error, reply = anyio.run(_send, settings, sink, added.added_to(event))
    result = {
        "sink": sink,
        "event_id": event["id"],
        "taken": error is None,
        "reason": error.reason.value if error else None,
        "error": error.message if error else None,
        "reply": reply or None,
        "seconds": round(time.monotonic() - started, 3),
    }
    if output is Format.JSON:
        typer.echo(orjson.dumps(result).decode())
    elif output is Format.YAML:
        tables.show_yaml(result)
    elif error is None:
        answer = f"; it answered {reply}" if reply else ""
        line = f"{sink} accepted the test event {event['id']} in {result['seconds']} s{answer}"
        typer.echo(line)
    else:
        typer.echo(f"{sink} did not accept the test event: {error.reason}: {error.message}")
    raise typer.Exit(int(error is not None))


def _event() -> dict[str, Any]:
    """Return an event with a new id, so that no receiver drops it as a duplicate."""
    example = example_events.event(Kind.STATE_CHANGED)
    job = {**example["data"]["job"], "labels": _MARK}
    data = {**example["data"], "job": job, "reason": "A test by job-monitor send-test."}
    return {
        **example,
        "id": str(uuid4()),
        "time": events.timestamp(datetime.now(UTC)),
        "data": data,
    }


async def _send(
    settings: Settings, name: str, event: Mapping[str, Any]
) -> tuple[SendError | None, str]:
    """Send once; return the error, if any, and the start of the receiver's reply."""
    from monitor.app import open_sink

    error: SendError | None = None
    timeout = settings.sinks[name].timeout
    async with open_sink(settings, name) as sink:
        try:
            with anyio.fail_after(timeout):
                await sink.send([event])
        except SendError as refused:
            error = refused
        except PartialSendError as partial:
            error = next(iter(partial.failures.values()))
        except TimeoutError:
            error = SendError(SendReason.TIMEOUT, f"no answer within {timeout:g} s")
        return error, sink.reply if isinstance(sink, Replying) else ""
