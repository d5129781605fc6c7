"""``job-monitor health``: asked by a container's health check, of a real daemon."""

from contextlib import asynccontextmanager
from signal import SIGTERM

import pytest
from aiohttp import web

from monitor import simulator
from tests import ports
from tests.acceptance.program import configure, run, running
from tests.certificates import certificate

TOKEN = "a-token-of-more-than-sixteen-characters"
HASH = "$2y$04$pNlSqHyhVMTC43LHTT6rROe7NFcXVsFBtxNGFhjD9/3TWQ0lDOwGS"
JOBS = {"jobs": [{"id": "pkg", "service": "panorama"}]}

pytestmark = pytest.mark.timeout(600)


@asynccontextmanager
async def daemon(directory, host="127.0.0.1", **server):
    """Run a daemon on a port that its configuration names; yield both."""
    listen = f"{host}:{ports.free_port(host)}"
    async with simulator.running(JOBS) as sim:
        config = configure(directory, sim, server={"listen": listen, **server})
        async with running("run", "-c", config, directory=directory) as program:
            await program.started()
            yield config, program


async def test_a_daemon_is_healthy_while_it_runs_and_not_after(tmp_path):
    async with daemon(tmp_path) as (config, program):
        told = await run("health", "-c", config, directory=tmp_path)
        by_variable = await run("health", directory=tmp_path, JOB_MONITOR_CONFIG=str(config))
        assert (await program.stop(SIGTERM))[0] == 0
        gone = await run("health", "-c", config, directory=tmp_path)
    assert told == by_variable == (0, "healthy\n", "")
    assert gone == (1, "", "unreachable: connection refused\n")


async def test_the_simulator_answers_the_same_question_even_while_its_aws_is_down(tmp_path):
    outage = {"kind": "error", "status": 503, "code": "ServiceUnavailable"}
    async with simulator.running({**JOBS, "faults": [outage]}) as sim:
        told = await run("health", "--url", sim.url, directory=tmp_path)
        requests = sim.truth.requests.count
    assert told == (0, "healthy\n", "")
    assert requests == 0


async def test_one_that_listens_everywhere_is_asked_on_loopback(tmp_path):
    async with daemon(tmp_path, host="0.0.0.0") as (config, _):
        assert (await run("health", "-c", config, directory=tmp_path))[0] == 0


async def test_one_with_tls_and_users_is_known_by_its_certificate_and_let_in_by_a_token(tmp_path):
    certificate(tmp_path / "own.pem", "monitor.test", 9)
    (tmp_path / "token").write_text(TOKEN + "\n")
    (tmp_path / "web.yml").write_text(
        "tls_server_config: {cert_file: own.pem, key_file: own.pem}\n"
        f"basic_auth_users: {{alice: {HASH}}}\n"
    )
    web_config_file, token_files = str(tmp_path / "web.yml"), [str(tmp_path / "token")]
    async with daemon(tmp_path, web_config_file=web_config_file, token_files=token_files) as (
        config,
        _,
    ):
        told = await run("health", "-c", config, directory=tmp_path)
        stranger = await run(
            "health", "-c", config, directory=tmp_path, JOB_MONITOR_SERVER__TOKEN_FILES="[]"
        )
        certificate(tmp_path / "own.pem", "monitor.test", 9)
        (tmp_path / "other.yml").write_text(
            "tls_server_config: {cert_file: other.pem, key_file: other.pem}\n"
        )
        certificate(tmp_path / "other.pem", "monitor.test", 9)
        impostor = await run(
            "health",
            "-c",
            config,
            directory=tmp_path,
            JOB_MONITOR_SERVER__WEB_CONFIG_FILE=str(tmp_path / "other.yml"),
        )
    assert told == (0, "healthy\n", "")
    assert stranger == (0, "it answers, and gives details to users only\n", "")
    assert impostor == (1, "", "unreachable: certificate verify failed\n")


async def test_a_mistake_in_a_file_that_has_just_been_changed_says_nothing_of_the_daemon(tmp_path):
    async with daemon(tmp_path) as (config, _):
        config.write_text(config.read_text().replace('"interval"', '"intervall"'))
        assert (await run("check", "-c", config, directory=tmp_path))[0] == 2
        assert (await run("health", "-c", config, directory=tmp_path))[0] == 0


async def test_what_a_sick_daemon_says_is_passed_on(tmp_path):
    async def answer(_request):
        return web.Response(status=503, text="the scheduler's last pass was 99 s ago\n")

    app = web.Application()
    app.router.add_get("/-/healthy", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        told = await run("health", "--url", url, directory=tmp_path)
    finally:
        await runner.cleanup()
    assert told == (1, "", "the scheduler's last pass was 99 s ago\n")


@pytest.mark.parametrize(
    ("arguments", "listen", "error"),
    [
        (["--url", "monitor.test"], None, "--url: is not a URL (write http://HOST:PORT"),
        ([], "127.0.0.1:0", "server.listen: says any free port (name a --url)"),
    ],
)
async def test_what_names_no_place_is_a_mistake(tmp_path, arguments, listen, error):
    changes = {"JOB_MONITOR_SERVER__LISTEN": listen}
    code, out, err = await run("health", *arguments, directory=tmp_path, **changes)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {error}")


async def test_it_loads_nothing_of_what_makes_the_daemon_slow_to_start(tmp_path):
    _, _, err = await run("health", directory=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    loaded = {line.rpartition("|")[2].strip() for line in err.splitlines()}
    assert {"http.client", "monitor.config"} <= loaded
    assert not loaded & {"aiohttp", "aiobotocore", "botocore", "sqlalchemy", "alembic"}
