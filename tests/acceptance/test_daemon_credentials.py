"""The daemon with a credential helper that hangs, beside an account that is fine."""

import signal
from pathlib import Path

import pytest

from monitor import simulator
from tests.acceptance.program import configure, packages, running, until
from tests.acceptance.test_daemon_stop import IN_TIME

pytestmark = pytest.mark.timeout(600)


def hanging_helper(directory):
    helper = directory / "helper.sh"
    helper.write_text("#!/bin/sh\nsleep 1000 &\necho $$ $! >> $0.pids\nwait\n")
    helper.chmod(0o755)
    (directory / "aws").write_text(f"[profile slow]\ncredential_process = {helper}\n")
    return directory / "helper.sh.pids"


def has_ended(pid):
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


async def test_a_helper_that_hangs_holds_up_nobody_and_ends_with_the_daemon(tmp_path):
    pids = hanging_helper(tmp_path)
    jobs = [{"id": "a", "service": "panorama"}]
    async with simulator.running({"jobs": jobs}) as sim:
        urls = {"panorama": sim.url}
        accounts = {
            "fine": {"endpoint_urls": urls},
            "slow": {"profile": "slow", "endpoint_urls": urls},
        }
        watches = [
            packages(account="fine", interval="200ms"),
            packages(name="slow", account="slow", discover=False, jobs=["a", "b", "c"]),
        ]
        config = configure(tmp_path, sim, accounts=accounts, watches=watches)
        async with running(
            "run", "-c", config, directory=tmp_path, AWS_CONFIG_FILE=str(tmp_path / "aws")
        ) as daemon:
            await daemon.started()
            await until(pids.exists)
            before = sim.truth.requests.count
            await until(lambda: sim.truth.requests.count >= before + 10)
            await until(lambda: daemon.logged("poll.failing"))
            code, took = await daemon.stop(signal.SIGTERM)
        log = daemon.logged("poll.failing")
    lines = pids.read_text().split("\n")[:-1]
    assert (code, len(lines)) == (0, 1)
    assert took < IN_TIME
    assert [(line["account"], line["reason"], line["code"]) for line in log] == [
        ("slow", "auth", "CredentialsPending")
    ]
    assert 'credential process of profile "slow"' in log[0]["hint"]
    assert all(has_ended(pid) for pid in lines[0].split())
    assert not [line for line in daemon.log if line["event"] == "poll.broken"]
