"""Silences, maintenance windows and acknowledgements of the real daemon: nothing is lost, nothing
is sent that is over, and a kill changes nothing of it."""

import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from signal import SIGTERM

import aiohttp
import pytest

from monitor import simulator
from tests.acceptance import scrape
from tests.acceptance.program import SECRET, configure, packages, run, running, until

pytestmark = pytest.mark.timeout(600)

TOKEN = "a-token-that-nobody-guesses"
NAMES = ("lasts", "heals", "calm")


class Bench:
    """A daemon over a simulator, with a token that may write."""

    def __init__(self, sim, directory, **changes):
        self.sim = sim
        self.directory = directory
        token = directory / "token"
        token.write_text(TOKEN)
        server = {"listen": "127.0.0.1:0", "token_files": [str(token)]}
        changes.setdefault("watches", [packages(jobs=list(NAMES), discover=False)])
        self.config = configure(directory, sim, server=server, **changes)
        self.url = ""

    @asynccontextmanager
    async def daemon(self):
        async with running("run", "-c", self.config, directory=self.directory) as program:
            self.url = await program.started()
            yield program

    async def ask(self, path, method="GET", body=None):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = f"{self.url}/api/v1/{path}"
        async with aiohttp.ClientSession(headers=headers) as session:
            if method == "GET":
                request = session.get(url)
            else:
                request = session.request(method, url, json=body)
            async with request as response:
                found = await response.json()
                assert response.ok, found
                return found

    async def command(self, *arguments):
        options = ("--server", self.url, "--token-file", self.directory / "token")
        code, out, err = await run(*arguments, *options, directory=self.directory)
        assert (code, err) == (0, "")
        return out

    def sent(self):
        """Return (job, state) of what the receiver took, in order."""
        events = [json.loads(record.body) for record in self.sim.truth.received]
        return [
            (event["subject"], event["data"]["current"]["state"])
            for event in events
            if event["data"]["kind"] == "job.state_changed"
        ]

    async def deliveries(self, status):
        found = (await self.ask(f"deliveries?status={status}"))["items"]
        return {(one["job"].rpartition("/")[2], one["kind"]) for one in found}

    async def known(self):
        """Wait until all jobs are known."""
        while len((await self.ask("jobs"))["items"]) < len(NAMES) or any(
            job["state"] is None for job in (await self.ask("jobs"))["items"]
        ):
            pass


@asynccontextmanager
async def bench(directory, receiver=None, **changes):
    scenario = {
        "jobs": [{"id": name, "service": "panorama"} for name in NAMES],
        "receivers": {"hook": {"secrets": [SECRET], **(receiver or {})}},
    }
    async with simulator.running(scenario) as sim:
        yield Bench(sim, directory, **changes)


async def _states(here, **wanted):
    """Wait until the daemon knows these states."""
    while True:
        jobs = {job["id"]: job for job in (await here.ask("jobs"))["items"]}
        if all(jobs[name]["state"] == state for name, state in wanted.items()):
            return jobs


@pytest.mark.parametrize("end", ["expire", "restart", "kill"])
async def test_the_end_of_a_silence_sends_what_is_still_true_and_nothing_else(tmp_path, end):
    async with bench(tmp_path) as here:
        async with here.daemon() as program:
            await here.known()
            here.sim.change("heals", Status="STEP_1")
            await until(lambda: here.sent() == [("heals", "STEP_1")])
            add = ("silences", "add", "--match", "type=panorama.*", "--author", "ann")
            lasts = "1h" if end == "expire" else "30s"
            silence = (await here.command(*add, "--duration", lasts)).strip()
            here.sim.change("lasts", Status="FAILED")
            here.sim.change("heals", Status="UNKNOWN_YET")
            await _states(here, lasts="FAILED", heals="UNKNOWN_YET")
            here.sim.change("heals", Status="STEP_1")
            jobs = await _states(here, lasts="FAILED", heals="STEP_1")
            # Recorded, counted, shown, and not sent.
            assert jobs["lasts"]["silenced"] == [silence]
            held = (await here.ask("deliveries?status=silenced"))["items"]
            assert {one["silenced_by"] for one in held} == {silence}
            assert len(held) == 3
            counted = await scrape.table(here.url, "deliveries_silenced_total", "sink")
            assert counted == {("hook",): 3}
            assert await scrape.table(here.url, "silences_active") == {(): 1}
            assert here.sent() == [("heals", "STEP_1")]
            if end == "expire":
                await here.command("silences", "expire", silence)
                await until(lambda: here.sent()[1:] == [("lasts", "FAILED")])
            elif end == "restart":
                await program.stop(SIGTERM)
            else:
                await program.kill()
        async with here.daemon():
            await until(lambda: here.sent()[1:] == [("lasts", "FAILED")])
            here.sim.change("calm", Status="SUCCEEDED")
            await until(lambda: here.sent()[2:] == [("calm", "SUCCEEDED")])
            (listed,) = (await here.ask("silences"))["items"]
            assert (listed["id"], listed["status"]) == (silence, "expired")
            assert await here.deliveries("silenced") == {("heals", "job.state_changed")}


async def test_a_maintenance_window_holds_what_its_watch_reports(tmp_path):
    now = datetime.now(UTC)
    window = {
        "from": (now - timedelta(hours=2)).strftime("%H:%M"),
        "to": (now + timedelta(hours=2)).strftime("%H:%M"),
    }
    quiet = packages(jobs=["lasts", "heals"], discover=False, maintenance=[window])
    loud = packages(name="loud", jobs=["calm"], discover=False)
    async with bench(tmp_path, watches=[quiet, loud]) as here:
        async with here.daemon():
            await here.known()
            here.sim.change("lasts", Status="FAILED")
            here.sim.change("calm", Status="FAILED")
            jobs = await _states(here, lasts="FAILED", calm="FAILED")
            assert jobs["lasts"]["silenced"] == ["maintenance:packages"]
            await until(lambda: here.sent() == [("calm", "FAILED")])
            assert await here.deliveries("silenced") == {("lasts", "job.state_changed")}
        # Without the window, what it held is sent at the start.
        settings = json.loads(here.config.read_text())
        del settings["watches"][0]["maintenance"]
        here.config.write_text(json.dumps(settings))
        async with here.daemon():
            await until(lambda: here.sent()[1:] == [("lasts", "FAILED")])


async def test_a_failure_is_acknowledged_until_the_job_goes_on(tmp_path):
    async with bench(tmp_path) as here:
        async with here.daemon() as program:
            await here.known()
            here.sim.change("lasts", Status="FAILED")
            jobs = await _states(here, lasts="FAILED")
            key = jobs["lasts"]["key"]
            out = await here.command("acknowledge", key, "--author", "ann", "--comment", "mine")
            assert out == f"{key} is acknowledged.\n"
            await program.kill()
        async with here.daemon():
            shown = (await here.ask(f"jobs/{key}"))["acknowledged"]
            assert (shown["author"], shown["comment"]) == ("ann", "mine")
            assert await scrape.table(here.url, "jobs_acknowledged") == {(): 1}
            await here.command("acknowledge", key, "--withdraw")
            assert (await here.ask(f"jobs/{key}"))["acknowledged"] is None


async def test_dead_deliveries_that_are_discarded_count_as_dead_no_longer(tmp_path):
    async with bench(tmp_path, receiver={"status": 400}) as here, here.daemon():
        await here.known()
        here.sim.change("lasts", Status="FAILED")
        while not await here.deliveries("dead"):
            pass
        out = await here.command("deliveries", "discard", "--sink", "hook", "--all")
        assert out == "1 dead delivery of hook discarded.\n"
        assert await here.deliveries("discarded") == {("lasts", "job.state_changed")}
        while await scrape.table(here.url, "dead_letters", "sink"):
            pass
        discarded = await scrape.table(here.url, "deliveries_discarded_total", "sink")
        assert discarded == {("hook",): 1}
