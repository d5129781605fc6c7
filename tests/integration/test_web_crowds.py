"""Connections that ask for nothing, never end, or are too many: others are served meanwhile."""

import asyncio
import io
import json
import logging
import socket
import struct
from contextlib import asynccontextmanager

import aiohttp
import anyio
import pytest
from aiohttp import web

from monitor import logs
from monitor.model import Phase
from monitor.web import descriptors
from monitor.web import server as web_server
from monitor.web.api import jobs as web_jobs
from monitor.web.api import params
from monitor.web.auth import Guard
from monitor.web.connections import Connections
from tests.web_kit import KEY, open_site, raw

TOKEN = "0123456789abcdef-of-a-test"


def address(url):
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


@asynccontextmanager
async def small(most=8, **paths):
    """Serve a page and the handlers of ``paths``, for at most so many connections."""
    closed: list[str] = []
    connections = Connections(most, closed.append)
    app = web.Application()

    async def page(_request):
        return web.Response(text="fine")

    app.router.add_get("/", page)
    for name, handler in paths.items():
        app.router.add_get(f"/{name}", handler)
    with anyio.fail_after(90):
        async with web_server.serving(app, "127.0.0.1", 0, None, connections) as url:
            yield address(url), connections, closed


async def asks(at, path="/"):
    """Ask on a connection of its own; return the status."""
    reader, writer = await asyncio.open_connection(*at)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    line = await reader.readline()
    return (reader, writer), line[9:12]


async def until(condition):
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110 -- a server brings it about
            await anyio.sleep(0.01)


async def test_the_longest_idle_connection_makes_room_for_a_new_one():
    async with small(most=8) as (at, connections, closed):
        idle = []
        for _ in range(30):
            idle.append(await asyncio.open_connection(*at))
            (_, writer), status = await asks(at)
            assert status == b"200", "a probe is answered however many are idle"
            writer.close()
        await until(lambda: connections.count() <= 8)
        assert closed.count("crowded") >= 20
        reader, _ = idle[0]
        assert await reader.read() == b"", "the first one is gone"
        newest, writer = idle[-1]
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await newest.readline())[9:12] == b"200", "the newest is still there"
        for _, each in idle:
            each.close()


async def test_a_connection_that_was_used_of_late_is_kept_before_one_that_was_not():
    async with small(most=3) as (at, _, _):
        (used, writer), _ = await asks(at)
        others = [await asyncio.open_connection(*at) for _ in range(2)]
        await used.readuntil(b"fine")
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await used.readuntil(b"fine")
        others.append(await asyncio.open_connection(*at))
        assert await others[0][0].read() == b""
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await used.readuntil(b"fine")
        for _, each in [*others, (used, writer)]:
            each.close()


async def test_none_that_is_being_served_gives_way_and_the_next_is_refused():
    release, served_now = anyio.Event(), []

    async def slow(_request):
        served_now.append(1)
        await release.wait()
        return web.Response(text="slow")

    async with small(most=4, slow=slow) as (at, connections, closed):
        served = [asyncio.create_task(asks(at, "/slow")) for _ in range(4)]
        await until(lambda: connections.count() == len(served_now) == 4)
        reader, refused = await asyncio.open_connection(*at)
        assert await _end(reader) == b""
        refused.close()
        assert closed == ["refused"]
        release.set()
        for (_, writer), status in await asyncio.gather(*served):
            assert status == b"200"
            writer.close()


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_that_does_not_come_in_time_is_not_waited_for(monkeypatch, sent):
    monkeypatch.setattr(web_server, "HEAD_WITHIN", 0.2)
    monkeypatch.setattr(web_server, "CHECK_EVERY", 0.05)
    async with small() as (at, connections, closed):
        reader, writer = await asyncio.open_connection(*at)
        writer.write(sent)
        assert await _end(reader) == b""
        await until(lambda: not connections.count())
        assert closed == ["head"]
        writer.close()


async def test_a_head_that_drips_is_not_waited_for_either(monkeypatch):
    monkeypatch.setattr(web_server, "HEAD_WITHIN", 1.0)
    monkeypatch.setattr(web_server, "CHECK_EVERY", 0.05)
    async with small() as (at, _, closed):
        (reader, writer), status = await asks(at)
        assert status == b"200"
        await reader.readuntil(b"fine")
        writer.write(b"GET / HTTP/1.1\r\n")
        while not writer.is_closing():
            writer.write(b"X")
            await anyio.sleep(0.05)
        assert closed == ["head"]


async def test_an_idle_connection_is_closed(monkeypatch):
    monkeypatch.setattr(web_server, "IDLE_WITHIN", 1.0)
    monkeypatch.setattr(web_server, "CHECK_EVERY", 0.05)
    async with small() as (at, connections, _):
        (reader, writer), _ = await asks(at)
        await reader.readuntil(b"fine")
        assert await _end(reader) == b""
        await until(lambda: not connections.count())
        writer.close()


async def test_who_does_not_read_the_answer_is_cut_off(monkeypatch):
    monkeypatch.setattr(web_server, "TAKEN_WITHIN", 0.3)
    monkeypatch.setattr(web_server, "CHECK_EVERY", 0.05)

    async def large(_request):
        return web.Response(body=b"x" * 20_000_000)

    async with small(large=large) as (at, connections, closed):
        with socket.create_connection(at) as client:
            client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: closed == ["answer"])
            await until(lambda: not connections.count())


async def test_who_does_not_read_the_answer_gives_way_in_a_crowd(monkeypatch):
    monkeypatch.setattr(web_server, "SLOW_AFTER", 0.1)

    async def large(_request):
        return web.Response(body=b"x" * 20_000_000)

    async with small(most=1, large=large) as (at, _, closed):
        with socket.create_connection(at) as client:
            client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            status = b""
            while status != b"200":  # refused until the answer has waited for long enough
                await anyio.sleep(0.5)
                (_, writer), status = await asks(at)
                writer.close()
            assert closed[-1] == "crowded"
            assert set(closed[:-1]) <= {"refused"}


async def test_a_lack_of_descriptors_ends_nothing_and_does_not_spin(monkeypatch):
    loop = asyncio.get_running_loop()
    real, tries = loop.sock_accept, []

    async def none_left(bound):
        tries.append(loop.time())
        if len(tries) < 4:
            raise OSError(24, "Too many open files")
        return await real(bound)

    monkeypatch.setattr(loop, "sock_accept", none_left)
    async with small() as (at, _, _):
        (_, writer), status = await asks(at)
        assert status == b"200"
        writer.close()
    assert tries[3] - tries[0] > 2 * web_server.ACCEPT_PAUSE


async def _end(reader):
    try:
        return await reader.read()
    except ConnectionError:
        return b""


# Bodies


@asynccontextmanager
async def site_with_token(tmp_path):
    """Serve the API, let whoever has the token write, and keep what is logged."""
    (tmp_path / "token").write_text(TOKEN)
    stream = io.StringIO()
    handlers = logging.getLogger().handlers[:]
    logs.configure("json", "debug", stream)
    try:
        guard = Guard(token_files=[tmp_path / "token"])
        async with open_site(tmp_path, guard=guard) as site:
            yield site, lambda: [json.loads(each) for each in stream.getvalue().splitlines()]
    finally:
        logging.getLogger().handlers[:] = handlers


def head(length, more=""):
    return (
        f"POST /api/v1/replay HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\n{more}{length}\r\n\r\n"
    ).encode()


LENGTHS = ["Content-Length: 100", "Transfer-Encoding: chunked"]


@pytest.mark.parametrize("length", LENGTHS)
async def test_a_body_that_never_comes_is_answered_with_408_and_closed(
    tmp_path, monkeypatch, length
):
    monkeypatch.setattr(params, "BODY_WITHIN", 0.2)
    monkeypatch.setattr(web_server, "LINGER", 0.1)
    async with site_with_token(tmp_path) as (site, _):
        with anyio.fail_after(60):
            reply = await raw(site.url, head(length))
    assert reply.startswith(b"HTTP/1.1 408 ")
    assert b"Connection: close" in reply
    assert json.loads(reply.split(b"\r\n\r\n")[1])["detail"].startswith("the body did not arrive")


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("reset", [True, False])
async def test_a_client_that_aborts_its_request_is_a_debug_line(tmp_path, length, reset):
    async with site_with_token(tmp_path) as (site, logged):

        def aborted():
            return any(each["event"] == logs.REQUEST_ABORTED for each in logged())

        # A busy server may not have read the head before the end: then there was no request.
        for patience in (0.1, 1.0, 10.0):
            with socket.create_connection(address(site.url)) as client:
                if reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.send(head(length))
                await anyio.sleep(patience)
            with anyio.move_on_after(5):
                await until(aborted)
            if aborted():
                break
        assert aborted()
    assert {each["level"] for each in logged()} == {"debug"}


async def test_a_broken_chunk_is_its_clients_mistake(tmp_path):
    async with site_with_token(tmp_path) as (site, logged):
        with anyio.fail_after(60):
            reply = await raw(site.url, head("Transfer-Encoding: chunked") + b"zz\r\nno chunk\r\n")
    assert reply[9:12] == b"400"
    assert {each["level"] for each in logged()} <= {"debug"}


# Streams and waiters


async def test_streams_and_waiters_leave_connections_for_others(tmp_path):
    async with open_site(tmp_path, parts={"connections": 8}) as site:
        await site.record()
        key = KEY.format(1)
        async with aiohttp.ClientSession(site.url) as session:
            streams = [await session.get("/api/v1/events") for _ in range(3)]
            assert [each.status for each in streams] == [200, 200, 503]
            path = f"/api/v1/jobs/{key}/wait?timeout=2m"
            waiting = [asyncio.create_task(site.ask(path)) for _ in range(5)]
            refused, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            status, problem = await refused.pop()
            assert (status, problem["detail"]) == (503, "too many wait already")
            assert (await site.ask("/api/v1/status"))[0] == 200
            await site.record(1, 2, phase=Phase.SUCCEEDED)
            assert sorted([(await each)[0] for each in waiting]) == [200] * 4 + [503]
            for stream in streams:
                stream.close()


async def test_nobody_waits_for_a_client_that_has_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(web_jobs, "NOTICE_GONE", 0.1)
    async with open_site(tmp_path, parts={"connections": 2}) as site:
        await site.record()
        path = f"/api/v1/jobs/{KEY.format(1)}/wait?timeout=60s"
        with socket.create_connection(address(site.url)) as client:
            client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await until(lambda: site.news._of)
            assert (await site.ask(path))[0] == 503
        with anyio.fail_after(50):
            while (await site.ask(path.replace("60s", "10ms")))[0] != 200:  # noqa: ASYNC110
                await anyio.sleep(0.05)


@pytest.mark.parametrize(
    ("limit", "configured", "most"),
    [
        (1024, None, 768),
        (1024, 300, 300),
        (1024, 5000, 768),
        (256, None, 128),
        (65536, None, 1024),
        (65536, 20_000, 20_000),
        (4, None, 2),
    ],
)
def test_a_part_of_the_descriptors_is_kept_back(limit, configured, most):
    assert descriptors.connections(limit, configured) == most
