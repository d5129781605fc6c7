"""``job-monitor wait``: the real process, by looks of its own and through a daemon."""

import asyncio
import fcntl
import json
import os
import pty
import re
import shlex
import struct
import termios
from contextlib import asynccontextmanager
from signal import SIGINT, SIGTERM

import anyio
import pytest

from monitor import simulator
from monitor.aws.errors import normal_code
from tests import forks
from tests.acceptance.program import (
    PATIENCE,
    Program,
    configure,
    disks,
    environment,
    packages,
    run,
    running,
    until,
)
from tests.acceptance.test_daemon_credentials import hanging_helper, has_ended
from tests.certificates import certificate
from tests.ports import free_port

pytestmark = pytest.mark.timeout(600)

PACKAGE, DISK = "panorama.package-import", "importexport.job"
KEY = f"{PACKAGE}/sim/us-east-1/pkg"
OWN = ("--account", "sim", "--region", "us-east-1", "--interval", "200ms")
TOKEN = "a-token-of-more-than-sixteen-characters"
HASH = "$2y$04$pNlSqHyhVMTC43LHTT6rROe7NFcXVsFBtxNGFhjD9/3TWQ0lDOwGS"
WRONG = "The signature of this answer is S3cretCanary."


def jobs(**members):
    return {"jobs": [{"id": "pkg", "service": "panorama", "members": members}]}


@asynccontextmanager
async def daemon(directory, sim, **changes):
    """Run a daemon on a port of its own; yield the program and its URL."""
    listen = {"listen": f"127.0.0.1:{free_port()}", **changes.pop("server", {})}
    config = configure(directory, sim, server=listen, **changes)
    async with running("run", "-c", config, directory=directory) as program:
        yield program, await program.started(), config


def way(directory, sim, how):
    """Return what runs beside the command, and the options that choose the way."""
    if how == "daemon":
        return daemon(directory, sim)
    return own(directory, sim)


@asynccontextmanager
async def own(directory, sim):
    yield None, None, configure(directory, sim)


def options(url, config):
    return ("--server", url) if url else ("-c", config, *OWN)


BOTH = pytest.mark.parametrize("how", ["own", "daemon"])


# Exit codes


@BOTH
@pytest.mark.parametrize(
    ("status", "code", "outcome"), [("SUCCEEDED", 0, "succeeded"), ("FAILED", 1, "failed")]
)
async def test_a_job_that_has_ended_is_told_without_waiting(tmp_path, how, status, code, outcome):
    async with (
        simulator.running(jobs(Status=status)) as sim,
        way(tmp_path, sim, how) as (_, url, config),
    ):
        arguments = ("wait", PACKAGE, "pkg", *options(url, config), "-o", "json")
        told = await run(*arguments, directory=tmp_path)
    assert told[0] == code, told
    result = json.loads(told[1])
    assert (result["job"], result["outcome"], result["state"]) == (KEY, outcome, status)
    assert result["waited_seconds"] < PATIENCE
    assert result["seen_at"].endswith("Z")
    assert ("error: " in told[2]) == bool(code)


@BOTH
@pytest.mark.parametrize("progress", ["Canceled", "Expired"])
async def test_what_is_canceled_or_expired_has_failed(tmp_path, how, progress):
    disk = {"id": "EX1", "service": "importexport", "members": {"ProgressCode": progress}}
    async with (
        simulator.running({"jobs": [disk]}) as sim,
        way(tmp_path, sim, how) as (_, url, config),
    ):
        arguments = ("--server", url) if url else ("-c", config, "--account", "sim")
        code, out, _ = await run("wait", DISK, "EX1", *arguments, directory=tmp_path)
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (code, rows["phase"]) == (1, progress.lower())


@BOTH
async def test_a_timeout_is_exit_code_3_and_tells_the_last_state(tmp_path, how):
    async with simulator.running(jobs()) as sim, way(tmp_path, sim, how) as (_, url, config):
        arguments = ("wait", PACKAGE, "pkg", *options(url, config), "--timeout", "12s")
        code, out, err = await run(*arguments, directory=tmp_path)
    rows = dict((*line.split(maxsplit=1), "")[:2] for line in out.splitlines())
    assert (code, rows["outcome"], rows["state"]) == (3, "timeout", "PENDING")
    assert err.splitlines()[-1] == f"error: {KEY}: still PENDING (running) after 12s"


@BOTH
async def test_every_state_is_told_as_it_comes_and_nothing_is_coloured(tmp_path, how):
    async with simulator.running(jobs()) as sim, way(tmp_path, sim, how) as (_, url, config):
        arguments = ("wait", PACKAGE, "pkg", *options(url, config), "--timeout", "60s")
        async with running(*arguments, directory=tmp_path) as waiter:
            await until(lambda: "PENDING (running)" in waiter.err)
            sim.change("pkg", Status="SURPRISE")
            await until(lambda: "SURPRISE (unknown)" in waiter.err)
            assert waiter.alive
            sim.change("pkg", Status="SUCCEEDED")
            assert await waiter.ended() == 0
        lines = [line.split(": ", 1)[1] for line in waiter.err.splitlines()]
    # The daemon answers before its first sweep has found the job.
    if lines[0] == "unreachable now: no watch has discovered it yet":
        del lines[0]
    assert lines == [
        "PENDING (running)",
        "PENDING -> SURPRISE (unknown)",
        "SURPRISE -> SUCCEEDED (succeeded)",
    ]
    assert "\x1b" not in waiter.err + waiter.out
    assert "\r" not in waiter.err


@BOTH
async def test_ctrl_c_is_exit_code_130_without_a_word(tmp_path, how):
    async with simulator.running(jobs()) as sim, way(tmp_path, sim, how) as (_, url, config):
        arguments = ("wait", PACKAGE, "pkg", *options(url, config))
        async with running(*arguments, directory=tmp_path) as waiter:
            await until(lambda: "PENDING (running)" in waiter.err)
            code, took = await waiter.stop(SIGINT)
    assert code == 130
    assert took < 5
    # The daemon answers before its first sweep has found the job.
    assert waiter.err.splitlines()[-1].endswith(": PENDING (running)")
    assert waiter.out == ""


async def test_in_a_script_the_next_step_runs_only_after_success(tmp_path):
    async with simulator.running(jobs()) as sim:
        config = configure(tmp_path, sim)
        program, descriptors = forks.command(environment())
        line = f"{shlex.join(program)} wait {PACKAGE} $JOB -c {config} {' '.join(OWN)} \
            --timeout 30s >/dev/null && echo next-step"
        sim.add_job(id="bad", service="panorama", members={"Status": "FAILED"})
        sim.add_job(id="good", service="panorama", members={"Status": "SUCCEEDED"})
        told = {}
        for job in ("bad", "good"):
            shell = await asyncio.create_subprocess_shell(
                line,
                stdout=-1,
                stderr=-1,
                env=environment(JOB=job),
                cwd=tmp_path,
                pass_fds=descriptors,
            )
            out, _ = await shell.communicate()
            told[job] = (shell.returncode, out)
    assert told == {"bad": (1, b""), "good": (0, b"next-step\n")}


# By looks of its own


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"kind": "denied"}, "auth: AccessDeniedException"),
        ({"kind": "expired_credentials"}, "auth: ExpiredTokenException"),
        ({"kind": "error", "status": 400, "code": "ValidationException"}, "config: Validation"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["kind"],
)
async def test_what_does_not_mend_itself_is_exit_code_4_at_the_first_look(tmp_path, fault, said):
    async with simulator.running({**jobs(), "faults": [fault]}) as sim:
        config = configure(tmp_path, sim)
        told = await run("wait", PACKAGE, "pkg", "-c", config, *OWN, directory=tmp_path)
        assert sim.truth.requests.count == 1
    code, out, err = told
    assert (code, out) == (4, "")
    assert len(err.splitlines()) == 1
    assert err.startswith(f"error: {KEY}: unreachable: {said}")


async def test_without_credentials_it_is_exit_code_4(tmp_path):
    none = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    async with simulator.running(jobs()) as sim:
        config = configure(tmp_path, sim)
        told = await run("wait", PACKAGE, "pkg", "-c", config, *OWN, directory=tmp_path, **none)
        assert sim.truth.requests.count == 0
    assert told[0] == 4
    assert "no AWS credentials were found" in told[2]


async def test_a_timeout_that_passes_while_a_helper_runs_says_that_it_was_waited_for(tmp_path):
    pids = hanging_helper(tmp_path)
    own = {
        "AWS_CONFIG_FILE": str(tmp_path / "aws"),
        "AWS_ACCESS_KEY_ID": None,
        "AWS_SECRET_ACCESS_KEY": None,
        "AWS_REGION": "us-east-1",
    }
    async with simulator.running(jobs()) as sim:
        arguments = ("wait", PACKAGE, "pkg", "--profile", "slow", "--timeout", "2s")
        code, _, err = await run(*arguments, directory=tmp_path, AWS_ENDPOINT_URL=sim.url, **own)
        assert sim.truth.requests.count == 0
    assert code == 4
    assert err.splitlines()[-1] == (
        f"error: {PACKAGE}/default/us-east-1/pkg: unreachable: the credentials were still "
        'waited for after 2 s: the credential process of profile "slow"; run the command by hand: '
        "it must print one JSON object with Version 1"
    )
    assert all(map(has_ended, pids.read_text().split()))


@pytest.mark.parametrize("how", ["environment", "arn"])
async def test_profile_and_region_are_found_as_show_finds_them(tmp_path, how):
    (tmp_path / "aws").write_text(
        "[profile own]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = x\n"
    )
    named = "arn:aws:panorama:us-east-1:123456789012:package-import-job/pkg"
    region = "us-east-1" if how == "environment" else "eu-west-1"
    async with simulator.running(jobs(Status="SUCCEEDED")) as sim:
        own = {
            "AWS_ENDPOINT_URL": sim.url,
            "AWS_CONFIG_FILE": str(tmp_path / "aws"),
            "AWS_REGION": region,
        }
        job = "pkg" if how == "environment" else named
        arguments = ("wait", PACKAGE, job, "--profile", "own", "-o", "json")
        code, out, err = await run(*arguments, directory=tmp_path, **own)
        keys = {request.access_key for request in sim.truth.requests}
    assert (code, keys) == (0, {"AKIAPROFILE"}), err
    assert json.loads(out)["job"] == f"{PACKAGE}/default/us-east-1/pkg"


async def test_there_is_no_such_job_when_aws_has_said_so_three_times(tmp_path):
    async with simulator.running(jobs()) as sim:
        config = configure(tmp_path, sim)
        told = await run(
            *("wait", PACKAGE, "nope", "-c", config, *OWN, "-o", "json"), directory=tmp_path
        )
        assert sim.truth.requests.count == 3
    code, out, err = told
    assert code == 4
    assert json.loads(out)["outcome"] == "unseen"
    assert normal_code("ResourceNotFoundException") in err.lower()


async def test_failed_looks_are_no_state_and_are_tried_again(tmp_path):
    outage = {"kind": "error", "status": 503, "code": "ServiceUnavailable", "name": "outage"}
    async with simulator.running({**jobs(), "faults": [outage]}) as sim:
        config = configure(tmp_path, sim)
        arguments = ("wait", PACKAGE, "pkg", "-c", config, *OWN, "--timeout", "90s")
        async with running(*arguments, directory=tmp_path) as waiter:
            await until(lambda: sim.truth.requests.count >= 3)
            assert "unreachable now: transient: ServiceUnavailable" in waiter.err
            sim.change("pkg", Status="SUCCEEDED")
            sim.faults.remove("outage")
            assert await waiter.ended() == 0
    assert len(waiter.err.splitlines()) == 2


async def test_never_seen_until_the_timeout_is_exit_code_4(tmp_path):
    async with simulator.running({**jobs(), "faults": [{"kind": "reset"}]}) as sim:
        config = configure(tmp_path, sim)
        arguments = ("wait", PACKAGE, "pkg", "-c", config, *OWN, "--timeout", "3s")
        code, out, err = await run(*arguments, directory=tmp_path)
        assert sim.truth.requests.count > 1
    assert (code, out) == (4, "")
    assert "unreachable: transient" in err.splitlines()[-1]


async def test_the_pause_that_aws_asks_for_is_kept(tmp_path):
    throttle = {
        "kind": "error",
        "status": 429,
        "code": "ThrottlingException",
        "name": "throttle",
        "retry_after": 4,
    }
    async with simulator.running({**jobs(Status="SUCCEEDED"), "faults": [throttle]}) as sim:
        config = configure(tmp_path, sim)
        arguments = ("wait", PACKAGE, "pkg", "-c", config, *OWN, "--timeout", "60s")
        async with running(*arguments, directory=tmp_path) as waiter:
            await until(lambda: sim.truth.requests.count == 1)
            sim.faults.remove("throttle")
            assert await waiter.ended() == 0
        first, second = sim.truth.requests
    assert second.time - first.time >= 3.9


# Through a daemon


@pytest.mark.parametrize("number", [6, pytest.param(20, marks=pytest.mark.soak)])
async def test_any_number_of_waiters_costs_no_request_to_aws(tmp_path, number):
    """The daemon asks just as often as without them."""
    watches = [packages(interval="2s"), disks(interval="2s")]
    async with (
        simulator.running(jobs()) as sim,
        daemon(tmp_path, sim, watches=watches) as (_, url, _),
        anyio.create_task_group() as tasks,
    ):
        await sim.truth.requests.wait_for(lambda one: one.state == 1)
        quiet = await _at_rest(sim)
        told: list[tuple[int, str]] = []
        waiters: list[Program] = []

        async def wait():
            arguments = ("wait", PACKAGE, "pkg", "--server", url, "--timeout", "200s")
            async with running(*arguments, directory=tmp_path) as waiter:
                waiters.append(waiter)
                told.append((await waiter.ended(), waiter.out))

        for _ in range(number):
            tasks.start_soon(wait)
        await until(lambda: sum("PENDING" in each.err for each in waiters) == number)
        busy = [await _requests_within(sim, 8)]
        # A busy machine may have delayed some of the quiet time, but not each time.
        while min(busy) - quiet > 3 and len(busy) < 5:
            busy.append(await _requests_within(sim, 8))
        sim.change("pkg", Status="SUCCEEDED")
        with anyio.fail_after(PATIENCE):
            while len(told) < number:  # noqa: ASYNC110 -- other processes bring it about
                await anyio.sleep(0.05)
    assert [code for code, _ in told] == [0] * number
    assert all("SUCCEEDED" in out for _, out in told)
    assert quiet >= 3
    # At the edges of both times one turn of each loop may fall on either side; and where as many
    # processes have the processors, there may be fewer.
    assert min(busy) - quiet <= 3


async def _at_rest(sim):
    """Return the requests of some time in which a busy machine let the daemon do its work."""
    found = 0
    for _ in range(5):
        found = max(found, await _requests_within(sim, 8))
        if found >= 3:
            break
    return found


async def _requests_within(sim, seconds):
    before = sim.truth.requests.count
    await anyio.sleep(seconds)
    return sim.truth.requests.count - before


async def test_a_daemon_that_is_killed_and_started_again_is_survived(tmp_path):
    async with simulator.running(jobs()) as sim, daemon(tmp_path, sim) as (program, url, config):
        arguments = ("wait", PACKAGE, "pkg", "--server", url, "--timeout", "200s")
        async with running(*arguments, directory=tmp_path) as waiter:
            await until(lambda: "PENDING (running)" in waiter.err)
            assert await program.kill()
            await until(lambda: "unreachable now" in waiter.err)
            async with running("run", "-c", config, directory=tmp_path) as again:
                await again.started()
                await until(lambda: waiter.err.count("PENDING (running)") >= 2)
                lost = waiter.err.count("unreachable now")
                assert (await again.stop(SIGTERM))[0] == 0
            sim.change("pkg", Status="SUCCEEDED")
            await until(lambda: waiter.err.count("unreachable now") > lost)
            async with running("run", "-c", config, directory=tmp_path):
                assert await waiter.ended() == 0
    assert "SUCCEEDED" in waiter.out


async def test_a_daemon_that_is_yet_to_start_is_waited_for(tmp_path):
    async with simulator.running(jobs(Status="SUCCEEDED")) as sim:
        url = f"http://127.0.0.1:{(port := free_port())}"
        config = configure(tmp_path, sim, server={"listen": f"127.0.0.1:{port}"})
        arguments = ("wait", PACKAGE, "pkg", "--server", url, "--timeout", "200s")
        async with running(*arguments, directory=tmp_path) as waiter:
            await until(lambda: "is unreachable: connection refused" in waiter.err)
            async with running("run", "-c", config, directory=tmp_path):
                assert await waiter.ended() == 0


async def test_a_job_that_the_daemon_does_not_watch_is_exit_code_4_with_a_remedy(tmp_path):
    watches = [packages(discover=False, jobs=["pkg"])]
    async with (
        simulator.running(jobs()) as sim,
        daemon(tmp_path, sim, watches=watches) as (_, url, _),
    ):
        code, out, err = await run("wait", DISK, "EX1", "--server", url, directory=tmp_path)
    assert (code, out) == (4, "")
    assert err == (
        f"error: {DISK}/EX1: unreachable: no watch follows it, and none can be added: {url} "
        "answers with status 403: writing is not configured: name a file with a token in "
        "server.token_files, or one with basic_auth_users in server.web_config_file "
        "(--token-file names a file with a token)\n"
    )


async def test_what_the_daemon_is_denied_is_exit_code_4(tmp_path):
    watches = [packages(discover=False, jobs=["pkg"])]
    async with (
        simulator.running({**jobs(), "faults": [{"kind": "denied"}]}) as sim,
        daemon(tmp_path, sim, watches=watches) as (_, url, _),
    ):
        arguments = ("wait", PACKAGE, "pkg", "--server", url, "--timeout", "60s")
        code, out, err = await run(*arguments, directory=tmp_path)
    assert (code, out) == (4, "")
    assert "the daemon cannot poll it: auth" in err.splitlines()[-1]


async def test_with_tls_and_users_it_needs_the_authority_and_a_token(tmp_path):
    # Of a self-signed certificate the certificate itself is the authority.
    certificate(tmp_path / "own.pem", "localhost", 9)
    (tmp_path / "token").write_text(TOKEN + "\n")
    (tmp_path / "wrong").write_text("W" + TOKEN)
    (tmp_path / "web.yml").write_text(
        "tls_server_config: {cert_file: own.pem, key_file: own.pem}\n"
        f"basic_auth_users: {{alice: {HASH}}}\n"
    )
    server = {
        "web_config_file": str(tmp_path / "web.yml"),
        "token_files": [str(tmp_path / "token")],
    }
    async with (
        simulator.running(jobs(Status="SUCCEEDED")) as sim,
        daemon(tmp_path, sim, server=server) as (_, url, _),
    ):

        async def wait(*options):
            named = url.replace("127.0.0.1", "localhost")
            arguments = ("wait", PACKAGE, "pkg", "--server", named, "--timeout", "60s", *options)
            return await run(*arguments, directory=tmp_path)

        trusted = ("--ca-file", tmp_path / "own.pem")
        good = await wait(*trusted, "--token-file", tmp_path / "token")
        stranger = await wait(*trusted)
        liar = await wait(*trusted, "--token-file", tmp_path / "wrong")
        careful = await wait("--token-file", tmp_path / "token")
    assert good[0] == 0, good
    assert [told[0] for told in (stranger, liar, careful)] == [4, 4, 4]
    assert "credentials are needed (--token-file names a file with a token)" in stranger[2]
    assert "credentials are wrong" in liar[2]
    assert "its certificate is not trusted" in careful[2]
    assert all(len(told[2].splitlines()) == 1 for told in (stranger, liar, careful))
    assert not any(TOKEN in text for told in (good, stranger, liar, careful) for text in told[1:])


# Mistakes, secrets, terminals


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((PACKAGE, "pkg", "--timeout", "soon"), "--timeout: is not a duration"),
        ((PACKAGE, "pkg", "--interval", "0s"), "--interval: must be more than 0s"),
        (
            (PACKAGE, "pkg"),
            "--region: jobs of type panorama.package-import exist in several regions",
        ),
        (("panorama.package-imports", "pkg"), "panorama.package-import"),
        ((PACKAGE, "pkg", "--token-file", "x"), "--token-file: needs --server"),
        ((PACKAGE, "pkg", "--server", "host:1"), "--server: is not a URL"),
        ((PACKAGE, "pkg", "--server", "https://a:S3cret@host"), "holds a user or password"),
        ((PACKAGE, "pkg", "--server", "http://h?x=S3cret"), "holds more than host, port and path"),
        ((PACKAGE, "p", "--server", "http://h", "--interval", "1s"), "the daemon's own"),
        (
            (PACKAGE, "p", "--server", "http://h", "--token-file", "no"),
            "does not name an existing file",
        ),
        (
            (PACKAGE, "p", "--server", "http://h", "--ca-file", "no"),
            "does not name an existing file",
        ),
        ((PACKAGE, "p", "--server", "http://h", "--ca-file", "empty"), "holds no certificate"),
        ((PACKAGE, "p", "--server", "http://h", "--token-file", "empty"), "holds no token"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value),
)
async def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, arguments, said):
    (tmp_path / "empty").write_text("")
    code, out, err = await run("wait", *arguments, directory=tmp_path)
    assert (code, out) == (2, ""), err
    assert len(err.splitlines()) == 1
    assert said in err
    assert "S3cret" not in err


@BOTH
async def test_no_secret_is_ever_printed(tmp_path, how):
    disk = {
        "id": "EX1",
        "service": "importexport",
        "members": {
            "ProgressCode": "Complete",
            "LocationCode": "Returned",
            "TrackingNumber": "1ZS3cretCanary6784",
            "CurrentManifest": "manifestVersion:2.0\ntrueCryptPassword:S3cretCanary\n",
            "LocationMessage": "See https://s3.amazonaws.com/log?X-Amz-Signature=S3cretCanary now",
        },
    }
    broken = {"kind": "html", "status": 503, "body": f"<p>{WRONG}</p>", "name": "broken"}
    async with (
        simulator.running({"jobs": [disk], "faults": [broken]}) as sim,
        way(tmp_path, sim, how) as (_, url, config),
    ):
        arguments = ("--server", url) if url else ("-c", config, "--account", "sim")
        more = ("--timeout", "60s", "-o", "json")
        async with running("wait", DISK, "EX1", *arguments, *more, directory=tmp_path) as waiter:
            await until(lambda: "unreachable now" in waiter.err)
            sim.faults.remove("broken")
            assert await waiter.ended() == 0
    assert json.loads(waiter.out)["fields"]["TrackingNumber"].endswith("6784")
    told = waiter.out + waiter.err
    assert "S3cretCanary" not in told
    assert "wJalrXUtnFEMI" not in told


class Terminal:
    """What a process writes to a terminal; ``text`` is all of it."""

    def __init__(self, columns):
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.set_blocking(self.ours, False)
        self.text = ""

    def read(self):
        try:
            while chunk := os.read(self.ours, 65536):
                self.text += chunk.decode()
        except (BlockingIOError, OSError):
            pass
        return self.text


@asynccontextmanager
async def on_terminal(*arguments, directory, columns=100, **env):
    terminal = Terminal(columns)
    merged = environment(**{"TERM": "xterm", "NO_COLOR": None, **env})
    program, descriptors = forks.command(merged)
    process = await asyncio.create_subprocess_exec(
        *(*program, *map(str, arguments)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=terminal.theirs,
        cwd=directory,
        env=merged,
        pass_fds=descriptors,
    )
    try:
        yield terminal, process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        os.close(terminal.ours)
        os.close(terminal.theirs)


@BOTH
async def test_on_a_terminal_one_line_is_written_anew(tmp_path, how):
    async with simulator.running(jobs()) as sim, way(tmp_path, sim, how) as (_, url, config):
        arguments = ("wait", PACKAGE, "pkg", *options(url, config), "--timeout", "60s")
        async with on_terminal(*arguments, directory=tmp_path) as (terminal, process):
            # On a busy machine the line may be written anew too late to say one of the seconds.
            line = re.compile(r"pkg  PENDING \(running\) · for (?:[2-9]|\d\d)s")
            await until(lambda: line.search(terminal.read()))
            assert "poll" in terminal.text
            sim.change("pkg", Status="FAILED", StatusMessage="no descriptor")
            with anyio.fail_after(PATIENCE):
                out, _ = await process.communicate()
            last = terminal.read()
    assert process.returncode == 1
    assert "\x1b[31mpkg  FAILED (failed)" in last
    live, _, error = last.rpartition("\r\x1b[K")
    assert "\n" not in live
    assert error == f"error: {KEY}: FAILED (failed): no descriptor\r\n"
    assert b"\x1b" not in out


@pytest.mark.parametrize(
    ("env", "columns"), [({"NO_COLOR": "1"}, 100), ({"NO_COLOR": "1"}, 30), ({"TERM": "dumb"}, 100)]
)
async def test_a_terminal_can_be_spared_colours_and_control(tmp_path, env, columns):
    async with simulator.running(jobs(Status="FAILED")) as sim:
        config = configure(tmp_path, sim)
        arguments = ("wait", PACKAGE, "pkg", "-c", config, *OWN)
        async with on_terminal(*arguments, directory=tmp_path, columns=columns, **env) as (
            terminal,
            process,
        ):
            with anyio.fail_after(PATIENCE):
                await process.communicate()
            text = terminal.read()
    assert "FAILED (failed)" in text
    assert "\x1b[3" not in text
    if "TERM" in env:
        assert "\x1b" not in text
    else:
        lines = text.rpartition("\r\x1b[K")[0].split("\r\x1b[K")
        assert max(map(len, lines)) < columns
