"""Sinks in trouble, and the commands that help: beside a daemon that runs, on its store."""

import json
import math
import re
import sqlite3
import time
from collections import defaultdict
from contextlib import asynccontextmanager, closing
from signal import SIGTERM

import anyio
import pytest
from aiohttp import web

from monitor import simulator
from tests.acceptance import ledger
from tests.acceptance.program import PATIENCE, configure, fetch, packages, run, running, until
from tests.contracts.sink_kit import check

pytestmark = pytest.mark.timeout(600)

JOBS = 8
NOTICED_WITHIN = 60.0
"""Seconds in which a daemon notices what another process did to its store, on a busy machine."""
STATES = ["STEP_1", "STEP_2", "SUCCEEDED"]


class Receiver:
    """Answers each event as told; ``requests`` is (event, status), in order of arrival."""

    def __init__(self):
        self.status = lambda _event: 204
        self.requests = []

    async def handle(self, request):
        event = json.loads(await request.read())
        status = self.status(event)
        self.requests.append((event, status))
        return web.Response(status=status)

    def taken(self):
        """Job → the events that were taken, in order."""
        found = defaultdict(list)
        for event, status in self.requests:
            if status == 204:
                found[event["subject"]].append(event)
        return found

    def states(self):
        return {
            job: [event["data"]["current"]["state"] for event in events]
            for job, events in self.taken().items()
        }


@asynccontextmanager
async def receiving(receiver):
    """Serve; yield the settings of a sink that leads here."""
    app = web.Application()
    app.router.add_post("/", receiver.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield {
            "type": "webhook",
            "url": f"http://127.0.0.1:{runner.addresses[0][1]}/",
            "allow_http": True,
            "allow_networks": ["127.0.0.0/8"],
        }
    finally:
        await runner.cleanup()
    for event, _status in receiver.requests:
        check(event)


def _scenario():
    return {"jobs": [{"id": f"pkg-{n}", "service": "panorama"} for n in range(JOBS)]}


def _names():
    return [f"pkg-{n}" for n in range(JOBS)]


async def _live(sim, store):
    """Let every job go through all its states, one look apart."""
    await until(lambda: len(ledger.transitions(store)) == JOBS)
    for count, state in enumerate(STATES, 2):
        for name in _names():
            sim.change(name, Status=state)
        await until(lambda count=count: len(ledger.transitions(store)) == count * JOBS)


async def _command(*arguments, directory, config):
    """Run a command that prints JSON beside the daemon; return what it says."""
    options = ("-c", config, "--output", "json")
    code, out, err = await run(*arguments, *options, directory=directory)
    assert (code, err) == (0, "")
    return json.loads(out)


async def _parked(url):
    text = (await fetch(f"{url}/metrics"))[2]
    return 'job_monitor_sink_parked{sink="hook"} 1.0' in text


async def _health(url):
    """Return ``sink_up`` and since when the sink fails, as the metrics have them."""
    text = (await fetch(f"{url}/metrics"))[2]
    names = ("job_monitor_sink_up", "job_monitor_sink_failing_since_timestamp_seconds")
    found = [re.search(rf'^{name}{{sink="hook"}} (\S+)$', text, re.MULTILINE) for name in names]
    return tuple(float(one[1]) for one in found if one)


async def _fails(url):
    return (await _health(url))[0] == 0


async def _takes(url):
    up, since = await _health(url)
    return up == 1 and math.isnan(since)


async def _until(reached):
    with anyio.fail_after(PATIENCE):
        while not await reached():  # noqa: ASYNC110 -- another process brings it about
            await anyio.sleep(0.1)


@pytest.mark.parametrize("status", [410, 404])
async def test_a_parked_sink_outlives_a_kill_and_resumes_by_command(tmp_path, status):
    receiver, store = Receiver(), tmp_path / "state.db"
    receiver.status = lambda _event: status
    async with simulator.running(_scenario()) as sim, receiving(receiver) as hook:
        config = configure(tmp_path, sim, watches=[packages()], sinks={"hook": hook})
        place = {"directory": tmp_path, "config": config}
        began = int(time.time())  # responses are dated to the second
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            await _live(sim, store)
            await _until(lambda: _parked(url))
            await _until(lambda: _fails(url))
            assert began <= (await _health(url))[1] <= time.time()
            (line,) = program.logged("sink.parked")
            assert line["level"] == "error"
            tried = len(receiver.requests)
            assert tried < 20
            assert await program.kill()
        (told,) = await _command("sinks", "list", **place)
        assert (told["health"], told["pending"], told["dead"]) == ("parked", 3 * JOBS, 0)
        assert str(status) in told["parked_reason"]
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            await _until(lambda: _parked(url))
            receiver.status = lambda _event: 204
            await anyio.sleep(1)
            assert len(receiver.requests) == tried
            code, out, _ = await run("sinks", "resume", "hook", "-c", config, directory=tmp_path)
            resumed = time.monotonic()
            assert (code, out) == (0, "hook is resumed.\n")
            await until(lambda: receiver.states() == dict.fromkeys(_names(), STATES))
            took = time.monotonic() - resumed
            print(f"noticed and drained after {took:.1f} s")  # noqa: T201 -- the measurement
            assert took < NOTICED_WITHIN
            await _until(lambda: _not(_parked(url)))
            await _until(lambda: _takes(url))
            assert (await program.stop(SIGTERM))[0] == 0
    assert len(program.logged("sink.resumed")) == 1
    assert set(ledger.statuses(store)) == {"delivered"}


async def _not(answer):
    return not await answer


async def test_a_job_that_one_sink_refuses_dies_there_alone_and_can_be_replayed(tmp_path):
    picky, easy, store = Receiver(), Receiver(), tmp_path / "state.db"
    picky.status = lambda event: 400 if event["subject"] == "pkg-3" else 204
    others = {name: STATES for name in _names() if name != "pkg-3"}
    async with (
        simulator.running(_scenario()) as sim,
        receiving(picky) as one,
        receiving(easy) as other,
    ):
        sinks = {"picky": one, "easy": other}
        config = configure(tmp_path, sim, watches=[packages()], sinks=sinks)
        place = {"directory": tmp_path, "config": config}
        async with running("run", "-c", config, directory=tmp_path) as program:
            await program.started()
            await _live(sim, store)
            await until(lambda: easy.states() == dict.fromkeys(_names(), STATES))
            await until(lambda: picky.states() == others)
            await until(lambda: ledger.statuses(store).count("dead") == 3)
            dead = await _command("deliveries", "list", "--status", "dead", **place)
            assert {(row["sink"], row["job"].rpartition("/")[2]) for row in dead} == {
                ("picky", "pkg-3")
            }
            shown = await _command("deliveries", "show", dead[-1]["id"], **place)
            assert shown["event"]["data"]["current"]["state"] == STATES[0]
            picky.status = lambda _event: 204
            dry = await _command("replay", "--sink", "picky", "--dry-run", **place)
            assert dry["count"] == 3
            assert picky.states() == others
            done = await _command("replay", "--sink", "picky", "--match", "job=pkg-3", **place)
            replayed = time.monotonic()
            assert done["count"] == 3
            await until(lambda: picky.states() == {**others, "pkg-3": STATES})
            assert time.monotonic() - replayed < NOTICED_WITHIN
            assert (await program.stop(SIGTERM))[0] == 0
    again = picky.taken()["pkg-3"]
    assert [event["data"]["replayed"] for event in again] == [True] * 3
    first = [event for event, status in picky.requests if status == 400]
    assert [event["id"] for event in again] == [event["id"] for event in first]


MANY = 3000


async def test_a_backlog_drains_whole_and_in_order_across_kills(tmp_path):
    """Sizes grow in tests/benchmarks/bench_outbox.py."""
    receiver, store = Receiver(), tmp_path / "state.db"
    async with simulator.running(_scenario()) as sim, receiving(receiver) as hook:
        config = configure(tmp_path, sim, watches=[packages()], sinks={"hook": hook})
        async with running("run", "-c", config, directory=tmp_path) as program:
            await program.started()
            await until(lambda: len(ledger.transitions(store)) == JOBS)
            assert (await program.stop(SIGTERM))[0] == 0
        _multiply(store)
        for share in (0.2, 0.6, 1.0):
            async with running("run", "-c", config, directory=tmp_path) as program:
                await until(lambda share=share: len(_ids(receiver)) >= share * MANY)
                if share == 1:
                    await until(lambda: set(ledger.statuses(store)) == {"delivered"})
                assert await program.kill()
    seen: dict[str, int] = defaultdict(int)
    for event, _ in receiver.requests:
        data = event["data"]
        assert data["sequence"] <= seen[event["subject"]] + 1
        seen[event["subject"]] = max(seen[event["subject"]], data["sequence"])
    assert sum(seen.values()) == MANY
    assert len(receiver.requests) - MANY <= 2 * 600


def _ids(receiver):
    return {event["id"] for event, _ in receiver.requests}


def _multiply(store):
    """Fill the outbox with the long lives of a hundred jobs."""
    with closing(sqlite3.connect(store)) as connection, connection:
        (start,) = connection.execute("SELECT position FROM ledger").fetchone()
        (text,) = connection.execute("SELECT event FROM transitions LIMIT 1").fetchone()
        for number in range(MANY):
            key, sequence = f"many-{number % 100}", number // 100 + 1
            event = json.loads(text)
            event |= {"id": f"{key}#{sequence}", "subject": key}
            event["data"] |= {"sequence": sequence}
            position = start + number + 1
            connection.execute(
                "INSERT INTO transitions"
                " (position, key, sequence, event_id, kind, observed_at, event)"
                " VALUES (?, ?, ?, ?, 'job.updated', 0, ?)",
                (position, key, sequence, event["id"], json.dumps(event)),
            )
            connection.execute(
                "INSERT INTO deliveries (position, sink, key, status, attempts, created_at, due_at)"
                " VALUES (?, 'hook', ?, 'pending', 0, ?, ?)",
                (position, key, _now(), 0 if sequence == 1 else None),
            )
        connection.execute("UPDATE ledger SET position = ?", (start + MANY,))


def _now():
    return int(time.time() * 1e6)
