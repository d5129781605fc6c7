"""Answers of AWS without end, or made to keep the program busy."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import time
import tracemalloc
from contextlib import asynccontextmanager

import anyio
import pytest

from monitor.aws import lenient_parser, response_body
from monitor.errors import PollError, PollReason
from tests.integration.sources_server import (
    IMPORTEXPORT,
    OK_PANORAMA,
    PANORAMA,
    aws,
    clean_environment,
    job,
    raw_server,
    sources,
)

MIB = 1024 * 1024
BOTH = [PANORAMA, IMPORTEXPORT]
LONGEST_STALL = 0.2


pytestmark = pytest.mark.usefixtures("both_paths")


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch, tmp_path):
    clean_environment(monkeypatch, tmp_path)


class Endless:
    """A chunked body that goes on until the connection is gone."""

    def __init__(self, status: str, piece: bytes = b" " * MIB) -> None:
        self.sent = 0
        self.closed = asyncio.Event()
        self._piece = piece
        head = f"HTTP/1.1 {status}\r\nx-amzn-requestid: r-1\r\n"
        self._head = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        writer.write(self._head)
        try:
            while True:
                writer.write(b"%x\r\n%b\r\n" % (len(self._piece), self._piece))
                await writer.drain()
                self.sent += len(self._piece)
        except ConnectionError:
            self.closed.set()
            raise


async def refused(source, name, *, lists):
    with anyio.fail_after(90), pytest.raises(PollError) as caught:
        await (source[name].page(None) if lists else source[name].describe(job(name, "EX1ID")))
    return caught.value


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("lists", [False, True], ids=["describe", "list"])
@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "500 Internal Server Error"])
async def test_a_body_without_end_is_read_no_further_than_its_bound(name, lists, status):
    endless = Endless(status)
    async with raw_server() as server, sources(server.url) as source:
        server.answer = endless
        tracemalloc.start()
        try:
            found = await refused(source, name, lists=lists)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        with anyio.fail_after(90):
            await endless.closed.wait()

        server.answer = aws(OK_PANORAMA)
        if name == PANORAMA:
            seen = await source[name].describe(job(name, "ok"))
            assert seen.parts == {"Status": "SUCCEEDED"}

    assert (found.reason, found.code) == (PollReason.MALFORMED, "AnswerTooLarge")
    assert (found.status, found.hint) == (int(status[:3]), "the response is longer than 8 MiB")
    assert 4 * MIB < endless.sent < 40 * MIB
    assert peak < 60 * MIB


async def test_a_body_that_says_that_it_is_too_long_is_not_read():
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (response_body.LARGEST + 1))
        await writer.drain()

    async with raw_server() as server, sources(server.url) as source:
        server.answer = answer
        found = await refused(source, PANORAMA, lists=False)

    assert (found.reason, found.code) == (PollReason.MALFORMED, "AnswerTooLarge")


async def test_a_body_that_grows_when_it_is_unpacked_is_not_unpacked():
    bomb = gzip.compress(OK_PANORAMA.encode() + b" " * (40 * MIB), 1)
    async with raw_server() as server, sources(server.url) as source:
        server.answer = aws("").replace(b"Content-Length: 0\r\n", b"")[:-2] + (
            b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(bomb), bomb)
        )
        began = time.monotonic()
        found = await refused(source, PANORAMA, lists=False)

    assert found.reason is PollReason.MALFORMED
    assert time.monotonic() - began < 2


async def test_a_body_within_its_bound_is_read():
    padded = OK_PANORAMA + " " * (response_body.LARGEST - len(OK_PANORAMA))
    async with raw_server() as server, sources(server.url) as source:
        server.answer = aws(padded)
        seen = await source[PANORAMA].describe(job(PANORAMA, "ok"))

    assert seen.parts == {"Status": "SUCCEEDED"}


def rows(count, **more):
    row = {"Status": "PENDING", "StatusMessage": "m" * 40, "LastUpdatedTime": 1748433661, **more}
    return json.dumps({"PackageImportJobs": [{"JobId": f"j{n}", **row} for n in range(count)]})


def status(inner):
    return f"<GetStatusResponse><GetStatusResult>{inner}</GetStatusResult></GetStatusResponse>"


def full(text):
    return text * ((response_body.LARGEST - 1000) // len(text))


BILLION = (
    "<!DOCTYPE x [<!ENTITY a 'ha'>"
    + "".join(f"<!ENTITY b{n} '{f'&b{n - 1};' * 10 if n else '&a;' * 10}'>" for n in range(9))
    + "]>"
    + status("<JobId>&b8;</JobId>")
)
BUSY = {
    "many rows": (PANORAMA, True, lambda: rows(50_000)),
    "the same row": (PANORAMA, True, lambda: rows(20_000, JobId="j")),
    "short values": (PANORAMA, True, lambda: '{"PackageImportJobs": [' + full("[],") + "null]}"),
    "numbers": (PANORAMA, True, lambda: '{"PackageImportJobs": [' + full("1,") + "1]}"),
    "names": (PANORAMA, True, lambda: '{"PackageImportJobs": [{' + full('"":"",') + '"":""}]}'),
    "escapes": (
        PANORAMA,
        False,
        lambda: '{"JobId": "' + full("\\u00e4") + '", "Status": "FAILED"}',
    ),
    "one long text": (PANORAMA, False, lambda: f'{{"JobId": "EX1ID", "Status": "{full("a ")}"}}'),
    "one long number": (PANORAMA, False, lambda: '{"JobId": ' + full("1") + "}"),
    "deep JSON": (PANORAMA, False, lambda: '{"JobId": ' + full("[")),
    "a little deep": (PANORAMA, False, lambda: '{"JobTags": ' + "[" * 30_000 + "]" * 30_000 + "}"),
    "many elements": (IMPORTEXPORT, False, lambda: status(full("<a/>"))),
    "deep XML": (IMPORTEXPORT, False, lambda: status(full("<a>"))),
    "one long element": (IMPORTEXPORT, False, lambda: status(f"<JobId>{full('x')}</JobId>")),
    "attributes": (
        IMPORTEXPORT,
        False,
        lambda: status("<a " + " ".join(f"b{n}=''" for n in range(600_000)) + "/>"),
    ),
    "just few enough values": (
        PANORAMA,
        True,
        lambda: '{"PackageImportJobs": [' + "[]," * 74_000 + "null]}",
    ),
    "just few enough bad rows": (
        PANORAMA,
        True,
        lambda: '{"PackageImportJobs": [' + "{}," * 9_999 + "{}]}",
    ),
    "just few enough elements": (IMPORTEXPORT, False, lambda: status("<a><b/></a>" * 49_000)),
    "entities": (IMPORTEXPORT, False, lambda: BILLION),
    "no XML": (IMPORTEXPORT, True, lambda: full("no ")),
}


@asynccontextmanager
async def stalls():
    """The longest that the event loop keeps a sleeper waiting, in seconds of this process' work.

    What other processes take of the machine meanwhile does not count, nor what the garbage
    collector has to do with all that the other tests have left.
    """
    gc.collect()
    gc.freeze()  # for good: to look through all that again, for each kind, takes half a second
    worst = [0.0]

    async def watch():
        while True:
            began = time.process_time()
            await asyncio.sleep(0.001)
            worst[0] = max(worst[0], time.process_time() - began)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.01)
    try:
        yield worst
    finally:
        await asyncio.sleep(0.01)
        watching.cancel()


@pytest.mark.parametrize("kind", BUSY)
async def test_an_answer_that_is_much_work_does_not_hold_up_others(kind):
    name, lists, make = BUSY[kind]
    body = make()
    assert len(body) <= response_body.LARGEST
    async with raw_server() as server, sources(server.url) as source:
        server.answer = aws(OK_PANORAMA if name == PANORAMA else status(""))
        if name == PANORAMA:
            await source[name].describe(job(name, "ok"))  # makes the client
        else:
            await refused(source, name, lists=False)
        server.answer = aws(body)
        async with stalls() as worst:
            found = await refused(source, name, lists=lists)

    assert found.reason is PollReason.MALFORMED
    assert 0 < worst[0] < LONGEST_STALL


@pytest.mark.parametrize("count", [1000, 9_900])
async def test_a_large_page_that_is_in_order_is_read(count):
    body = rows(count)
    assert len(body) > lenient_parser.LARGE
    async with raw_server() as server, sources(server.url) as source:
        server.answer = aws(OK_PANORAMA)
        await source[PANORAMA].describe(job(PANORAMA, "ok"))
        server.answer = aws(body)
        async with stalls() as worst:
            found = await source[PANORAMA].page(None)

    assert 0 < worst[0] < LONGEST_STALL
    assert len(found.rows) == count
    assert found.skipped == ()
