"""Every listing command beside a real daemon: the same objects as the HTTP API, in every form."""

import json
from contextlib import asynccontextmanager
from signal import SIGINT

import aiohttp
import pytest
import yaml

from monitor import simulator
from tests.acceptance.program import configure, disks, packages, run, running, until

pytestmark = pytest.mark.timeout(600)

TOKEN = "a-long-token-for-these-tests-only-0123456789"
SCENARIO = {
    "jobs": [
        {"id": "pkg-1", "service": "panorama"},
        {
            "id": "pkg-2",
            "service": "panorama",
            "members": {"Status": "FAILED", "StatusMessage": "The archive has no descriptor."},
        },
        {"id": "pkg-3", "service": "panorama", "members": {"Status": "SUCCEEDED"}},
        {"id": "EX1", "service": "importexport"},
    ]
}
WATCHES = [
    packages(labels={"team": "vision"}, stuck_after="1s"),
    disks(labels={"team": "storage"}, interval="60s", stuck_after="1h"),
]
PASSING = {
    *("last_look_at", "next_look_at", "last_success_at", "request_rate", "rate"),
    *("achieved_interval", "last_complete_at"),
}
"""What changes between two requests."""


@asynccontextmanager
async def daemon(directory, scenario=SCENARIO, **changes):
    """Yield the URL of a daemon that has seen all jobs, and its configuration."""
    token = directory / "token"
    token.write_text(TOKEN)
    server = {"listen": "127.0.0.1:0", "token_files": [str(token)]}
    async with simulator.running(scenario) as sim:
        config = configure(directory, sim, **{"watches": WATCHES, "server": server} | changes)
        async with running("run", "-c", config, directory=directory) as program:
            url = await program.started()
            await until(lambda: len(program.logged("job.transitioned")) >= len(scenario["jobs"]))
            await until(lambda: any("stuck" in str(one) for one in program.log))
            yield url, config, sim


async def api(url, path):
    async with aiohttp.ClientSession() as session, session.get(f"{url}/api/v1/{path}") as reply:
        assert reply.status == 200, await reply.text()
        return (await reply.json())["items"]


def lasting(value):
    """Leave out what changes between two requests."""
    if isinstance(value, dict):
        return {name: lasting(each) for name, each in value.items() if name not in PASSING}
    return [lasting(each) for each in value] if isinstance(value, list) else value


async def printed(*arguments, directory, form="json", **env):
    code, out, err = await run(*arguments, "-o", form, directory=directory, **env)
    assert (code, err) == (0, ""), err
    return json.loads(out) if form == "json" else out


LISTINGS = {
    ("jobs",): "jobs",
    ("jobs", "-l", "team=vision", "--stuck", "--sort", "age"): (
        "jobs?label=team=vision&stuck=true&sort=changed_at"
    ),
    ("jobs", "--state", "F*", "--watch-name", "packages"): "jobs?state=F*&watch=packages",
    ("jobs", "--reason", "DESCRIPTOR"): "jobs?reason=descriptor",
    ("jobs", "--older-than", "1h"): "jobs?changed_before=1h",
    ("jobs", "--sort", "-state", "--no-missing"): "jobs?sort=-state&missing=false",
    ("transitions",): "transitions?newest=true",
    ("transitions", "--kind", "job.stuck", "--limit", "1"): (
        "transitions?newest=true&kind=job.stuck&limit=1"
    ),
    ("transitions", "--job", "pkg-2"): "transitions?newest=true&job=pkg-2",
    ("deliveries",): "deliveries",
    ("deliveries", "--sink", "hook", "--status", "delivered"): (
        "deliveries?sink=hook&status=delivered"
    ),
    ("sinks",): "sinks",
    ("sources",): "sources",
    ("watches",): "watches",
}


async def test_every_listing_prints_the_objects_of_the_api(tmp_path):
    async with daemon(tmp_path) as (url, config, sim):
        await until(lambda: sim.truth.received.count >= 1)
        for command, path in LISTINGS.items():
            whole = lasting(await api(url, path))
            assert whole or "1h" in command, command
            found = lasting(await printed(*command, "--server", url, directory=tmp_path))
            assert found == whole, command
            text = await printed(*command, "--server", url, directory=tmp_path, form="yaml")
            assert lasting(yaml.safe_load(text)) == whole, command
            # The store beside it knows the same, and says null of what it does not know.
            stored = lasting(await printed(*command, "-c", config, directory=tmp_path))
            assert [set(one) for one in stored] == [set(one) for one in whole], command
            for one, other in zip(stored, whole, strict=True):
                unknown = {name for name in one if one[name] is None or command[0] == "sinks"}
                assert {k: v for k, v in one.items() if k not in unknown} == {
                    k: v for k, v in other.items() if k not in unknown
                }, command


NAMES = {
    "jobs": "importexport.job/sim/us-east-1/EX1",
    "sinks": "hook",
    "sources": "importexport/sim/us-east-1",
    "watches": "packages",
}


async def test_names_are_printed_one_a_line(tmp_path):
    async with daemon(tmp_path) as (url, config, _):
        for command, name in NAMES.items():
            out = await printed(command, "--server", url, directory=tmp_path, form="name")
            assert out.splitlines()[0] == name
            again = await printed(command, "-c", config, directory=tmp_path, form="name")
            assert again == out
        events = await printed("transitions", "--server", url, directory=tmp_path, form="name")
        assert len(set(events.splitlines())) >= len(SCENARIO["jobs"])
        ids = await printed("deliveries", "--server", url, directory=tmp_path, form="name")
        first = ids.splitlines()[0]
        shown = await printed("deliveries", "show", first, "--server", url, directory=tmp_path)
        assert shown == await printed("deliveries", "show", first, "-c", config, directory=tmp_path)
    types = await printed("types", directory=tmp_path, form="name")
    assert "panorama.package-import" in types.splitlines()


async def test_the_environment_names_the_daemon_unless_a_configuration_is_written(tmp_path):
    async with daemon(tmp_path) as (url, config, _):
        env = {"JOB_MONITOR_SERVER": url}
        named = await run("jobs", directory=tmp_path, **env)
        assert (named[0], named[2]) == (0, "")
        assert "LAST POLL" in named[1]
        written = await run("jobs", "-c", config, directory=tmp_path, **env)
        assert "LAST STORED" in written[1]
        # The settings of a daemon do not mind it, nor does a command mind those.
        assert (await run("check", "-c", config, directory=tmp_path, **env))[0] == 0
        settings = {"JOB_MONITOR_SERVER": "{listen: '127.0.0.1:9'}"}
        assert (await run("jobs", "-c", config, directory=tmp_path, **settings))[0] == 0


async def test_deliveries_are_replayed_through_a_daemon(tmp_path):
    async with daemon(tmp_path) as (url, _, sim):
        await until(lambda: sim.truth.received.count >= 1)
        command = ("replay", "--sink", "hook", "--since", "1h", "--delivered", "--server", url)
        code, out, err = await run(*command, directory=tmp_path)
        assert (code, out) == (69, "")
        assert err.count("\n") == 1
        assert "--token-file" in err
        env = {"JOB_MONITOR_TOKEN_FILE": str(tmp_path / "token")}
        before = sim.truth.received.count
        dry = await printed(*command, "--dry-run", directory=tmp_path, **env)
        assert dry["dry_run"]
        assert len(dry["event_ids"]) == dry["count"] > 0
        more = ("--silenced", "--discarded", "--dry-run")
        assert (await printed(*command, *more, directory=tmp_path, **env))["count"] >= dry["count"]
        code, out, err = await run(*command, "--match", "job=pkg-1", directory=tmp_path, **env)
        assert (code, err) == (0, "")
        assert "will be sent to hook again" in out
        await until(lambda: sim.truth.received.count > before)
        resumed = await run("sinks", "resume", "hook", "--server", url, directory=tmp_path, **env)
        assert resumed == (0, "hook was not parked.\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("transitions", "--limit", "501"), "--limit: is more than a daemon returns at once"),
        (
            ("replay", "--sink", "hok"),
            '--sink: unknown sink "hok" (did you mean "hook"? known: hook)',
        ),
        (("sinks", "resume", "hok"), 'unknown sink "hok"'),
        (("deliveries", "--sink", "hok"), '--sink: unknown sink "hok"'),
        (("jobs", "--watch-name", "packges"), 'did you mean "packages"?'),
        (("jobs", "--sort", "size"), '--sort: unknown order "size"'),
        (("jobs", "--older-than", "soon"), "--older-than: is neither an age"),
        (("watches", "-l", "team"), "--label: must be written name=value"),
        (("jobs", "-w", "--interval", "10ms"), "--interval: is too short (write 0.2s or more)"),
        (("jobs", "-w", "--interval", "x"), "--interval: is not a duration"),
        (("jobs", "-o", "xml"), "'xml' is not one of 'table', 'wide', 'json', 'yaml', 'name'"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
async def test_a_mistake_is_one_line(tmp_path, arguments, said):
    async with daemon(tmp_path) as (url, _, _):
        code, out, err = await run(*arguments, "--server", url, directory=tmp_path)
    assert (code, out) == (2, ""), err
    assert len(err.splitlines()) == 1
    assert said in err


async def test_only_a_daemon_knows_what_is_stale(tmp_path):
    async with daemon(tmp_path) as (url, config, _):
        code, _, err = await run("jobs", "--stale", "-c", config, directory=tmp_path)
        assert code == 2
        assert "--stale: is known to a daemon alone (name it with --server" in err
        assert (await run("jobs", "--stale", "--server", url, directory=tmp_path))[0] == 0


async def test_a_watch_into_a_file_adds_what_changes(tmp_path):
    async with daemon(tmp_path) as (url, _, sim):
        command = ("jobs", "-w", "--interval", "200ms", "-o", "json", "--server", url)
        async with running(*command, directory=tmp_path) as program:
            await until(lambda: len(program.out.splitlines()) >= len(SCENARIO["jobs"]))
            before = program.out
            async with aiohttp.ClientSession() as session:
                change = {"set": {"Status": "SUCCEEDED"}}
                async with session.post(f"{sim.url}/_simulator/jobs/pkg-1", json=change) as reply:
                    assert reply.status == 200
            await until(lambda: '"SUCCEEDED"' in program.out.removeprefix(before))
            added = [json.loads(line) for line in program.out.removeprefix(before).splitlines()]
            assert {one["id"] for one in added} == {"pkg-1"}
            code, _ = await program.stop(SIGINT)
        assert (code, program.err) == (0, "")


async def test_a_watch_outlasts_a_restart_of_the_daemon(tmp_path):
    async with simulator.running(SCENARIO) as sim:
        config = configure(tmp_path, sim, watches=WATCHES)
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            await until(lambda: len(program.logged("job.transitioned")) >= 4)
            command = ("jobs", "-w", "--interval", "200ms", "--server", url)
            watching = running(*command, directory=tmp_path)
            watch = await watching.__aenter__()
            try:
                await until(lambda: "pkg-2" in watch.out)
                await program.kill()
                await until(lambda: "unreachable" in watch.err)
                port = url.rpartition(":")[2]
                again = configure(
                    tmp_path, sim, watches=WATCHES, server={"listen": f"127.0.0.1:{port}"}
                )
                async with running("run", "-c", again, directory=tmp_path) as second:
                    await second.started()
                    before = watch.out
                    sim_job = f"{sim.url}/_simulator/jobs/pkg-1"
                    async with aiohttp.ClientSession() as session:
                        await session.post(sim_job, json={"set": {"Status": "FAILED"}})
                    await until(lambda: "FAILED" in watch.out.removeprefix(before))
                assert watch.alive
                assert watch.err.count("unreachable") == 1
            finally:
                await watching.__aexit__(None, None, None)
