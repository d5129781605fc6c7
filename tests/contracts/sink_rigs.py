"""Sinks of this package's own making, each with the other side of it."""

import asyncio
import fcntl
import json
import os
import threading
import time
from contextlib import asynccontextmanager
from typing import Any

from monitor import config, sinks
from monitor.model import Severity
from monitor.sinks.format import title
from monitor.sinks.log import LogStream, LogWriter
from tests.contracts.sink_kit import (
    PLANTED,
    Outcome,
    Rig,
    answers,
    receiving,
    replying,
    stalling,
    warm_up,
    webhook,
)

TIMEOUT = 1.0
SECRET = "whsec_cGxhbnRlZC1zZWNyZXQtMDEyMzQ1Njc4OWFi"


ICONS = {
    Severity.ERROR: ":red_circle:",
    Severity.WARNING: ":large_orange_circle:",
    Severity.INFO: ":large_green_circle:",
}
STATUSES = {
    408: Outcome.RETRY,
    425: Outcome.RETRY,
    429: Outcome.RETRY,
    500: Outcome.RETRY,
    503: Outcome.RETRY,
    301: Outcome.DEAD,
    400: Outcome.DEAD,
    401: Outcome.RETRY,
    403: Outcome.RETRY,
    404: Outcome.DEAD,
    410: Outcome.PARK,
}


def webhook_rig(tmp_path):
    """The event itself is the body."""
    return _hook(tmp_path, read=lambda request: request.event, form=dict, timeout="1s")


def slack_rig(tmp_path):
    """The body is Slack's, and holds no id: a receiver knows a repeat by ``webhook-id``."""
    return _hook(
        tmp_path,
        read=_slack_message,
        form=lambda event: {"webhook-id": event["id"], "text": _slack_text(event)},
        key="webhook-id",
        timeout="2500ms",
        yes=b"ok",
        template="slack",
    )


def _slack_message(request):
    assert "specversion" not in request.event
    return {"webhook-id": request.headers["webhook-id"], "text": request.event["text"]}


def _slack_text(event):
    return f"{ICONS[event['data']['severity']]} {title(event)}"


def _hook(tmp_path, *, read, form, key="id", yes=b"", **settings):
    (tmp_path / "key").write_text(SECRET)
    (tmp_path / "header").write_text(f"Bearer {PLANTED[3]}\n")
    files = {
        "secret_files": [str(tmp_path / "key")],
        "headers": {"X-Team": PLANTED[2]},
        "header_files": {"Authorization": str(tmp_path / "header")},
    }
    return http_rig(lambda url: webhook(url, **files, **settings), read, form, key, yes)


@asynccontextmanager
async def http_rig(settings, read, form, key="id", yes=b""):
    """A receiver that speaks HTTP; ``settings`` makes those of the sink for its URL."""

    async def take(writer, request):
        taken.append(read(request))
        await replying(200, yes)(writer, request)

    async def echo(writer, request):
        text = f"{request.line}\n{request.headers}".encode()
        await replying(503, text)(writer, request)

    taken: list[dict[str, Any]] = []
    async with receiving(take) as receiver:
        made = settings(f"{receiver.url}/{PLANTED[0]}?key={PLANTED[1]}")
        async with sinks.open_sink("rig", made) as sink:
            await warm_up(sink, lambda: taken)
            yield Rig(
                sink,
                lambda: taken,
                lambda: setattr(receiver, "answer", stalling),
                lambda: setattr(receiver, "answer", take),
                lambda: setattr(receiver, "answer", echo),
                made.timeout,
                answers(receiver, STATUSES),
                form=form,
                key=key,
            )


@asynccontextmanager
async def file_rig(tmp_path):
    path = tmp_path / "events.log"
    kept = tmp_path / "kept.log"

    def stall():
        if path.exists():
            path.rename(kept)
        os.mkfifo(path)

    def resume():
        if path.is_fifo():
            release_writer(path)
        path.unlink(missing_ok=True)
        if kept.exists():
            kept.rename(path)

    settings = config.LogSink.model_validate(
        {"type": "log", "path": str(path), "timeout": f"{TIMEOUT}s"}
    )
    async with sinks.open_sink("rig", settings) as sink:
        yield Rig(
            sink,
            lambda: [json.loads(line) for line in path.read_bytes().splitlines()],
            stall,
            resume,
            lambda: path.symlink_to("/dev/full"),
            TIMEOUT,
            {
                "a full disk": (lambda: path.symlink_to("/dev/full"), Outcome.RETRY),
                "a directory in its place": (path.mkdir, Outcome.RETRY),
            },
        )
    if path.is_fifo():
        release_writer(path)


def release_writer(path):
    """Let a thread that waits for a reader of ``path`` come to its end."""
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    until_written()
    os.close(reader)


def until_written():
    """Wait until no thread writes any more: none may use a descriptor that is closed."""
    deadline = time.monotonic() + 60
    while any(t.name == "log-sink" for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)


@asynccontextmanager
async def pipe_rig(_tmp_path):
    read, write = os.pipe()
    size = fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(read, False)
    received = bytearray()

    def drain():
        while True:
            try:
                received.extend(os.read(read, 65536))
            except BlockingIOError:
                return

    def stall():
        os.set_blocking(write, False)
        os.write(write, b" " * size)
        os.set_blocking(write, True)

    def taken():
        drain()
        return [json.loads(line) for line in bytes(received).splitlines()]

    def refuse():
        nonlocal read
        os.close(read)
        read = -1

    try:
        yield Rig(
            LogWriter(LogStream("standard output", write), TIMEOUT),
            taken,
            stall,
            drain,
            refuse,
            TIMEOUT,
            {"nobody reads any more": (refuse, Outcome.RETRY)},
        )
    finally:
        if read >= 0:
            drain()
            await asyncio.to_thread(until_written)
            os.close(read)
        os.close(write)
