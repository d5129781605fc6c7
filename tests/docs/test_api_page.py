"""Every command of the page on the HTTP API, run as it stands but for the port."""

import asyncio
import json
import re
import subprocess

import anyio
import pytest

from monitor import simulator
from tests.acceptance.program import PATIENCE, configure, fetch, packages, running, webhook
from tests.docs import pages

pytestmark = pytest.mark.timeout(600)

PAGE = (pages.ROOT / "docs" / "http-api.md").read_text()
SCENARIO = {
    "jobs": [{"id": "PKG-7", "service": "panorama", "members": {"Status": "FAILED"}}],
    "generate": [],
}
CURL = 'curl() { command curl --silent --show-error --fail-with-body --max-time 60 "$@"; }\n'
STREAM = "curl -N "
OVER_IN_TIME = 28
"""How curl ends where a stream goes on beyond its time."""


def commands():
    """Return the indented commands of the page, each with the lines that go on with it."""
    found = re.findall(r"^    (curl (?:.*\\\n)*.*)$", PAGE, re.MULTILINE)
    return [re.sub(r"\\\n +", "", command) for command in found]


async def run(command, directory, url):
    text = CURL + command.replace("http://127.0.0.1:9847", url)
    if command.startswith(STREAM):
        text = text.replace(STREAM, f"{STREAM}--max-time 3 ")
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", text, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_every_command_of_the_page_is_answered(tmp_path):
    (tmp_path / "token").write_text("0123456789abcdef0123456789abcdef\n")
    async with simulator.running(SCENARIO) as sim:
        settings = {
            "accounts": {
                name: {"endpoint_urls": {"panorama": sim.url, "importexport": sim.url}}
                for name in ("prod", "default")
            },
            "watches": [packages(account="prod")],
            "sinks": {"ops": webhook(sim, "ops")},
            "server": {"listen": "127.0.0.1:0", "token_files": [str(tmp_path / "token")]},
        }
        config = configure(tmp_path, sim, **settings)
        async with running("run", "-c", config, directory=tmp_path) as program:
            url = await program.started()
            with anyio.fail_after(PATIENCE * 3):
                while "PKG-7" not in (await fetch(f"{url}/api/v1/jobs"))[2]:  # noqa: ASYNC110
                    await anyio.sleep(0.1)
                told = [(command, *await run(command, tmp_path, url)) for command in commands()]
    assert len(told) >= 11
    for command, code, out, err in told:
        wanted = OVER_IN_TIME if command.startswith(STREAM) else 0
        assert code == wanted, f"{command}\n{out}\n{err}"
    answers = [json.loads(out) for command, _, out, _ in told if not command.startswith(STREAM)]
    assert answers[0]["items"] == [], "no job has the label that is asked for"
    assert any(answer.get("id") == "PKG-7" for answer in answers)
    assert any(answer.get("done") is True for answer in answers)
