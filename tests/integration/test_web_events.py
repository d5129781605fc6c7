"""Server-sent events and long polls on a real socket, over a real store."""

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import anyio
import orjson
import pytest

from monitor import logs
from monitor.errors import StoreError
from monitor.events import TYPE_PREFIX
from monitor.model import Phase
from monitor.web.api import history
from monitor.web.api import jobs as web_jobs
from monitor.web.api import stream as web_events
from monitor.web.problems import RefusedError
from tests.builders import until
from tests.contracts.store_examples import entry, snapshot
from tests.web_kit import KEY, Log, open_site

EVENTS = "/api/v1/events"


@pytest.fixture(autouse=True)
def _no_heartbeat_helps(monkeypatch):
    """Let a stream that has missed some news never come to know of it."""
    monkeypatch.setattr(web_events, "HEARTBEAT", 1000.0)


class Stream:
    """Reads what a server sends: the data of the events, and every id."""

    def __init__(self, content):
        self.content = content
        self.comments = []
        self.last_id = None

    async def event(self):
        """Return (id, kind, CloudEvent) of the next event."""
        found = {}
        while True:
            line = (await self.content.readline()).decode()
            assert line.endswith("\n"), "the stream ended"
            name, _, value = line.rstrip("\n").partition(": ")
            if name == "" and value:
                self.comments.append(value)
            elif name:
                found[name] = value
                self.last_id = found.get("id", self.last_id)
            elif "data" in found:
                return int(found["id"]), found["event"], orjson.loads(found["data"])
            else:
                found = {}

    async def until_heard(self, last_id):
        """Read until the reader has moved on so far, without an event."""
        with anyio.fail_after(60):
            while self.last_id != last_id or "heartbeat" not in self.comments:
                name, _, value = (
                    (await self.content.readline()).decode().rstrip("\n").partition(": ")
                )
                assert name != "data", value
                if name == "":
                    self.comments.append(value)
                elif name == "id":
                    self.last_id = value

    async def positions(self, count):
        return [(await self.event())[0] for _ in range(count)]


@asynccontextmanager
async def streaming(site, query="", **headers):
    async with site.session.get(f"{EVENTS}{query}", headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        yield Stream(response.content)


async def test_a_transition_is_streamed_when_it_is_committed(tmp_path):
    async with open_site(tmp_path) as site:
        await site.record(1)
        async with streaming(site) as stream:
            await site.record(1, 2)
            position, kind, event = await stream.event()
            assert (position, kind) == (2, "job.state_changed")
            assert event["type"] == TYPE_PREFIX + kind
            assert event["data"]["sequence"] == 2
            await site.record(2)
            assert (await stream.event())[0] == 3


async def test_a_stream_goes_on_where_the_last_one_broke_off(tmp_path):
    async with open_site(tmp_path) as site:
        for number in range(1, 6):
            await site.record(number)
        async with streaming(site, "?after=0") as stream:
            assert await stream.positions(3) == [1, 2, 3]
        async with streaming(site, "?after=0", **{"Last-Event-ID": "3"}) as stream:
            assert await stream.positions(2) == [4, 5]
            await site.record(6)
            assert await stream.positions(1) == [6]


async def test_a_long_history_is_streamed_without_gap_or_repeat(tmp_path, monkeypatch):
    monkeypatch.setattr(web_events, "PAGE", 7)
    async with open_site(tmp_path) as site, anyio.create_task_group() as tasks:
        for number in range(1, 31):
            await site.record(number)
        async with streaming(site, "?after=0") as stream:

            async def record_more():
                for number in range(31, 61):
                    await site.record(number)

            tasks.start_soon(record_more)
            assert await stream.positions(60) == list(range(1, 61))


async def test_a_stream_is_filtered_as_transitions_are(tmp_path):
    async with (
        open_site(tmp_path) as site,
        streaming(site, f"?after=0&job={KEY.format(2)}") as of_job,
        streaming(site, "?after=0&kind=source.*") as of_sources,
    ):
        for number in (1, 2, 3):
            await site.record(number)
        await site.record_source()
        assert (await of_job.event())[0] == 2
        assert (await of_sources.event())[0] == 4


async def test_a_quiet_stream_shows_that_it_lives_and_moves_its_reader_on(tmp_path, monkeypatch):
    monkeypatch.setattr(web_events, "HEARTBEAT", 0.05)
    async with open_site(tmp_path) as site:
        async with streaming(site, "?after=0&kind=source.*") as stream:
            for number in (1, 2, 3):
                await site.record(number)
            await stream.until_heard("3")
            await site.record_source()
            assert (await stream.event())[0] == 4
            assert stream.last_id == "4"
        async with streaming(site, "?kind=source.*") as stream:
            await stream.until_heard("4")


async def test_what_another_process_commits_is_streamed_with_the_next_heartbeat(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(web_events, "HEARTBEAT", 0.2)
    async with open_site(tmp_path) as site, streaming(site) as stream:
        monkeypatch.setattr(site.news, "tell", lambda _key: None)
        await site.record(1)
        assert (await stream.event())[0] == 1


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "99999999999999999999", "9" * 5000])
async def test_a_last_event_id_that_is_no_position_is_refused(tmp_path, last):
    async with open_site(tmp_path) as site:
        status, problem = await site.ask(EVENTS, headers={"Last-Event-ID": last})
        assert status == 400
        assert "Last-Event-ID" in problem["detail"]


async def test_more_streams_than_can_be_served_are_asked_to_come_again(tmp_path, monkeypatch):
    monkeypatch.setattr(web_events, "MOST_STREAMS", 2)
    monkeypatch.setattr(web_events, "HEARTBEAT", 0.1)
    async with open_site(tmp_path) as site:
        async with streaming(site), streaming(site), site.session.get(EVENTS) as refused:
            assert refused.status == 503
            assert refused.headers["Retry-After"] == "10"
            assert refused.content_type == "application/problem+json"
        while True:  # those that are gone are noticed by the next heartbeat
            async with site.session.get(EVENTS) as response:
                if response.status == 200:
                    break
            await anyio.sleep(0.05)


async def test_a_client_that_reads_nothing_keeps_nobody_waiting_and_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(web_events, "WRITE_WITHIN", 3.0)
    monkeypatch.setattr(web_events, "MOST_STREAMS", 2)
    async with open_site(tmp_path) as site:
        host, port = site.url.removeprefix("http://").split(":")
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            slow.connect((host, int(port)))
            slow.send(b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            async with streaming(site) as stream, anyio.create_task_group() as tasks:
                await comes(site, 503)  # both streams are open
                tasks.start_soon(record_many, site, 300)
                assert await stream.positions(300) == list(range(1, 301))
                await comes(site, 200)  # the slow one is left, though it is still there


async def record_many(site, count):
    """Commit large transitions."""
    fields = {"Description": "y" * 50_000}
    for number in range(1, count + 1):
        made = entry(number)
        large = replace(made, transitions=(replace(made.transitions[0], fields=fields),))
        assert await site.store.record(large)
        site.news.tell(made.snapshot.job.key)


async def comes(site, status):
    """Wait until one more stream is answered so."""
    while True:
        async with site.session.get(EVENTS) as response:
            if response.status == status:
                return
        await anyio.sleep(0.05)


async def test_streams_and_waiters_end_when_the_server_stops(tmp_path):
    async with open_site(tmp_path) as site:
        await site.record(1)
        path = f"{site.url}/api/v1/jobs/{KEY.format(1)}/wait?timeout=10m"
        waiting = asyncio.create_task(site.ask(path))
        async with site.session.get(EVENTS) as response:
            await until(lambda: site.news._of)
            before = anyio.current_time()
            site.news.close()
            assert await response.read() == b"retry: 2000\n\n"
            status, value = await waiting
            assert (status, value["done"]) == (200, False)
            assert anyio.current_time() - before < 30


@pytest.mark.parametrize(
    "error", [RuntimeError("secret"), StoreError("secret"), RefusedError(409, "secret")]
)
async def test_a_stream_that_fails_breaks_off_and_is_not_answered_twice(
    tmp_path, monkeypatch, error
):
    log = Log()
    monkeypatch.setattr(logs, "get", lambda: log)
    async with open_site(tmp_path) as site:
        await site.record(1)
        rest: list[bytes] = []

        async def fails(*_args):
            raise error

        async def read_on(content):
            while True:
                rest.append(await content.read(1000))

        async with streaming(site) as stream:
            assert await stream.content.readline() == b"retry: 2000\n"
            monkeypatch.setattr(history, "read", fails)
            await site.record(2)
            with pytest.raises(aiohttp.ClientPayloadError):
                await read_on(stream.content)
        # The read that was under way may still have brought the transition.
        received = b"".join(rest)
        assert received == b"\n" or (
            received.startswith(b"\nid: 2\n") and received.count(b"id:") == 1
        )
        assert b"HTTP/" not in received
        assert b"secret" not in received
        assert log.errors == [(logs.REQUEST_FAILED, EVENTS)]
        monkeypatch.undo()
        async with streaming(site, "?after=0") as stream:
            assert await stream.positions(2) == [1, 2]


async def test_a_head_of_the_stream_ends_at_once(tmp_path):
    async with open_site(tmp_path) as site, site.session.head(EVENTS) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")


# The long poll


def wait_path(query="", number=1):
    return f"/api/v1/jobs/{KEY.format(number)}/wait{query}"


async def until_waiting(site):
    await until(lambda: site.news._of)


async def test_a_job_that_has_ended_is_answered_at_once(tmp_path):
    async with open_site(tmp_path) as site:
        await site.record(1, phase=Phase.FAILED)
        waited = await site.get(wait_path("?timeout=10m"))
        assert (waited["done"], waited["job"]["phase"]) == (True, "failed")


async def test_a_waiter_is_answered_when_the_job_ends(tmp_path):
    async with open_site(tmp_path) as site:
        await site.record(1)
        waiting = asyncio.create_task(site.get(wait_path("?timeout=10m")))
        await until_waiting(site)
        await site.record(1, 2)
        await site.record(2, phase=Phase.SUCCEEDED)
        await anyio.sleep(0.1)
        assert not waiting.done()
        await site.record(1, 3, phase=Phase.SUCCEEDED)
        waited = await waiting
        assert (waited["done"], waited["job"]["phase"]) == (True, "succeeded")
        assert waited["job"]["sequence"] == 3


async def test_a_waiter_for_change_is_answered_by_the_next_transition(tmp_path):
    async with open_site(tmp_path) as site:
        await site.record(1)
        assert (await site.get(wait_path("?for=change&after=0")))["done"] is True
        waiting = asyncio.create_task(site.get(wait_path("?for=change&timeout=10m")))
        await until_waiting(site)
        await site.record(1, 2)
        waited = await waiting
        assert (waited["done"], waited["job"]["sequence"]) == (True, 2)


async def test_a_waiter_whose_time_is_over_is_told_how_things_stand(tmp_path):
    async with open_site(tmp_path) as site:
        await site.record(1, state="RUNNING")
        waited = await site.get(wait_path("?timeout=50ms"))
        assert (waited["done"], waited["job"]["state"]) == (False, "RUNNING")


async def test_a_hundred_waiters_are_answered_by_one_transition(tmp_path):
    async with open_site(tmp_path) as site:
        await site.record(1)
        waiting = [asyncio.create_task(site.get(wait_path("?timeout=10m"))) for _ in range(100)]
        await until(lambda: site.live.asked_for == 200)  # each asks twice before it waits
        for number in range(2, 20):
            await site.record(number)
        assert site.live.asked_for == 200  # other jobs wake nobody
        await site.record(1, 2, phase=Phase.SUCCEEDED)
        assert all([(await one)["done"] for one in waiting])


async def test_more_waiters_than_can_be_served_are_asked_to_come_again(tmp_path, monkeypatch):
    monkeypatch.setattr(web_jobs, "MOST_WAITERS", 1)
    async with open_site(tmp_path) as site:
        site.live.follow(snapshot(1))
        waiting = asyncio.create_task(site.ask(wait_path("?timeout=10m")))
        await until_waiting(site)
        assert (await site.ask(wait_path()))[0] == 503
        site.news.close()
        assert (await waiting)[0] == 200
