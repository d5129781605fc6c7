"""Watches that are added to a running daemon."""

import json
from signal import SIGHUP, SIGTERM
from typing import Any

import aiohttp
import anyio
import pytest

from monitor import simulator
from tests.acceptance.program import PATIENCE, configure, packages, running, until

pytestmark = pytest.mark.timeout(600)

SCENARIO = {
    "jobs": [
        {"id": "pkg", "service": "panorama"},
        {"id": "EX1", "service": "importexport"},
    ],
}
TOKEN = "a-token-of-some-length"
DISKS: dict[str, Any] = {
    "name": "more-disks",
    "type": "importexport.job",
    "account": "sim",
    "jobs": ["EX1"],
    "interval": "400ms",
    "labels": {"added": "yes"},
}


def nested(depth):
    """Return lists within lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


class Client:
    """Asks one daemon."""

    def __init__(self, session, url):
        self.session = session
        self.url = url

    async def ask(self, method, path, **more):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = f"{self.url}/api/v1{path}"
        async with self.session.request(method, url, headers=headers, **more) as response:
            return response.status, await response.json(content_type=None)

    async def jobs(self):
        _, listed = await self.ask("GET", "/jobs")
        return {one["id"]: one for one in listed["items"]}

    async def until_jobs(self, *ids):
        """Wait until these jobs are followed, and have been seen, and no others."""
        with anyio.fail_after(PATIENCE):
            while True:
                jobs = await self.jobs()
                if set(jobs) == set(ids) and all(one["state"] for one in jobs.values()):
                    return jobs
                await anyio.sleep(0.1)


def configuration(directory, sim, **changes):
    token = directory / "token"
    token.write_text(TOKEN)
    server = {"listen": "127.0.0.1:0", "token_files": [str(token)]}
    return configure(directory, sim, watches=[packages()], sinks={}, server=server, **changes)


async def test_an_added_watch_is_watched_after_a_reload_and_a_restart_until_it_is_removed(tmp_path):
    async with simulator.running(SCENARIO) as sim, aiohttp.ClientSession() as session:
        config = configuration(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            client = Client(session, await program.started())
            await client.until_jobs("pkg")
            status, made = await client.ask("POST", "/watches", json=DISKS)
            assert (status, made["name"], made["watch"]) == (201, "more-disks", DISKS)
            jobs = await client.until_jobs("pkg", "EX1")
            assert (jobs["EX1"]["watch"], jobs["EX1"]["labels"]) == (
                "more-disks",
                {"added": "yes"},
            )
            config.write_text(config.read_text().replace('"packages"', '"renamed"'))
            program.process.send_signal(SIGHUP)
            await until(lambda: program.logged("config.reloaded"))
            jobs = await client.until_jobs("pkg", "EX1")
            assert jobs["pkg"]["watch"] == "renamed"
            assert (await program.stop(SIGTERM))[0] == 0
        async with running("run", "-c", config, directory=tmp_path) as program:
            client = Client(session, await program.started())
            await client.until_jobs("pkg", "EX1")
            _, listed = await client.ask("GET", "/watches")
            assert [(one["name"], bool(one["added_at"])) for one in listed["items"]] == [
                ("renamed", False),
                ("more-disks", True),
            ]
            assert await client.ask("DELETE", "/watches/more-disks") == (200, {"removed": True})
            await client.until_jobs("pkg")
            assert (await client.ask("DELETE", "/watches/more-disks"))[0] == 404
            assert (await program.stop(SIGTERM))[0] == 0
        async with running("run", "-c", config, directory=tmp_path) as program:
            await Client(session, await program.started()).until_jobs("pkg")


async def test_what_could_not_be_configured_cannot_be_added(tmp_path):
    async with simulator.running(SCENARIO) as sim, aiohttp.ClientSession() as session:
        config = configuration(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            client = Client(session, await program.started())
            mistakes: list[tuple[dict[str, Any], str, str]] = [
                ({"type": "importexport.jbo"}, "type", "unknown job type"),
                ({"account": "smi"}, "account", "unknown account"),
                ({"interval": "fast"}, "interval", "is not a duration"),
                ({"intervall": "5m"}, "intervall", "unknown key"),
                ({"name": "a/b"}, "name", "is not a valid name"),
                ({"jobs": []}, "", "has neither jobs nor discover"),
                ({"jobs": [nested(900)]}, "jobs[0]", "must be text"),
            ]
            for change, path, message in mistakes:
                status, problem = await client.ask("POST", "/watches", json={**DISKS, **change})
                assert status == 422, change
                (mistake,) = problem["errors"]
                assert mistake["path"] == path
                assert message in mistake["message"]
            clash = {**DISKS, "name": "packages"}
            assert (await client.ask("POST", "/watches", json=clash))[0] == 409
            assert (await client.ask("DELETE", "/watches/packages"))[0] == 409
            assert (await client.ask("POST", "/watches", json=DISKS))[0] == 201
            assert (await client.ask("POST", "/watches", json=DISKS))[0] == 409
            status, problem = await client.ask("POST", "/watches", json={**DISKS, "name": "again"})
            assert (status, problem["errors"][0]["path"]) == (422, "jobs[0]")
            await client.until_jobs("pkg", "EX1")


async def test_an_added_watch_that_the_configuration_does_not_allow_any_more_is_left_out_at_start(
    tmp_path,
):
    async with simulator.running(SCENARIO) as sim, aiohttp.ClientSession() as session:
        config = configuration(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            client = Client(session, await program.started())
            assert (await client.ask("POST", "/watches", json=DISKS))[0] == 201
            settings = json.loads(config.read_text())
            settings["watches"].append({**DISKS, "labels": {}})
            config.write_text(json.dumps(settings))
            program.process.send_signal(SIGHUP)
            await until(lambda: program.logged("config.refused"))
            assert "run-time watch more-disks" in program.logged("config.refused")[0]["problem"]
            assert (await program.stop(SIGTERM))[0] == 0
        async with running("run", "-c", config, directory=tmp_path) as program:
            client = Client(session, await program.started())
            (line, *_) = program.logged("watch.skipped")
            assert line["watch"] == "more-disks"
            jobs = await client.until_jobs("pkg", "EX1")
            assert jobs["EX1"]["labels"] == {}
