"""Receivers that misbehave: no false yes, no late error, no unbounded memory."""

import asyncio
import gzip
import itertools
import socket
import struct
import time
import tracemalloc

import anyio
import pytest

from monitor import sinks
from monitor.errors import SendError, SendReason
from tests.contracts.sink_kit import event, receiving, replying, webhook

DEADLINE = 0.6
MEGABYTE = 1024 * 1024


def raw(*parts, then="close"):
    """Answer with bytes as they are; then close, reset, or keep the connection open."""

    async def answer(writer, _request):
        for part in parts:
            writer.write(part)
            await writer.drain()
        if then == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        elif then == "close":
            writer.close()
        else:
            await asyncio.sleep(30)

    return answer


def flooding(first, more, pause=0.0):
    """Answer with ``first``, then with ``more`` for ever."""

    async def answer(writer, _request):
        writer.write(first)
        for _ in itertools.count():
            writer.write(more)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


async def late(writer, request):
    await asyncio.sleep(DEADLINE * 1.5)
    await replying(200)(writer, request)


OK = b"HTTP/1.1 200 OK\r\n"
NO_YES = {
    "a status line that is none": raw(b"HELLO WORLD\r\n\r\n"),
    "a status that is no number": raw(b"HTTP/1.1 2OO OK\r\n\r\n"),
    "a status of four digits": raw(b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    "another protocol": raw(b"220 mail.example ESMTP\r\n"),
    "an HTTP/2 preface": raw(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18),
    "zeros": raw(b"\x00" * 100_000),
    "nothing, then the end": raw(),
    "nothing, then a reset": raw(then="reset"),
    "half a status line": raw(b"HTTP/1.1 20"),
    "half a header": raw(OK + b"Content-Le"),
    "a reset in the headers": raw(OK + b"X: y\r\n", then="reset"),
    "headers without an end": flooding(OK, b"X-Header: value\r\n" * 100),
    "a header without an end": flooding(OK + b"X-Header: ", b"a" * 10_000),
    "a status line without an end": flooding(b"HTTP/1.1 200 ", b"a" * 10_000),
    "interim replies without an end": flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "a header that drips": flooding(OK, b"X: y\r\n", pause=0.05),
    "a body that drips": flooding(OK + b"Content-Length: 9999\r\n\r\n", b"a", pause=0.05),
    "chunks that drip": flooding(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", 0.05),
    "a body shorter than said": raw(OK + b"Content-Length: 100\r\n\r\nshort"),
    "a body that never comes": raw(OK + b"Content-Length: 100\r\n\r\n", then="stay"),
    "a length that is no number": raw(OK + b"Content-Length: many\r\n\r\n"),
    "a negative length": raw(OK + b"Content-Length: -5\r\n\r\n"),
    "two lengths": raw(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    "chunks that are none": raw(OK + b"Transfer-Encoding: chunked\r\n\r\nthis is no chunk\r\n"),
    "chunks without an end": raw(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    "a chunk of a huge size": raw(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n"),
    "trailers without an end": flooding(
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: value\r\n" * 100
    ),
    "a chunk extension without an end": flooding(
        OK + b"Transfer-Encoding: chunked\r\n\r\n5;", b"a" * 10_000
    ),
    "a header with a zero in it": raw(OK + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n"),
    "a yes after the deadline": late,
    "silence": raw(then="stay"),
}


async def attempt(answer, **more):
    """Return the error of one send, and check its time and memory."""
    async with receiving(answer) as receiver:
        settings = webhook(receiver.url, timeout=f"{DEADLINE}s", **more)
        async with sinks.open_sink("ops", settings) as sink:
            tracemalloc.start()
            started = time.monotonic()
            try:
                with anyio.fail_after(DEADLINE * 5):
                    await sink.send([event()])
            except SendError as error:
                return error
            finally:
                took, (_, peak) = time.monotonic() - started, tracemalloc.get_traced_memory()
                tracemalloc.stop()
                assert took < DEADLINE + 0.5
                assert peak < 8 * MEGABYTE
    return None


@pytest.mark.parametrize("answer", NO_YES.values(), ids=NO_YES.keys())
async def test_a_broken_reply_is_a_failure_that_is_tried_again(answer):
    error = await attempt(answer)
    assert error is not None
    assert error.reason in {SendReason.CONNECTION, SendReason.TIMEOUT}
    assert error.message.startswith("http://127.0.0.1")


async def test_the_sink_is_usable_after_each_broken_reply():
    async with receiving() as receiver:
        settings = webhook(receiver.url, timeout="200ms")
        async with sinks.open_sink("ops", settings) as sink:
            for answer in NO_YES.values():
                receiver.answer = answer
                with anyio.fail_after(5), pytest.raises(SendError):
                    await sink.send([event()])
                receiver.answer = replying(200)
                with anyio.fail_after(5):
                    await sink.send([event()])


@pytest.mark.parametrize(
    "head",
    [
        OK + b"Content-Length: 99999999999\r\n\r\n",
        OK + b"\r\n",
        OK + b"Content-Encoding: gzip\r\n\r\n",
    ],
)
async def test_of_an_endless_body_only_the_start_is_read(head):
    assert await attempt(flooding(head, b"a" * 65536)) is None


async def test_a_gzip_bomb_is_not_unpacked():
    bomb = gzip.compress(b"0" * 50 * MEGABYTE, compresslevel=1)
    head = b"HTTP/1.1 400 No\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    error = await attempt(raw(head, bomb))
    assert error.message == "http://127.0.0.1 answered 400"


async def test_a_huge_body_of_a_refusal_is_a_refusal():
    error = await attempt(flooding(b"HTTP/1.1 403 No\r\n\r\n", b"no " * 20_000))
    assert error.reason is SendReason.REJECTED
    assert error.message.startswith("http://127.0.0.1 answered 403: no no")


async def test_a_receiver_that_does_not_read_is_a_timeout():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        settings = webhook(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout=f"{DEADLINE}s")
        async with sinks.open_sink("ops", settings) as sink:
            with anyio.fail_after(5), pytest.raises(SendError) as caught:
                await sink.send([{**event(), "data": "x" * 1_000_000}])
    assert caught.value.reason is SendReason.TIMEOUT


async def test_a_closed_port_is_a_connection_failure():
    async with receiving() as receiver:
        url = receiver.url
    async with sinks.open_sink("ops", webhook(url)) as sink:
        with pytest.raises(SendError) as caught:
            await sink.send([event()])
    assert caught.value.reason is SendReason.CONNECTION
    assert "Connect" in caught.value.message


async def test_an_unknown_name_is_a_connection_failure():
    async with sinks.open_sink("ops", webhook("https://nowhere.invalid/", timeout="9s")) as sink:
        with pytest.raises(SendError) as caught:
            await sink.send([event()])
    assert caught.value.reason is SendReason.CONNECTION
    assert caught.value.message == "https://nowhere.invalid: its name cannot be resolved"
