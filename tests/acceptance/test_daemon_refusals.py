"""No mistake in a changed configuration ends the daemon, and none shows a secret."""

import json
import os
from signal import SIGHUP

import pytest

from monitor import simulator
from tests.acceptance.program import configure, fetch, packages, run, running, until, webhook

pytestmark = pytest.mark.timeout(600)

SCENARIO = {"jobs": [{"id": "pkg", "service": "panorama"}]}
CANARY = "whsec_canary5ecretcanary5ecretcanary5ecret"


def _place(path, make):
    path.unlink(missing_ok=True)
    make(path)


async def test_a_daemon_refuses_every_mistake_and_goes_on(tmp_path):
    types = tmp_path / "types"
    types.mkdir()
    long = "x" * 300
    async with simulator.running(SCENARIO) as sim:

        def settings(**changes):
            return configure(tmp_path, sim, watches=[packages()], **changes)

        def loop(name):
            return lambda: _place(tmp_path / name, lambda path: path.symlink_to(path.name))

        def pasted(**keys):
            return lambda: settings(sinks={"hook": {**webhook(sim), **keys}})

        mistakes = {
            "a log with a long name": (
                lambda: settings(sinks={"a": {"type": "log", "path": f"{tmp_path}/{long}"}}),
                "sinks.a.path",
            ),
            "a directory with a long name": (
                lambda: settings(job_types_dir=f"{tmp_path}/{long}"),
                "job_types_dir",
            ),
            "a NUL in a name": (lambda: settings(job_types_dir="a\0b"), "job_types_dir"),
            "secret_files": (pasted(secret_files=[CANARY]), "secret_files[0]"),
            "header_files": (pasted(header_files={"X": CANARY}), "header_files.X"),
            "tls": (pasted(tls={"ca_file": CANARY}), "tls.ca_file"),
            "a type that is a link to itself": (
                lambda: (loop("types/a.yaml")(), settings(job_types_dir=str(types))),
                "types/a.yaml",
            ),
            "a file that is a link to itself": (loop("monitor.yaml"), "monitor.yaml"),
            "a FIFO": (
                lambda: (
                    _place(tmp_path / "monitor.yaml", lambda path: path.touch()),
                    _place(types / "a.yaml", os.mkfifo),
                    settings(job_types_dir=str(types)),
                ),
                "types/a.yaml",
            ),
            "a directory": (
                lambda: _place(tmp_path / "monitor.yaml", lambda path: path.mkdir()),
                "monitor.yaml",
            ),
        }
        config = settings()
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            for name, (make, said) in mistakes.items():
                before = len(program.logged("config.refused"))

                def told(before=before):
                    refused = program.logged("config.refused")[before:]
                    return [line["problem"] for line in refused]

                make()
                program.process.send_signal(SIGHUP)
                # The first may still be about the one before, which the daemon also saw by itself.
                await until(
                    lambda said=said, told=told: (
                        any(said in line for line in told()) or not program.alive
                    )
                )
                assert program.alive, f"{name}: {program.err}"
                assert not any("please report" in line for line in told()), (name, told())
                _, _, status = await fetch(f"{url}/api/v1/status")
                assert json.loads(status)["config_problems"], name
                _, _, page = await fetch(f"{url}/")
                assert CANARY not in status + page + program.err, name
            if name == "a directory":
                code, _, err = await run("check", "-c", config, directory=tmp_path)
                assert (code, len(err.splitlines())) == (2, 1)
                config.rmdir()
            settings()
            reloaded = len(program.logged("config.reloaded"))
            program.process.send_signal(SIGHUP)
            await until(lambda: len(program.logged("config.reloaded")) > reloaded)
