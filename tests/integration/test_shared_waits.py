"""Any number of waits for one job share one run-time watch, which the daemon removes."""

import json
from contextlib import asynccontextmanager
from datetime import timedelta
from random import Random

import anyio
import pytest

from monitor import simulator
from monitor.app import Daemon
from monitor.clock import SystemClock
from monitor.config import Settings
from monitor.errors import DaemonError
from monitor.runtime import runtime_watches
from monitor.tools import api_client, wait
from monitor.tools.wait import Outcome
from monitor.tools.wait_on_daemon import DaemonGetter, JobSelector
from tests.acceptance.program import configure, run, running, until
from tests.moto_kit import Aws
from tests.ports import free_port
from tests.unit.sources.test_items import GLUE

pytestmark = pytest.mark.timeout(600)

FORMS = [pytest.param(60, id="quick"), pytest.param(200, id="long", marks=pytest.mark.soak)]
PACKAGE, OWN = "panorama.package-import", "panorama.own-import"
TOKEN = "a-token-of-more-than-sixteen-characters"
TYPE_FILE = """
name: panorama.own-import
service: panorama
interval: 1s
id: {path: JobId}
describe: {operation: DescribePackageImportJob, params: {JobId: "{id}"}}
state: Status
phases: {running: [PENDING], succeeded: [SUCCEEDED], failed: [FAILED]}
missing: [ResourceNotFound, {code: Validation, where: "Fields[?Name == 'JobId']"}]
"""
RUNS = f"{GLUE}interval: 1s\nmissing: [EntityNotFound]\n"


def job(**members):
    return {"jobs": [{"id": "pkg", "service": "panorama", "members": members}]}


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")


def configuration(directory, sim, **changes):
    """Write a configuration with no watch, an own job type, and a token to write with."""
    (directory / "types").mkdir(exist_ok=True)
    (directory / "types" / "own.yaml").write_text(TYPE_FILE)
    (directory / "token").write_text(TOKEN)
    server = {"listen": "127.0.0.1:0", "token_files": [str(directory / "token")]}
    more = {"watches": [], "sinks": {}, "job_types_dir": str(directory / "types")}
    server |= changes.pop("server", {})
    return configure(directory, sim, server=server, **(more | changes))


@asynccontextmanager
async def daemon(directory, sim, **changes):
    """Run a daemon in this process; yield its URL."""
    file = configuration(directory, sim, **changes)
    stop, urls = anyio.Event(), list[str]()
    async with anyio.create_task_group() as tasks:
        made = Daemon(Settings.model_validate_json(file.read_text()))
        tasks.start_soon(made.run, stop, lambda running: urls.append(running.url))
        await until(lambda: urls)
        try:
            yield urls[0]
        finally:
            stop.set()


@asynccontextmanager
async def client(directory, url):
    async with api_client.open_client(url, directory / "token") as found:
        yield found


async def wait_for(directory, url, type_=OWN, job_id="pkg", shown=lambda _: None, longest=60.0):
    """Wait for one job as the command does, on connections of its own."""
    selector = JobSelector(type_, "sim", "us-east-1", job_id)
    async with client(directory, url) as own:
        getter = DaemonGetter(own, selector, SystemClock(), Random(1))
        return await wait.wait(getter, str(selector), longest, shown)


async def all_of(count, act):
    """Do ``act`` so many times at once; return what each returned."""
    found = []

    async def one():
        found.append(await act())

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(one)
    return found


async def until_nothing_is_watched(own):
    with anyio.fail_after(90):
        while await own.watches():  # noqa: ASYNC110 -- the daemon brings it about
            await anyio.sleep(0.05)


@pytest.mark.parametrize("many", FORMS)
async def test_many_waits_for_an_ended_job_cost_as_many_requests_as_one(tmp_path, many):
    costs = {}
    for waiters in (1, many):
        directory = tmp_path / str(waiters)
        directory.mkdir()
        async with (
            simulator.running(job(Status="SUCCEEDED")) as sim,
            daemon(directory, sim) as url,
            client(directory, url) as own,
        ):
            act = lambda: wait_for(directory, url)  # noqa: B023, E731 -- used within the turn
            results = await all_of(waiters, act)
            assert len(await own.watches()) == 1
            costs[waiters] = sim.truth.requests.count
        assert [each.outcome for each in results] == [Outcome.SUCCEEDED] * waiters
    assert costs == {1: 1, many: 1}


@pytest.mark.parametrize("waiters", FORMS)
async def test_while_a_job_runs_many_waits_cause_the_polls_of_one_watch(tmp_path, waiters):
    shown = set()
    async with simulator.running(job()) as sim, daemon(tmp_path, sim) as url:
        began = anyio.current_time()
        numbers = iter(range(waiters))

        async def one():
            number = next(numbers)
            note = lambda progress: shown.add(number) if progress.state else None  # noqa: E731
            return await wait_for(tmp_path, url, shown=note, longest=120)

        async with anyio.create_task_group() as tasks:
            results = []

            async def every():
                results.extend(await all_of(waiters, one))

            tasks.start_soon(every)
            await until(lambda: len(shown) == waiters)
            before, at = sim.truth.requests.count, anyio.current_time()
            await anyio.sleep(5)
            await until(lambda: sim.truth.requests.count - before >= 3)
            polls, took = sim.truth.requests.count - before, anyio.current_time() - at
            sim.change("pkg", Status="FAILED")
        total, whole = sim.truth.requests.count, anyio.current_time() - began
    assert [each.outcome for each in results] == [Outcome.FAILED] * waiters
    # One poll a second, whoever waits; at each edge of the time there may be one more.
    assert 3 <= polls <= took + 2
    assert total <= whole + 2


async def test_a_watch_that_is_added_many_times_at_once_is_one_and_none_fails(tmp_path):
    watch = {
        "name": "mine",
        "type": OWN,
        "account": "sim",
        "regions": ["us-east-1"],
        "jobs": ["pkg"],
        "expires": "final",
    }
    async with (
        simulator.running(job()) as sim,
        daemon(tmp_path, sim) as url,
        client(tmp_path, url) as own,
    ):
        await all_of(20, lambda: own.add_watch(watch))
        assert await own.watches() == [watch]
        with pytest.raises(DaemonError, match="status 409"):
            await own.add_watch({**watch, "interval": "1m"})
        lasting = {key: watch[key] for key in watch if key != "expires"}
        with pytest.raises(DaemonError, match="status 409"):
            await own.add_watch(lasting)
        with pytest.raises(DaemonError) as raised:
            await own.add_watch({**watch, "name": "other", "jobs": [], "discover": True})
    assert [str(each) for each in raised.value.problems] == [
        "has both expires and discover (name its jobs: jobs: [ID])"
    ]


async def test_the_watch_is_removed_once_its_job_has_ended_and_not_before(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime_watches, "SWEEP", 0.1)
    monkeypatch.setattr(runtime_watches, "ENDED", timedelta(0))
    async with (
        simulator.running(job()) as sim,
        daemon(tmp_path, sim) as url,
        client(tmp_path, url) as own,
    ):
        result = await wait_for(tmp_path, url, longest=6)
        assert (result.outcome, len(await own.watches())) == (Outcome.TIMEOUT, 1)
        sim.change("pkg", Status="SUCCEEDED")
        await until_nothing_is_watched(own)
        polled = sim.truth.requests.count
        again = await wait_for(tmp_path, url, longest=60)
        assert (again.outcome, sim.truth.requests.count) == (Outcome.SUCCEEDED, polled)
        assert not await own.watches()


async def test_a_wait_for_a_job_that_does_not_exist_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime_watches, "SWEEP", 0.1)
    monkeypatch.setattr(runtime_watches, "UNATTENDED", timedelta(seconds=1))
    monkeypatch.setattr(runtime_watches, "RETURN", timedelta(seconds=1))
    async with (
        simulator.running(job()) as sim,
        daemon(tmp_path, sim) as url,
        client(tmp_path, url) as own,
    ):
        result = await wait_for(tmp_path, url, job_id="nope", longest=3)
        assert result.outcome is Outcome.UNREACHABLE
        await until_nothing_is_watched(own)


async def test_waits_survive_a_restart_with_their_watch(tmp_path):
    port = {"listen": f"127.0.0.1:{free_port()}"}
    shown: list[wait.Progress] = []
    added = []
    async with simulator.running(job()) as sim, anyio.create_task_group() as tasks:

        async def one(url, results):
            results.append(await wait_for(tmp_path, url, shown=shown.append, longest=150))

        results: list[wait.WaitResult] = []
        for turn in range(2):
            async with daemon(tmp_path, sim, server=port) as url, client(tmp_path, url) as own:
                if turn == 0:
                    for _ in range(10):
                        tasks.start_soon(one, url, results)
                    await until(lambda: sum(each.state is not None for each in shown) >= 10)
                added.append(await own.watches())
                if turn == 1:
                    sim.change("pkg", Status="SUCCEEDED")
                    await until(lambda: len(results) == 10)
    assert [each.outcome for each in results] == [Outcome.SUCCEEDED] * 10
    assert added[0] == added[1]
    assert len(added[0]) == 1


async def test_the_command_needs_no_configuration_and_tells_by_its_exit_code(tmp_path):
    tried = {"good": "SUCCEEDED", "bad": "FAILED", "slow": "PENDING"}
    jobs = [
        {"id": name, "service": "panorama", "members": {"Status": status}}
        for name, status in tried.items()
    ]
    async with simulator.running({"jobs": jobs}) as sim:
        config = configuration(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            place = ("--server", url, "--account", "sim", "--timeout")
            token = ("--token-file", tmp_path / "token")

            async def told(type_, job_id, *options, **env):
                longest = "6s" if job_id == "slow" else "90s"  # that one does not end
                arguments = ("wait", type_, job_id, *place, longest, *options)
                code, _, err = await run(*arguments, directory=tmp_path, **env)
                return code, err.splitlines()[-1] if err else ""

            own = {"AWS_REGION": "us-east-1"}
            found = {name: await told(OWN, name, *token, **own) for name in tried}
            nowhere = await told(OWN, "other", *token)
            unknown = await told("panorama.unknown", "x", *token, **own)
            stranger = await told(OWN, "other", **own)
            again = await told(OWN, "slow", **own)
    assert {name: code for name, (code, _) in found.items()} == {"good": 0, "bad": 1, "slow": 3}
    assert nowhere[0] == 2
    assert f"--region: jobs of type {OWN} exist in several regions" in nowhere[1]
    assert unknown[0] == 2
    assert 'TYPE: unknown job type "panorama.unknown"' in unknown[1]
    assert stranger[0] == 4
    assert stranger[1] == (
        f"error: {OWN}/sim/other: unreachable: no watch follows it, and none can be added: {url} "
        "answers with status 401: credentials are needed (--token-file names a file with a token)"
    )
    # Who may only read can wait for what is watched already.
    assert again[0] == 3


async def test_where_nobody_may_write_the_error_says_how_to_allow_it(tmp_path):
    async with simulator.running(job()) as sim:
        config = configuration(tmp_path, sim, server={"token_files": []})
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            code, _, err = await run("wait", OWN, "pkg", "--server", url, directory=tmp_path)
    assert code == 4
    assert len(err.splitlines()) == 1
    assert "answers with status 403: writing is not configured: name a file with a token" in err


# Own job types


@pytest.mark.parametrize("command", ["wait", "show"])
async def test_a_type_file_needs_no_configuration(tmp_path, command):
    (tmp_path / "own.yaml").write_text(TYPE_FILE)
    async with simulator.running(job(Status="SUCCEEDED")) as sim:
        place = {"AWS_ENDPOINT_URL": sim.url, "AWS_REGION": "us-east-1"}
        arguments = (command, OWN, "pkg", "--type-file", tmp_path / "own.yaml", "-o", "json")
        code, out, err = await run(*arguments, directory=tmp_path, **place)
    assert code == 0, err
    assert json.loads(out)["job"] == f"{OWN}/default/us-east-1/pkg"


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        ("", (PACKAGE, "pkg"), "TYPE: is not the type that own.yaml declares"),
        ("phases: {}\n", (OWN, "pkg"), "own.yaml:"),
        ("", (OWN, "pkg", "--server", "http://h"), "--type-file: cannot be sent to the daemon"),
    ],
    ids=["other", "invalid", "server"],
)
async def test_a_mistake_with_a_type_file_is_exit_code_2(tmp_path, change, arguments, said):
    (tmp_path / "own.yaml").write_text(TYPE_FILE + change)
    code, out, err = await run(
        *("wait", *arguments, "--type-file", "own.yaml"), directory=tmp_path, AWS_REGION="us-east-1"
    )
    assert (code, out) == (2, ""), err
    assert said in err


async def test_a_type_file_is_enough_for_another_service(tmp_path, moto):
    run_id = _glue_run(moto, "nightly")
    (tmp_path / "glue.yaml").write_text(RUNS)
    place = {"AWS_ENDPOINT_URL": moto, "AWS_REGION": "us-east-1"}
    arguments = ("wait", "my.run", f"nightly/{run_id}", "--type-file", "glue.yaml")
    code, _, err = await run(*arguments, "--timeout", "90s", directory=tmp_path, **place)
    assert code == 0, err


async def test_a_run_time_watch_takes_every_type_and_the_parents_of_a_listing(tmp_path, moto):
    run_id = _glue_run(moto, "hourly")
    async with simulator.running() as sim:
        accounts = {"sim": {"endpoint_urls": {"glue": moto}}}
        (tmp_path / "types").mkdir()
        (tmp_path / "types" / "glue.yaml").write_text(RUNS)
        place = {"type": "my.run", "account": "sim", "regions": ["us-east-1"]}
        async with (
            daemon(tmp_path, sim, accounts=accounts) as url,
            client(tmp_path, url) as own,
        ):
            await own.add_watch({"name": "runs", **place, "discover": {"of": ["hourly"]}})
            await until_ended(own, f"hourly/{run_id}")
            with pytest.raises(DaemonError) as raised:
                await own.add_watch({"name": "all", **place, "discover": True})
            assert raised.value.problems[0].path == "discover"
            await own.add_watch({"name": "all", **place, "discover": {"of": "all"}})


async def until_ended(own, job_id):
    with anyio.fail_after(90):
        while True:
            found, _ = await own.jobs([], 10)
            if any(each.id == job_id and each.terminal for each in found):
                return
            await anyio.sleep(0.1)


def _glue_run(moto, name):
    aws = Aws(moto)
    try:
        aws.ask("glue", "create_job", Name=name, Role="role", Command={"Name": "glueetl"})
        return aws.ask("glue", "start_job_run", JobName=name)["JobRunId"]
    finally:
        aws.close()
