"""Events to send, and receivers that take, stall or refuse them."""

import asyncio
import contextlib
import json
import resource
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema_rs
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event

from monitor import config, events
from monitor.errors import SendError
from monitor.interfaces import Sink
from monitor.model import Change, Job, Kind, Phase, Severity, SourceKey, StateAndPhase, Transition

PLANTED = ("path-planted-1", "query-planted-2", "header-planted-3", "file-planted-4")
"""Secrets in the settings of the rigs, none of which may be told."""
LEDGER = "0f0e0d0c-0b0a-4908-8706-050403020100"
SEEN = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
SCHEMA = json.loads((Path(events.__file__).parent / "event.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(
    SCHEMA,
    format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
)
FAST_VALIDATOR = jsonschema_rs.Draft202012Validator(SCHEMA, validate_formats=True)
"""It takes a thirtieth of the time of the other, and the tests make many events."""


def transition(kind=Kind.STATE_CHANGED, sequence=2, job_id="job-1", reason="It ended."):
    """One plausible transition of each kind."""
    if kind in {Kind.SOURCE_UNAVAILABLE, Kind.SOURCE_RECOVERED}:
        return _source_transition(kind, sequence)
    return Transition(
        subject=Job("panorama.package-import", "prod", "us-east-1", job_id),
        service="panorama",
        sequence=sequence,
        kind=kind,
        previous=None if kind is Kind.DISCOVERED else StateAndPhase("PENDING", Phase.RUNNING),
        current=StateAndPhase("SUCCEEDED", Phase.SUCCEEDED),
        changes=(Change("Status", "PENDING", "SUCCEEDED"), Change("Tags", None, {"a": [1, 2.5]})),
        after=None if kind is Kind.DISCOVERED else SEEN - timedelta(seconds=30),
        before=SEEN,
        severity=Severity.INFO,
        reason=reason,
        occurred_at=SEEN - timedelta(seconds=9) if kind is Kind.STATE_CHANGED else None,
        fields={"JobType": "NODE_PACKAGE_VERSION", "Größe": None, "nested": {"x": [True]}},
        labels={"team": "vision"},
    )


def _source_transition(kind, sequence):
    states = ("available", "unavailable")
    before, after = states if kind is Kind.SOURCE_UNAVAILABLE else reversed(states)
    return Transition(
        subject=SourceKey("panorama", "prod", "us-east-1"),
        service="panorama",
        sequence=sequence,
        kind=kind,
        previous=StateAndPhase(before, ""),
        current=StateAndPhase(after, ""),
        changes=(),
        after=None,
        before=SEEN,
        severity=Severity.WARNING,
        reason=None,
        occurred_at=None,
        fields={},
        labels={},
    )


def event(kind=Kind.STATE_CHANGED, sequence=2, job_id="job-1", reason="It ended."):
    """Return a CloudEvent as the dispatcher hands it to a sink."""
    made = events.cloud_event(transition(kind, sequence, job_id, reason), LEDGER)
    check(made)
    return made


def check(made):
    """Assert that an event is what its schema and the CloudEvents library call one."""
    _check_text(json.dumps(made))


@lru_cache(1000)
def _check_text(text):
    """Do so once: the same event is checked when it is made, sent and received."""
    made = json.loads(text)
    FAST_VALIDATOR.validate(made["data"])
    message = HTTPMessage({"content-type": "application/cloudevents+json"}, text.encode())
    parsed = from_structured_event(message)
    assert (parsed.get_id(), parsed.get_type()) == (made["id"], made["type"])
    assert parsed.get_data() == made["data"]


class Outcome(StrEnum):
    """What becomes of a delivery that was not taken."""

    RETRY = "retry"
    DEAD = "dead"
    PARK = "park"

    @classmethod
    def of(cls, reason):
        """Return it as the dispatcher finds it by a reason."""
        if reason.parks:
            return cls.PARK
        return cls.RETRY if reason.retryable else cls.DEAD


@dataclass
class Rig:
    """A sink and the other side of it, and what that side rightly cannot show."""

    sink: Sink
    taken: Any
    """Returns what arrived, oldest first."""
    stall: Any
    resume: Any
    refuse: Any
    deadline: float
    refusals: dict[str, tuple[Any, Outcome]]
    """Name → what brings a refusal about (it may return the event to send), and its meaning."""
    form: Any = dict
    """An event → what of it arrives."""
    key: str | None = "id"
    """Where in that form the receiver finds the event's id; ``None``: it is not told."""
    keeps_repeats: bool = True
    """Whether an event that comes again shows; otherwise it takes the place of the first."""


@dataclass
class Request:
    """What arrived at a receiver."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self):
        return json.loads(self.body)


@dataclass
class Receiver:
    """A raw HTTP server: ``answer(writer, request)`` writes whatever bytes it likes."""

    answer: Any
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/hook"

    async def serve(self, reader, writer):
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                self.requests.append(await read_request(reader))
                await self.answer(writer, self.requests[-1])
        writer.transport.abort()


async def read_request(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    headers = {name.lower(): value for name, value in headers.items()}
    assert len(headers) == len([line for line in head[1:] if line]), "a header came twice"
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(head[0], headers, body)


def replying(status=200, body=b"", *headers):
    """Return an answer: one plain HTTP reply."""

    async def answer(writer, _request):
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return answer


async def stalling(_writer, _request):
    """Answer nothing."""
    await asyncio.sleep(60)


@asynccontextmanager
async def receiving(answer=None, ssl=None):
    """Run a receiver on a free port of the loopback interface."""
    receiver = Receiver(answer or replying())
    tasks: set[asyncio.Task[None] | None] = set()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        with contextlib.suppress(asyncio.CancelledError):
            await receiver.serve(reader, writer)
        writer.transport.abort()
        tasks.discard(asyncio.current_task())

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=ssl)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        running = [task for task in tasks if task]
        for task in running:
            task.cancel()
        await asyncio.gather(*running)
    check_received(receiver.requests)


def check_received(requests):
    """Assert that whatever arrived under the media type of CloudEvents is one event."""
    for request in requests:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if headers.get("content-type", "").startswith("application/cloudevents+json"):
            check(json.loads(request.body))


def answers(receiver, statuses):
    """Return the refusals of a rig: HTTP statuses and their meaning."""

    def act(status):
        return lambda: setattr(receiver, "answer", replying(status, b"no"))

    return {f"status {status}": (act(status), meaning) for status, meaning in statuses.items()}


async def warm_up(sink, taken):
    """Send until it is taken in time: what is slow once is not what is measured.

    A template begins with a process of its own, which takes longer than a deadline if the
    machine is busy.
    """
    for _ in range(20):
        with contextlib.suppress(SendError):
            await sink.send([event()])
            break
    arrived = taken()
    assert arrived
    arrived.clear()


async def longest_gap(attempt):
    """Return for how long the event loop stood still at most while a task ran, in seconds."""
    gaps = [0.0]
    while not attempt.done():
        before = time.monotonic()
        await asyncio.sleep(0.01)
        gaps.append(time.monotonic() - before)
    return max(gaps)


def webhook(url, **settings):
    """Return settings of a webhook that may go to this machine."""
    defaults = {"allow_http": True, "allow_networks": ["127.0.0.0/8"], "timeout": "20s"}
    return config.WebhookSink(type="webhook", url=url, **{**defaults, **settings})


@contextmanager
def limited_files(size):
    """Let no file of this process grow beyond ``size``: a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
