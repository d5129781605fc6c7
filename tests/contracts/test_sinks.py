"""What every sink keeps to, over real files, pipes and sockets."""

import asyncio
import fcntl
import json
import os
import threading
import time
import traceback
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from monitor import config, sinks
from monitor.errors import PartialSendError, SendError, SendReason
from monitor.interfaces import Sink
from monitor.model import Kind
from monitor.sinks.log import Log
from monitor.sinks.output import Stream
from tests.contracts import aws_rigs
from tests.contracts.sink_kit import (
    check,
    event,
    limited_files,
    receiving,
    replying,
    stalling,
    webhook,
)
from tests.integration.sources_server import SECRET_KEY, clean_environment

TIMEOUT = 0.4
PLANTED = ("path-planted-1", "query-planted-2", "header-planted-3", "file-planted-4")
SECRET = "whsec_cGxhbnRlZC1zZWNyZXQtMDEyMzQ1Njc4OWFi"


@dataclass
class Rig:
    """A sink and the other side of it."""

    sink: Sink
    taken: Any
    stall: Any
    resume: Any
    refuse: Any
    deadline: float = TIMEOUT


@asynccontextmanager
async def webhook_rig(tmp_path):
    (tmp_path / "key").write_text(SECRET)
    (tmp_path / "header").write_text(f"Bearer {PLANTED[3]}\n")

    async def take(writer, request):
        taken.append(request.body)
        await replying()(writer, request)

    async def echo(writer, request):
        text = f"{request.line}\n{request.headers}".encode()
        await replying(503, text)(writer, request)

    taken: list[bytes] = []
    async with receiving(take) as receiver:
        settings = webhook(
            f"{receiver.url}/{PLANTED[0]}?key={PLANTED[1]}",
            secret_files=[str(tmp_path / "key")],
            headers={"X-Team": PLANTED[2]},
            header_files={"Authorization": str(tmp_path / "header")},
            timeout=f"{TIMEOUT}s",
        )
        async with sinks.open_sink("rig", settings) as sink:
            yield Rig(
                sink,
                lambda: [json.loads(body) for body in taken],
                lambda: setattr(receiver, "answer", stalling),
                lambda: setattr(receiver, "answer", take),
                lambda: setattr(receiver, "answer", echo),
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
        )
    if path.is_fifo():
        release_writer(path)


def release_writer(path):
    """Let a thread that waits for a reader of ``path`` come to its end."""
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    deadline = time.monotonic() + 5
    while any(t.name == "log-sink" for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.close(reader)


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
        yield Rig(Log(Stream("standard output", write), TIMEOUT), taken, stall, drain, refuse)
    finally:
        if read >= 0:
            drain()
            await asyncio.sleep(0.05)
            os.close(read)
        os.close(write)


RIGS = {"webhook": webhook_rig, "file": file_rig, "pipe": pipe_rig}


@pytest.fixture(params=[*RIGS, *aws_rigs.KINDS])
def rigged(request, tmp_path, monkeypatch):
    kind = request.param
    if kind in RIGS:
        return lambda: RIGS[kind](tmp_path)
    clean_environment(monkeypatch, tmp_path)
    moto = request.getfixturevalue("moto")
    return lambda: aws_rigs.aws_rig(kind, moto)


@pytest.fixture(autouse=True)
async def _limit():
    """No test of this suite takes long, and none leaves a thread behind."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < 10
    for thread in threading.enumerate():
        if thread.name == "log-sink":
            thread.join(2)
            assert not thread.is_alive()


async def failure_of(sink, *batch):
    with anyio.fail_after(5), pytest.raises(SendError) as caught:
        await sink.send(list(batch))
    return caught.value


@pytest.mark.parametrize("kind", Kind)
async def test_an_event_of_each_kind_arrives_whole(rigged, kind):
    async with rigged() as rig:
        await rig.sink.send([event(kind)])
        (arrived,) = rig.taken()
        assert arrived == event(kind)
        check(arrived)


async def test_events_arrive_in_the_order_in_which_they_are_sent(rigged):
    async with rigged() as rig:
        sent = []
        for number in range(1, 31):
            sent.append(event(sequence=number))
            await rig.sink.send([sent[-1]])
            assert rig.taken() == sent


async def test_a_full_batch_is_taken_at_once(rigged):
    async with rigged() as rig:
        size = min(rig.sink.batch_size, 4)  # what a pipe holds that nobody reads
        batch = [event(job_id=f"job-{n}", reason="") for n in range(size)]
        await rig.sink.send(batch)
        assert rig.taken() == batch


async def test_the_same_event_is_the_same_on_every_attempt(rigged):
    async with rigged() as rig:
        for _ in range(3):
            await rig.sink.send([event()])
        assert len({item["id"] for item in rig.taken()}) == 1
        assert rig.taken() == [event()] * 3


async def test_concurrent_events_do_not_mix(rigged):
    async with rigged() as rig:
        sent = [event(job_id=f"job-{n}", reason="") for n in range(4)]
        await asyncio.gather(*(rig.sink.send([item]) for item in sent))
        assert sorted(item["subject"] for item in rig.taken()) == [e["subject"] for e in sent]


async def test_a_stalled_receiver_is_a_timeout_within_the_deadline(rigged):
    async with rigged() as rig:
        rig.stall()
        started = time.monotonic()
        failure = await failure_of(rig.sink, event())
        assert failure.reason is SendReason.TIMEOUT
        assert failure.reason.retryable
        assert rig.deadline * 0.9 < time.monotonic() - started < rig.deadline + 0.4
        rig.resume()


async def test_a_stalled_receiver_does_not_stop_the_event_loop(rigged):
    async with rigged() as rig:
        rig.stall()
        attempt = asyncio.create_task(failure_of(rig.sink, event()))
        gaps = []
        while not attempt.done():
            before = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - before)
        assert (await attempt).reason is SendReason.TIMEOUT
        assert max(gaps) < 0.2
        rig.resume()


async def test_after_a_stall_the_next_attempt_is_taken(rigged):
    async with rigged() as rig:
        rig.stall()
        for _ in range(2):
            assert (await failure_of(rig.sink, event())).reason is SendReason.TIMEOUT
        rig.resume()
        with anyio.fail_after(5):
            await rig.sink.send([event()])
        assert rig.taken()
        assert all(item == event() for item in rig.taken())


async def test_a_cancelled_attempt_ends_at_once_and_breaks_nothing(rigged):
    async with rigged() as rig:
        rig.stall()
        attempt = asyncio.create_task(rig.sink.send([event(sequence=1)]))
        await asyncio.sleep(0.1)
        started = time.monotonic()
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        assert time.monotonic() - started < 0.2
        rig.resume()
        with anyio.fail_after(5):
            await rig.sink.send([event(sequence=2)])
        assert rig.taken()[-1] == event(sequence=2)


async def test_a_refusal_is_told_as_one(rigged):
    async with rigged() as rig:
        rig.refuse()
        failure = await failure_of(rig.sink, event())
        assert not isinstance(failure, PartialSendError)
        assert failure.reason.retryable
        assert failure.message


async def test_no_error_holds_a_secret(rigged):
    async with rigged() as rig:
        rig.stall()
        failures = [await failure_of(rig.sink, event())]
        rig.resume()
        rig.refuse()
        failures.append(await failure_of(rig.sink, event()))
        for failure in failures:
            told = "".join(traceback.format_exception(failure)) + repr(failure) + repr(rig.sink)
            assert not [secret for secret in (*PLANTED, SECRET[6:], SECRET_KEY) if secret in told]
            assert failure.__context__ is None or failure.__suppress_context__


async def test_a_batch_of_which_a_part_was_taken_names_the_rest(tmp_path):
    path = tmp_path / "events.log"
    batch = [event(job_id=f"job-{n}") for n in range(3)]
    async with sinks.open_sink("audit", config.LogSink(type="log", path=str(path))) as sink:
        await sink.send(batch[:1])
        with (
            limited_files(path.stat().st_size * 2 + 10),
            pytest.raises(PartialSendError) as caught,
        ):
            await sink.send(batch)
        await sink.send(batch[1:])
    assert list(caught.value.failures) == [item["id"] for item in batch[1:]]
    assert all(f.reason is SendReason.CONNECTION for f in caught.value.failures.values())
    lines = path.read_text().splitlines()
    assert [json.loads(line) for line in (*lines[:2], *lines[3:])] == [batch[0], *batch]
    assert len(lines[2]) == 10, "the torn line stands alone"


async def test_a_line_that_was_given_up_half_way_does_not_mix_with_the_next(tmp_path):
    long = [event(job_id=f"job-{n}", reason=f"{n}" * 20_000) for n in range(2)]
    async with pipe_rig(tmp_path) as rig:
        assert (await failure_of(rig.sink, long[0])).reason is SendReason.TIMEOUT
        attempt = asyncio.create_task(rig.sink.send([long[1]]))
        with anyio.fail_after(5):
            while not attempt.done():
                await asyncio.sleep(0.01)
                rig.resume()
        await attempt
        assert rig.taken() == long
