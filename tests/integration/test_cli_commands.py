"""The command line as a whole: help, ``run`` and ``simulate``, and how each of them fails."""

import asyncio
import json
import os
import platform
import re
import socket
import stat
import sys
from contextlib import closing, suppress
from signal import SIGINT, SIGTERM

import pytest

from monitor import __version__, simulator
from tests.acceptance.program import (
    ROOT,
    configure,
    environment,
    fetch,
    run,
    running,
    until,
    webhook,
)

pytestmark = pytest.mark.timeout(600)

COMMANDS = ("run", "demo", "check", "show", "wait", "jobs", "simulate", "version")


@pytest.mark.parametrize("command", [(), *((command,) for command in COMMANDS)])
async def test_every_command_explains_itself(tmp_path, command):
    code, out, err = await run(*command, "--help", directory=tmp_path, TERM="dumb", anew=True)
    assert await run(*command, "-h", directory=tmp_path, TERM="dumb") == (code, out, err)
    assert (code, err) == (0, "")
    assert "Usage:" in out
    assert "\x1b" not in out
    assert all(name in out for name in ((*COMMANDS, "--version") if not command else ("--help",)))


async def test_it_tells_its_version(tmp_path):
    told = await run("--version", directory=tmp_path, anew=True)
    assert told == (0, f"job-monitor {__version__}\n", "")


async def test_it_tells_what_it_runs_on(tmp_path):
    code, out, err = await run("version", directory=tmp_path)
    assert (code, err) == (0, "")
    assert out.startswith(f"job-monitor {__version__}\n")
    code, out, err = await run("version", "--output", "json", directory=tmp_path)
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["version"] == __version__
    assert told["python"] == platform.python_version()
    assert set(told) == {"version", "python", "implementation", "platform"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("rnu", "no such command 'rnu'. Did you mean 'run'? (try: PROG --help)"),
        ("--foo", "no such option --foo (try: PROG --help)"),
        ("run --foo", "no such option --foo (try: PROG run --help)"),
        ("run --confg x", "no such option --confg (did you mean --config? try: PROG run --help)"),
        ("run --config", "option '--config' requires an argument (try: job-monitor --help)"),
        ("run this", "got unexpected extra argument(s) (this) (try: PROG run --help)"),
        ("show", "missing argument 'TYPE' (try: PROG show --help)"),
        ("replay", "missing option '--sink' (try: PROG replay --help)"),
        (
            "deliveries lst",
            "no such command 'lst'. Did you mean 'list'? (try: PROG deliveries --help)",
        ),
        (
            "deliveries list --status late",
            (
                "invalid value for '--status': 'late' is not one of 'pending', 'delivered', 'dead',"
                " 'silenced', 'discarded'"
                " (try: PROG deliveries list --help)"
            ),
        ),
        ("demo --duration soon", "--duration: is not a duration (write 30s, 5m, 2h or 3d)"),
    ],
)
async def test_wrong_usage_is_one_line_with_a_remedy_and_exit_code_2(tmp_path, arguments, said):
    code, out, err = await run(*arguments.split(), directory=tmp_path)
    assert (code, out) == (2, "")
    assert err == f"error: {said}\n".replace("PROG", "python -m monitor")


@pytest.mark.parametrize("given", ["--n\x1b[31mo", "--no\nline", "\x1b[31mno", "--limit=\x1b[31m"])
async def test_wrong_usage_is_repeated_without_control_characters(tmp_path, given):
    code, out, err = await run("transitions", "list", given, directory=tmp_path)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "\x1b" not in err


@pytest.mark.parametrize("group", [(), ("hints",)])
async def test_a_command_without_its_command_explains_itself(tmp_path, group):
    code, out, err = await run(*group, directory=tmp_path, TERM="dumb")
    assert (code, err) == (2, "")
    assert out.count("Usage:") == 1


# Each command in a fork of a process that has imported nothing: its output, and its modules.
_FORKED = """
import json, os, sys
for number, arguments in enumerate(json.loads(sys.argv[1])):
    if os.fork():
        os.wait()
        continue
    sys.argv = ["job-monitor", *arguments]
    os.dup2(os.open(f"{number}.out", os.O_CREAT | os.O_WRONLY), 1)
    from monitor.cli import main
    try:
        main.main()
    except SystemExit as end:
        with open(f"{number}.modules", "w") as file:
            json.dump([end.code, *sys.modules], file)
    os._exit(0)
"""

SDK = {"botocore", "aiobotocore", "urllib3"}
DAEMON = {"monitor.app", "alembic", "jinja2", "prometheus_client", "uvloop", "watchfiles"}
LOG = {"structlog", "monitor.logs"}
HTTP = {"aiohttp", "yarl", "http.client"}
STORE = {"sqlalchemy", "monitor.stores.reader"}
WRITING = {"monitor.stores.store", "monitor.stores.writes", "monitor.stores.outbox"}
POLLING = {"monitor.polling.schedule", "monitor.recording.diff"}
SETTINGS = {"yaml", "monitor.config.settings"}
HELP = {"rich", "markdown_it", "pygments"}
PLAIN = SDK | DAEMON | LOG | HTTP
READING = PLAIN | HELP | WRITING | POLLING
ASKING = SDK | DAEMON | LOG | STORE | SETTINGS | HELP
LISTINGS = ("jobs", "transitions", "deliveries", "sinks", "replicas")


@pytest.mark.timeout(600)
async def test_a_command_imports_no_more_than_it_needs(tmp_path):
    """What takes long to import, and is of no use to a command, is not imported by it."""
    async with simulator.running({"jobs": [{"id": "EX1", "service": "importexport"}]}) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            await until(lambda: program.logged("job.transitioned"))
            table = {
                "version": PLAIN | STORE | SETTINGS | HELP | {"anyio", "asyncio"},
                "run --help": PLAIN | STORE | SETTINGS,
                "jobs --help": PLAIN | STORE | SETTINGS | {"anyio", "asyncio"},
                "check --help": PLAIN | STORE | SETTINGS | {"anyio", "asyncio"},
                "--help": PLAIN | STORE | SETTINGS,
                "types list": PLAIN | STORE | HELP,
                f"silences --server {url}": ASKING,
                **{f"{one} --server {url}": ASKING for one in LISTINGS},
                f"jobs -c {config}": READING | {"monitor.web.api.schemas"},
                f"transitions -c {config}": READING | {"monitor.web.api.schemas"},
                f"deliveries -c {config}": READING | {"monitor.web.api.schemas"},
                f"sinks -c {config}": READING,
                f"sources -c {config}": PLAIN | HELP | WRITING,
                f"replicas -c {config}": READING,
            }
            commands = [command.split() for command in table]
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", _FORKED, json.dumps(commands)),
                stderr=asyncio.subprocess.PIPE,
                env=environment(),
                cwd=tmp_path,
            )
            _, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    for number, (command, forbidden) in enumerate(table.items()):
        code, *modules = json.loads((tmp_path / f"{number}.modules").read_text())
        assert code == 0, (command, err.decode())
        assert (tmp_path / f"{number}.out").read_text() or "silences" in command, command
        assert forbidden.isdisjoint(modules), (command, forbidden & {*modules})
        own = {name for name in modules if name.startswith("monitor.cli.commands.")}
        assert len(own) == 1 or command == "--help", (command, own)


async def test_what_a_daemon_does_not_use_is_not_imported(tmp_path):
    """Its log would bring in a library for tracebacks in colours."""
    code = "import sys; import monitor.app; print(*sys.modules)"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code), stdout=asyncio.subprocess.PIPE, cwd=ROOT, env=environment()
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert {*HELP, "alembic"}.isdisjoint(out.decode().split())


async def test_run_without_a_configuration_says_what_to_do(tmp_path):
    code, out, err = await run("run", directory=tmp_path)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "--config" in err
    assert "job-monitor demo" in err


async def test_a_port_in_use_is_one_line(tmp_path):
    async with simulator.running() as sim:
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port = taken.getsockname()[1]
            config = configure(tmp_path, sim, server={"listen": f"127.0.0.1:{port}"})
            code, out, err = await run("run", "-c", config, directory=tmp_path)
    assert (code, out) == (2, "")
    assert err == (
        f"error: server.listen: 127.0.0.1:{port}: the port is in use"
        " (stop what uses it, or choose another port)\n"
    )


async def test_a_start_that_fails_does_not_wait_for_the_files_to_be_compared(tmp_path):
    rounds = "from monitor.runtime import reload; reload.ROUND = 3_600_000; "
    code = f"{rounds}from monitor.__main__ import main; main()"
    (tmp_path / "elsewhere").mkdir()  # what is written beside the configuration begins a round
    async with simulator.running() as sim:
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            listen = f"127.0.0.1:{taken.getsockname()[1]}"
            store = f"sqlite:///{tmp_path}/elsewhere/state.db"
            config = configure(tmp_path, sim, server={"listen": listen}, store=store)
            command = (sys.executable, "-c", code, "run", "-c", str(config))
            process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment())
            try:
                assert await asyncio.wait_for(process.wait(), 60) == 2
            finally:
                with suppress(ProcessLookupError):
                    process.kill()


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("sqlite:///nonexistent/state.db", "/nonexistent"),
        ("sqlite:///proc/state.db", "/proc/state.db"),
        ("sqlite:///dev/null/state.db", "/dev/null"),
    ],
)
async def test_a_store_that_cannot_be_made_is_one_line(tmp_path, store, said):
    async with simulator.running() as sim:
        config = configure(tmp_path, sim, store=store)
        code, out, err = await run("run", "-c", config, directory=tmp_path)
    assert code in {2, 74}
    assert out == ""
    assert len(err.splitlines()) == 1
    assert said in err


async def test_a_store_in_a_directory_without_permission_is_one_line(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    # The superuser may write everywhere, until that power is taken away.
    powerless = ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()
    async with simulator.running() as sim:
        config = configure(tmp_path, sim, store=f"sqlite://{closed}/state.db")
        code, _, err = await run("run", "-c", config, directory=tmp_path, prefix=powerless)
    assert code == 74
    assert "Permission denied" in err
    assert len(err.splitlines()) == 1


async def test_a_file_that_is_no_database_is_one_line_and_left_alone(tmp_path):
    (tmp_path / "state.db").write_text("these are my notes " * 100)
    async with simulator.running() as sim:
        config = configure(tmp_path, sim)
        code, _, err = await run("run", "-c", config, directory=tmp_path)
    assert code == 74
    assert len(err.splitlines()) == 1
    assert (tmp_path / "state.db").read_text().startswith("these are my notes")


async def test_the_log_sink_writes_events_to_standard_output_and_nothing_else(tmp_path):
    async with simulator.running({"jobs": [{"id": "pkg", "service": "panorama"}]}) as sim:
        sinks = {"audit": {"type": "log"}, "hook": webhook(sim)}
        config = configure(tmp_path, sim, sinks=sinks)
        async with running("run", "-c", config, directory=tmp_path) as program:
            await until(lambda: program.logged("job.transitioned"))
            sim.change("pkg", Status="SUCCEEDED")
            await until(lambda: program.out.endswith("\n"))
            assert (await program.stop(SIGTERM))[0] == 0
    (event,) = map(json.loads, program.out.splitlines())
    assert event["data"]["current"] == {"state": "SUCCEEDED", "phase": "succeeded"}


async def test_the_console_format_is_plain_where_nobody_looks(tmp_path):
    async with simulator.running() as sim:
        config = configure(tmp_path, sim, log={"format": "console"})
        async with running("run", "-c", config, directory=tmp_path) as program:
            await until(lambda: "daemon.started" in program.err)
            await program.stop(SIGTERM)
    assert "\x1b" not in program.err


@pytest.mark.parametrize("signal", [SIGTERM, SIGINT])
async def test_simulate_serves_and_stops(tmp_path, signal):
    arguments = ("--listen", "127.0.0.1:0", "--receiver", "127.0.0.1:0")
    directory = tmp_path / "truth"
    async with running(
        "simulate", "--scenario", "steady", *arguments, "--directory", directory, directory=tmp_path
    ) as program:
        await program.said("Faults")
        aws, receiver = re.findall(r"http://127\.0\.0\.1:\d+", program.out)
        status, _, text = await fetch(f"{aws}/_simulator/health")
        assert (status, json.loads(text)["scenario"]) == (200, "steady")
        assert (await fetch(f"{receiver}/hook/x"))[0] == 204
        code, took = await program.stop(signal)
    assert (code, program.err) == (0, "")
    assert took < 10
    assert "pkg-good" in (directory / "truth.jsonl").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--scenario", "nonexistent"), "nonexistent"),
        (("--listen", "here"), "127.0.0.1:4566"),
        (("--directory", "/proc/truth"), "directory"),
    ],
)
async def test_what_simulate_cannot_do_is_one_line(tmp_path, arguments, said):
    free = ("--listen", "127.0.0.1:0", "--receiver", "127.0.0.1:0")
    code, out, err = await run("simulate", *free, *arguments, directory=tmp_path)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert said in err


async def test_simulate_on_a_port_in_use_is_one_line(tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = ("--listen", address, "--receiver", "127.0.0.1:0")
        code, out, err = await run("simulate", *arguments, directory=tmp_path)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1


async def test_a_reader_that_leaves_is_no_traceback(tmp_path):
    """As in ``job-monitor check | head -0``."""
    reader, writer = os.pipe()
    os.close(reader)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "monitor", "check", "-c", ROOT / "config" / "minimal.yaml"),
        stdout=writer,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
        cwd=tmp_path,
    )
    os.close(writer)
    _, err = await process.communicate()
    assert process.returncode not in {0, 70}
    assert err == b""
