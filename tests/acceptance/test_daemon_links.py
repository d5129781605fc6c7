"""Links in events lead to where the page and the console are now; accounts have their ids."""

import json
from signal import SIGTERM

import anyio
import pytest

from monitor import simulator
from monitor.sources.loader import BUILT_IN
from tests.acceptance import ledger
from tests.acceptance.program import PATIENCE, configure, fetch, packages, run, running, until
from tests.acceptance.test_daemon_outbox import Receiver, receiving

pytestmark = pytest.mark.timeout(600)

KEY = "panorama.package-import/sim/us-east-1/pkg"
CONSOLE = "https://us-east-1.console.aws.amazon.com/x#pkg"


def own_type(directory):
    """Write a type of the same name that has a link to the console; return its directory."""
    folder = directory / "types"
    folder.mkdir()
    name = "panorama.package-import.yaml"
    text = (BUILT_IN / name).read_text()
    (folder / name).write_text(f'{text}\nconsole_url: "https://{{console}}/x#{{id}}"\n')
    return str(folder)


async def test_a_replayed_event_leads_to_where_the_page_is_now(tmp_path):
    receiver, store, types = Receiver(), tmp_path / "state.db", own_type(tmp_path)
    scenario = {"jobs": [{"id": "pkg", "service": "panorama"}]}

    def links():
        return [event["data"].get("links") for event, _ in receiver.requests]

    async with simulator.running(scenario) as sim, receiving(receiver) as hook:
        common = {"watches": [packages()], "sinks": {"hook": hook}}
        config = configure(tmp_path, sim, **common)
        async with running("run", "-c", config, directory=tmp_path) as program:
            await program.started()
            await until(lambda: len(ledger.transitions(store)) == 1)
            sim.change("pkg", Status="FAILED")
            await until(lambda: len(receiver.requests) == 1)
            assert (await program.stop(SIGTERM))[0] == 0
        assert links() == [None]

        server = {"listen": "127.0.0.1:0", "external_url": "https://tools.example.com/jobs/"}
        config = configure(tmp_path, sim, **common, server=server, job_types_dir=types)
        replay = ("replay", "--sink", "hook", "--delivered", "--since", "1h", "-c", config)
        async with running("run", "-c", config, directory=tmp_path) as program:
            await program.started()
            assert (await run(*replay, directory=tmp_path))[0] == 0
            await until(lambda: len(receiver.requests) == 2)
            assert (await program.stop(SIGTERM))[0] == 0
        page = f"https://tools.example.com/jobs/job?key={KEY}"
        assert links()[1] == {"job": page, "console": CONSOLE}

    first, again = (event for event, _ in receiver.requests)
    assert again["id"] == first["id"]
    assert not any("links" in row.data for row in ledger.transitions(store))


async def _sources(url):
    return json.loads((await fetch(f"{url}/api/v1/sources"))[2])["items"]


async def test_the_id_of_an_account_is_asked_for_once_and_shown(tmp_path):
    receiver, store = Receiver(), tmp_path / "state.db"
    scenario = {
        "jobs": [{"id": "pkg", "service": "panorama"}],
        "credentials": {
            "AKIAIOSFODNN7EXAMPLE": {
                "secret": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                "account": "210987654321",
            }
        },
    }
    async with simulator.running(scenario) as sim, receiving(receiver) as hook:
        endpoints = {"panorama": sim.url, "importexport": sim.url, "sts": sim.url}
        account = {"endpoint_urls": endpoints, "fetch_account_id": True}
        given = {"watches": [packages()], "sinks": {"hook": hook}, "accounts": {"sim": account}}
        config = configure(tmp_path, sim, **given)
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            await until(lambda: len(ledger.transitions(store)) == 1)
            line = 'job_monitor_account_info{account="sim",account_id="210987654321"} 1.0'
            with anyio.fail_after(PATIENCE):
                while line not in (await fetch(f"{url}/metrics"))[2]:  # noqa: ASYNC110 -- another process
                    await anyio.sleep(0.2)
            assert {one["account_id"] for one in await _sources(url)} == {"210987654321"}
            assert (
                "sim/us-east-1 (account 210987654321)" in (await fetch(f"{url}/job?key={KEY}"))[2]
            )
            sim.change("pkg", Status="FAILED")
            await until(lambda: len(receiver.requests) == 1)
            assert (await program.stop(SIGTERM))[0] == 0
    ((event, _),) = receiver.requests
    assert event["data"]["account_id"] == "210987654321"
    assert "links" not in event["data"]
    assert not program.logged("account_id.unknown")


async def test_an_account_whose_id_is_not_told_is_polled_all_the_same(tmp_path):
    receiver, store = Receiver(), tmp_path / "state.db"
    scenario = {"jobs": [{"id": "pkg", "service": "panorama"}]}
    async with simulator.running(scenario) as sim, receiving(receiver) as hook:
        endpoints = {"panorama": sim.url, "importexport": sim.url, "sts": "http://127.0.0.1:9"}
        account = {"endpoint_urls": endpoints, "fetch_account_id": True}
        given = {"watches": [packages()], "sinks": {"hook": hook}, "accounts": {"sim": account}}
        config = configure(tmp_path, sim, **given)
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            await until(lambda: len(ledger.transitions(store)) == 1)
            sim.change("pkg", Status="FAILED")
            await until(lambda: len(receiver.requests) == 1)
            await until(lambda: program.logged("account_id.unknown"))
            assert {one["account_id"] for one in await _sources(url)} == {None}
            assert (await program.stop(SIGTERM))[0] == 0
    ((event, _),) = receiver.requests
    assert "account_id" not in event["data"]
    (line,) = program.logged("account_id.unknown")
    assert (line["level"], line["account"], line["reason"]) == ("warning", "sim", "transient")
