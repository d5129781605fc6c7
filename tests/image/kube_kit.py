"""A node: podman plays there, as pods, what Kubernetes would run, beside a stand-in for AWS.

A node is a network of its own. So the ports that the manifests name are free whatever else this
machine runs, each pod has an address of its own, and nothing outside is reached.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from base64 import b64encode
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from tests.acceptance.program import FAST, environment, packages, until
from tests.ends import ended
from tests.image import image_kit

ADDRESS = "192.0.2.1"
"""The node's own, at which the stand-in for AWS and the receiver of webhooks are."""
AWS = f"http://{ADDRESS}:4566"
HOOK = f"http://{ADDRESS}:4567/hook/ops"
KEYS = [
    {"name": "AWS_ACCESS_KEY_ID", "value": "AKIAIOSFODNN7EXAMPLE"},
    {"name": "AWS_SECRET_ACCESS_KEY", "value": "example"},
]
_ALONE = image_kit.ROOT / "tests" / "docs" / "alone.py"


def needed():
    """Skip where no pod can be played; in CI that is a failure."""
    image_kit.needed()
    lacking = [program for program in ("nsenter", "curl") if shutil.which(program) is None]
    if os.geteuid() or lacking:
        why = f"not installed: {lacking}" if lacking else "only root plays pods like this"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)


def settings(**sink):
    """Return a configuration that watches the stand-in for AWS, and tells its receiver."""
    ops = {"type": "webhook", "url": HOOK, "allow_http": True, "allow_networks": [f"{ADDRESS}/32"]}
    return {
        "accounts": {"sim": {"endpoint_urls": {"panorama": AWS, "importexport": AWS}}},
        "watches": [packages()],
        "sinks": {"ops": ops | sink},
        "quotas": {"panorama": FAST},
        "store": "sqlite:///var/lib/job-monitor/state.db",
    }


@dataclass(frozen=True, slots=True)
class Received:
    """One webhook that was taken."""

    signature: str
    event: dict[str, Any]

    @property
    def told(self):
        return self.event["subject"], self.event["data"]["current"]["state"]


class Node:
    """Where pods are played; ``directory`` is for all that podman keeps."""

    def __init__(self, process, directory):
        self._process = process
        self._directory = directory
        (directory / "containers.conf").write_text(
            f"{image_kit.SETTINGS}[network]\nnetwork_config_dir = '{directory}/networks'\n"
        )

    def _entered(self, *command):
        return ["nsenter", f"--net=/proc/{self._process.pid}/ns/net", "--", *map(str, command)]

    def command(self):
        """Return what runs podman on the node, with volumes and names of its own but our images."""
        stores = ("--root", self._directory / "root", "--runroot", self._directory / "run")
        images = f"--storage-opt={image_kit.driver()}.imagestore={image_kit.images()}"
        settings = f"CONTAINERS_CONF={self._directory / 'containers.conf'}"
        podman = ("podman", *stores, *image_kit.storing(), images)
        return self._entered("env", settings, *podman)

    def podman(self, *arguments, check=True):
        """Run a command of podman on the node, to its end."""
        done = _finished(*self.command(), *arguments)
        assert done.returncode == 0 or not check, done.stderr
        return done

    def ask(self, url, body=None):
        """GET a URL, or POST to it; return the status, 0 if there is no answer, and the text."""
        command = ["curl", "--silent", "--max-time", "5", "--write-out", "\n%{http_code}", url]
        if body is not None:
            command += ["--data", json.dumps(body)]
        text, _, status = _finished(*self._entered(*command)).stdout.rpartition("\n")
        return int(status), text

    def play(self, objects):
        """Let podman play a stream of manifests."""
        path = self._directory / "played.yaml"
        path.write_text(yaml.safe_dump_all(objects))
        self.podman("kube", "play", path)

    def keep_secret(self, name, **entries):
        """Make a Secret: podman 4.3 plays none, but finds those that it keeps itself."""
        path = self._directory / "secret.yaml"
        named = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
        data = {key: b64encode(value.encode()).decode() for key, value in entries.items()}
        path.write_text(yaml.safe_dump({**named, "data": data}))
        self.podman("secret", "create", name, path)

    def inspected(self, container):
        return json.loads(self.podman("container", "inspect", container).stdout)[0]

    def address(self, container):
        [network] = self.inspected(container)["NetworkSettings"]["Networks"].values()
        return network["IPAddress"]

    def log(self, container):
        done = self.podman("logs", container)
        return done.stdout + done.stderr

    def change(self, job, **members):
        """Change a job of the stand-in for AWS."""
        status, text = self.ask(f"{AWS}/_simulator/jobs/{job}", {"set": members})
        assert status == 200, text

    @property
    def received(self):
        """Return the webhooks that were taken, the first first."""
        return [
            Received(each["signature"], json.loads(each["body"]))
            for each in self._told("received")
            if each["accepted"]
        ]

    def bodies(self, hook):
        """Return what one receiver took, as text."""
        return [
            each["body"]
            for each in self._told("received")
            if each["accepted"] and each["name"] == hook
        ]

    @property
    def asked(self):
        """Return how many requests the stand-in for AWS has answered."""
        return len(self._told("requests"))

    def _told(self, what):
        status, text = self.ask(f"{AWS}/_simulator/{what}")
        assert status == 200, text
        return json.loads(text)

    def told(self):
        """Return what there is to know after a failure."""
        logs = [self.log(name) for name in self.podman("ps", "-aq", check=False).stdout.split()]
        return "\n".join([*logs, self.ask(f"{AWS}/_simulator/received")[1]])

    def clear(self):
        """Remove all that was played; the network of a pod goes only from inside the node."""
        for what in ("pod", "container"):
            self.podman(what, "rm", "--all", "--force", "--time=0", check=False)
        self.podman("volume", "rm", "--all", "--force", check=False)


def _finished(*command):
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=300, check=False
    )


@asynccontextmanager
async def node(scenario):
    """Run a node with a stand-in for AWS."""
    # Podman takes no longer name than this one for the place of what runs.
    with TemporaryDirectory(prefix="node-", dir="/tmp") as place:
        async with _running(scenario, Path(place)) as started:
            yield started


@asynccontextmanager
async def _running(scenario, directory):
    (directory / "scenario.json").write_text(json.dumps(scenario))
    simulate = ("simulate", "--scenario", directory / "scenario.json")
    places = ("--listen", f"{ADDRESS}:4566", "--receiver", f"{ADDRESS}:4567")
    command = (sys.executable, _ALONE, "--address", ADDRESS)
    process = await asyncio.create_subprocess_exec(
        *map(str, ("unshare", "--net", *command, sys.executable, "-m", "monitor")),
        *map(str, (*simulate, *places)),
        cwd=directory,
        env=environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    place = Node(process, directory)
    try:
        await until(lambda: process.returncode or place.ask(f"{AWS}/_simulator/health")[0] == 200)
        assert process.returncode is None
        yield place
        assert process.returncode is None
    except BaseException:
        print(place.told())  # noqa: T201 -- shown only where a test fails
        raise
    finally:
        place.clear()
        process.kill()
        await ended(process)
