"""Every ``docker`` command of the documents is run as it stands, in a copy of the project."""

import asyncio
import os
import re
import subprocess
from pathlib import Path

import anyio
import pytest

from tests.acceptance.program import until
from tests.checkout import checkout
from tests.docs import docker_kit, pages
from tests.image import image_kit, kube_kit

# The first test builds the image, and perhaps its base.
pytestmark = pytest.mark.timeout(900)

README, DEPLOYMENT, SINKS = docker_kit.PAGES
ASKED = "http://127.0.0.1:9847/-/ready"
"""Where the documents publish the port."""


@pytest.fixture
def project(tmp_path):
    """Copy the project as it would be checked out."""
    kube_kit.needed()
    checkout(tmp_path / "project")
    return tmp_path / "project"


def script(page):
    """Return the blocks of a page as one script, which ends at the first command that fails."""
    blocks = [b.text for b in pages.command_blocks((pages.ROOT / page).read_text()) if b.run]
    assert blocks
    return "".join(["set -euo pipefail\n", *blocks])


async def follow(page, node, project):
    """Start the script of a page."""
    programs = project.parent / "programs"
    programs.mkdir()
    docker_kit.install(node, programs)
    return await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        script(page),
        cwd=project,
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def test_the_container_of_the_page_on_deployment_runs_and_is_healthy(project):
    async with kube_kit.node({}) as node:
        process = await follow(DEPLOYMENT, node, project)
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        assert re.search(r"[A-Z]\w+ -> [A-Z]\w+", out.decode()), "the demo watched nothing"
        await until(lambda: node.ask(ASKED)[0] == 200)
        check = "healthcheck", "run", "job-monitor"
        await until(lambda: node.podman(*check, check=False).returncode == 0)
        settings = node.inspected("job-monitor")["HostConfig"]
        assert settings["ReadonlyRootfs"]
        assert settings["SecurityOpt"] == ["no-new-privileges"]
        node.podman("stop", "job-monitor")
        assert node.inspected("job-monitor")["State"]["ExitCode"] == 0
        assert kept(node)


async def test_the_container_of_the_readme_runs_until_it_is_stopped(project):
    async with kube_kit.node({}) as node:
        process = await follow(README, node, project)
        ended = asyncio.create_task(process.communicate())
        try:
            await until(lambda: node.ask(ASKED)[0] == 200 or ended.done(), 300)
            assert not ended.done(), (await ended)[1].decode()
            node.podman("stop", "--latest")
            with anyio.fail_after(120):
                _, err = await ended
            assert process.returncode == 0, err.decode()
            assert kept(node)
        finally:
            if not ended.done():
                process.kill()
                with anyio.move_on_after(30, shield=True):  # others may hold the pipes
                    await ended


async def test_the_image_with_the_optional_extras_has_what_the_page_on_sinks_says(project):
    async with kube_kit.node({}) as node:
        process = await follow(SINKS, node, project)
        _, err = await process.communicate()
        assert process.returncode == 0, err.decode()
    assert imports("localhost/job-monitor:full", "apprise")
    assert not imports(image_kit.build(), "apprise")


def kept(node):
    """Return the stores in the volume of the documents."""
    place = node.podman("volume", "inspect", "--format", "{{.Mountpoint}}", "job-monitor").stdout
    return [*Path(place.strip()).glob("*.db")]


def imports(image, module):
    python = ("--entrypoint=/opt/job-monitor/bin/python", image, "-c", f"import {module}")
    done = image_kit.call("podman", "run", "--rm", "--network=none", *python, check=False)
    assert done.returncode in {0, 1}, done.stderr
    return done.returncode == 0
