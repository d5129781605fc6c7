"""Receivers that misbehave: no false yes, no late error, no unbounded memory."""

import asyncio
import gc
import gzip
import itertools
import socket
import struct
import threading
import time
import tracemalloc
from contextlib import suppress

import anyio
import pytest

from monitor import sinks
from monitor.errors import SendError, SendReason
from tests.contracts.sink_kit import event, receiving, replying, webhook
from tests.ports import free_port

DEADLINE = 0.6
PATIENT = 20.0
"""The deadline where an answer comes: a busy machine must not miss it."""
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


async def half_open(writer, _request):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
    writer.write_eof()
    await asyncio.sleep(30)


async def late(writer, request):
    await asyncio.sleep(DEADLINE * 1.5)
    await replying(200)(writer, request)


OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = b"Content-Length: 0\r\n\r\n"
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
    "a header name with a space": raw(OK + b"Bad Name: x\r\n" + EMPTY),
    "a header without a colon": raw(OK + b"BadHeader\r\n" + EMPTY),
    "a length and chunks at once": raw(
        OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc"
    ),
    "a length with a sign": raw(OK + b"Content-Length: +5\r\n\r\nhello"),
    "an answer of HTTP/0.9": raw(b"<html>200 OK</html>"),
    "a version of its own": raw(b"HTTP/9.9 200 OK\r\n" + EMPTY),
    "a switch of protocols": raw(
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", then="stay"
    ),
    "half an answer, and an end of sending": half_open,
    "a yes after the deadline": late,
    "silence": raw(then="stay"),
}


async def attempt(answer, deadline=DEADLINE):
    """Return the error of one send, and check its time and memory."""
    async with receiving(answer) as receiver:
        settings = webhook(receiver.url, timeout=f"{deadline}s")
        async with sinks.open_sink("ops", settings) as sink:
            tracemalloc.start()
            started = time.monotonic()
            try:
                with anyio.fail_after(deadline + 60):
                    await sink.send([event()])
            except SendError as error:
                return error
            finally:
                took, (_, peak) = time.monotonic() - started, tracemalloc.get_traced_memory()
                tracemalloc.stop()
                assert took < deadline + 20
                assert peak < 8 * MEGABYTE
    return None


@pytest.mark.parametrize("answer", NO_YES.values(), ids=NO_YES.keys())
async def test_a_broken_reply_is_a_failure_that_is_tried_again(answer):
    error = await attempt(answer)
    assert error is not None
    assert error.reason in {SendReason.CONNECTION, SendReason.TIMEOUT}
    assert error.message.startswith("http://127.0.0.1")


def test_there_are_enough_broken_replies():
    assert len(NO_YES) >= 25
    assert len({id(answer) for answer in NO_YES.values()}) == len(NO_YES)


async def test_the_sink_is_usable_after_each_broken_reply():
    async with receiving() as receiver:
        settings = webhook(receiver.url, timeout="200ms")
        async with sinks.open_sink("ops", settings) as sink:
            for answer in NO_YES.values():
                receiver.answer = answer
                with anyio.fail_after(60), pytest.raises(SendError):
                    await sink.send([event()])
                receiver.answer = replying(200)
                await _sent_at_last(sink)


async def _sent_at_last(sink):
    """Send until it is taken: a busy machine may miss so short a deadline."""
    with anyio.fail_after(60):
        while True:
            try:
                return await sink.send([event()])
            except SendError as error:
                if error.reason is not SendReason.TIMEOUT:
                    raise


@pytest.mark.parametrize(
    "head",
    [
        OK + b"Content-Length: 99999999999\r\n\r\n",
        OK + b"\r\n",
        OK + b"Content-Encoding: gzip\r\n\r\n",
    ],
)
async def test_of_an_endless_body_only_the_start_is_read(head):
    assert await attempt(flooding(head, b"a" * 65536), PATIENT) is None


async def test_a_gzip_bomb_is_not_unpacked():
    bomb = gzip.compress(b"0" * 50 * MEGABYTE, compresslevel=1)
    head = b"HTTP/1.1 400 No\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    error = await attempt(raw(head, bomb), PATIENT)
    assert error.message == "http://127.0.0.1 answered 400"


async def test_a_huge_body_of_a_refusal_is_a_refusal():
    error = await attempt(flooding(b"HTTP/1.1 400 No\r\n\r\n", b"no " * 20_000), PATIENT)
    assert error.reason is SendReason.REJECTED
    assert error.message.startswith("http://127.0.0.1 answered 400: no no")


async def test_a_receiver_that_does_not_read_is_a_timeout():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        settings = webhook(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout=f"{DEADLINE}s")
        async with sinks.open_sink("ops", settings) as sink:
            with anyio.fail_after(60), pytest.raises(SendError) as caught:
                await sink.send([{**event(), "data": "x" * 1_000_000}])
    assert caught.value.reason is SendReason.TIMEOUT


async def test_a_closed_port_is_a_connection_failure():
    url = f"http://127.0.0.1:{free_port()}/"
    async with sinks.open_sink("ops", webhook(url)) as sink:
        with pytest.raises(SendError) as caught:
            await sink.send([event()])
    assert caught.value.reason is SendReason.CONNECTION
    assert "Connect" in caught.value.message


async def test_an_unknown_name_is_a_connection_failure():
    async with sinks.open_sink("ops", webhook("https://nowhere.invalid/", timeout="30s")) as sink:
        with pytest.raises(SendError) as caught:
            await sink.send([event()])
    assert caught.value.reason is SendReason.CONNECTION
    assert caught.value.message == "https://nowhere.invalid: its name cannot be resolved"


async def test_half_a_connection_is_enough_for_a_whole_yes():
    async def answer(writer, _request):
        writer.write(OK + EMPTY)
        writer.write_eof()
        await asyncio.sleep(30)

    assert await attempt(answer, PATIENT) is None


async def test_a_304_and_a_redirect_to_a_metadata_service_are_refusals():
    for head in (b"HTTP/1.1 304 Not Modified\r\n\r\n", b"HTTP/1.1 302 Found\r\n"):
        place = b"Location: http://169.254.169.254/latest/\r\nContent-Length: 0\r\n\r\n"
        error = await attempt(raw(head if b"304" in head else head + place), PATIENT)
        assert error.reason is SendReason.REJECTED


async def test_a_header_that_injects_lines_into_the_message_does_not():
    error = await attempt(
        raw(b"HTTP/1.1 400 No\r\nContent-Length: 9\r\n\r\na\r\nb: c\x1b["), PATIENT
    )
    assert error.message == "http://127.0.0.1 answered 400: a b: c["


@pytest.mark.parametrize(
    "surplus",
    [
        OK + EMPTY,
        (OK + EMPTY) * 50,
        b"HTTP/1.1 500 No\r\n" + EMPTY,
    ],
    ids=["a second yes", "fifty of them", "a no"],
)
@pytest.mark.parametrize("head", [OK + EMPTY, b"HTTP/1.1 204 No Content\r\n\r\n"])
async def test_what_comes_after_an_answer_is_none_to_the_next_request(head, surplus):
    """Each connection has an answer of 200 in store; the receiver then refuses everything."""

    async def twice(writer, _request):
        writer.write(head + surplus)
        await writer.drain()

    async with receiving(twice) as receiver, sinks.open_sink("ops", webhook(receiver.url)) as sink:
        await sink.send([event(sequence=1)])
        receiver.answer = replying(400)
        with pytest.raises(SendError):
            await sink.send([event(sequence=2)])
        assert len(receiver.requests) == 2
        assert receiver.connections == 2


async def test_a_late_surplus_on_an_idle_connection_is_no_answer_either():
    async def later(writer, _request):
        writer.write(OK + EMPTY)
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.write(OK + EMPTY)
        await writer.drain()

    async with receiving(later) as receiver, sinks.open_sink("ops", webhook(receiver.url)) as sink:
        await sink.send([event(sequence=1)])
        await asyncio.sleep(0.3)
        receiver.answer = replying(400)
        with pytest.raises(SendError):
            await sink.send([event(sequence=2)])


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_an_answer_before_the_request_is_none():
    """A yes to nothing: the receiver never reads what it is sent."""

    def hasty():
        connection, _ = server.accept()
        connection.send(OK + EMPTY)
        time.sleep(DEADLINE * 2)
        connection.close()

    server = socket.create_server(("127.0.0.1", 0))
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    thread = threading.Thread(target=hasty, daemon=True)
    thread.start()
    settings = webhook(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=f"{DEADLINE}s")
    big = {**event(), "data": "x" * 16 * MEGABYTE}  # more than the system's buffers hold
    async with sinks.open_sink("ops", settings) as sink:
        with anyio.fail_after(60), pytest.raises(SendError) as caught:
            await sink.send([big])
    assert caught.value.reason in {SendReason.CONNECTION, SendReason.TIMEOUT}
    await asyncio.to_thread(thread.join, 30)
    server.close()


@pytest.mark.parametrize("said", [b"", b"\x15\x03\x01\x00\x02\x02\x28", OK + EMPTY])
async def test_a_tls_handshake_that_breaks_off_is_a_connection_failure(said):
    async def serve(reader, writer):
        await reader.read(100)
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with sinks.open_sink("ops", webhook(url, timeout=f"{PATIENT}s")) as sink:
        with anyio.fail_after(60), pytest.raises(SendError) as caught:
            await sink.send([event()])
    assert caught.value.reason is SendReason.CONNECTION
    server.close()


async def test_a_tls_handshake_that_never_ends_is_a_timeout():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        async with sinks.open_sink("ops", webhook(url, timeout=f"{DEADLINE}s")) as sink:
            with anyio.fail_after(60), pytest.raises(SendError) as caught:
                await sink.send([event()])
    assert caught.value.reason is SendReason.TIMEOUT


async def test_memory_stays_flat_over_many_hostile_answers():
    long = raw(OK + b"\r\n" + b"a" * 200_000)
    answers = [long, raw(b"\x00" * 200_000), raw(), raw(OK + b"X: y")]
    async with receiving() as receiver, sinks.open_sink("ops", webhook(receiver.url)) as sink:
        sizes = []
        tracemalloc.start()
        for round_ in range(120):
            receiver.answer = answers[round_ % len(answers)]
            with suppress(SendError):
                await sink.send([event()])
            receiver.requests.clear()
            if round_ in {39, 119}:
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < MEGABYTE
