"""The Compose project of ``deploy/compose``: what its files say, and how it runs.

Docker Compose itself starts it, on podman. Only the images of others are not fetched: in their
place stand Debian's own programs, with the arguments, mounts, users and limits of the file.
"""

import functools
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.acceptance.program import PATIENCE
from tests.deploy import shipped, tools
from tests.image import image_kit

FOLDER = shipped.ROOT / "deploy" / "compose"
FILE = FOLDER / "compose.yaml"
AWS = FOLDER / "aws.yaml"
PARTS = "localhost/job-monitor-parts:bookworm"
_OWNED = "RUN install -d -o 65534 -g 65534 /alertmanager /prometheus"
"""What the images of Prometheus and Alertmanager have for their volumes."""
RUNNING = ("simulator", "job-monitor", "alertmanager", "prometheus")
"""The services that can be had here; Grafana is in no Debian."""
OVERLAY = """\
services:
  network:
    image: {parts}
    entrypoint: [catatonit, -P]
    volumes: ["/usr:/usr:ro"]
    network_mode: none
    ports: !reset []
  simulator: {{image: "{image}", build: !reset null}}
  job-monitor: {{image: "{image}", build: !reset null}}
  alertmanager:
    image: {parts}
    entrypoint: [prometheus-alertmanager]
    volumes: ["/usr:/usr:ro"]
  prometheus:
    image: {parts}
    entrypoint: [prometheus]
    volumes: ["/usr:/usr:ro"]
"""


def services():
    """Return what the file says of each service, with its anchors followed."""
    return yaml.safe_load(FILE.read_text())["services"]


def mounts(service):
    """Return the files and folders of the project that a service sees: path inside → source."""
    found = {}
    for each in service.get("volumes", ()):
        source, target, *mode = each.split(":")
        if source.startswith("."):
            assert mode == ["ro"], each
            found[target] = (FOLDER / source).resolve()
    return found


def lay_out(service, root):
    """Copy what a service is given to where it sees it, below a root; return the root."""
    for target, source in sorted(mounts(service).items()):
        shutil.copytree(source, root / target.lstrip("/"), dirs_exist_ok=True)
    return root


def compose(*arguments, **env):
    """Run Docker Compose to its end; return exit code, output and errors."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [tools.tool("docker-compose"), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=shipped.ROOT,
        env={**kept, **env},
        timeout=800,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


class Project:
    """The project as it runs."""

    def __init__(self, name, address, overlay):
        self._name = name
        self._files = ("--project-name", name, "--file", FILE, "--file", overlay)
        self._address = address

    def __call__(self, *arguments):
        """Run a command of Docker Compose on it."""
        code, out, err = compose(*self._files, *arguments, DOCKER_HOST=self._address)
        assert code == 0, f"{out}\n{err}\n{self._logs()}"
        return out

    def _logs(self):
        found = []
        for service in RUNNING:
            done = image_kit.call(
                "podman", "logs", "--tail=20", self.container(service), check=False
            )
            found.append(f"{service}: {done.stdout}{done.stderr}")
        return "\n".join(found)

    def container(self, service):
        return f"{self._name}-{service}-1"

    def inspect(self, *services):
        """Return what the engine says of the container of each service."""
        names = map(self.container, services)
        return json.loads(image_kit.call("podman", "inspect", *names).stdout)

    def is_healthy(self, service):
        """Run the health check of a service."""
        name = self.container(service)
        return image_kit.call("podman", "healthcheck", "run", name, check=False).returncode == 0

    @functools.cached_property
    def _entered(self):
        """Return what runs a command of this machine in the network of the project."""
        [network] = self.inspect("network")
        return ("nsenter", f"--net=/proc/{network['State']['Pid']}/ns/net", "--")

    def ask(self, url, body=None, *, check=True):
        """GET or POST, from inside: the network has no other end. ``None`` without an answer."""
        # Not as a command in a container, which takes a third of a second of a processor.
        command = ["curl", "--silent", "--show-error", "--fail", "--max-time", "60", url]
        if body is not None:
            command += ["--data", json.dumps(body)]
        done = tools.run(*self._entered, *command)
        assert done.returncode == 0 or not check, done.stderr
        return None if done.returncode else json.loads(done.stdout)

    def until(self, url, found, seconds=4 * PATIENCE):
        """Ask until something is found in the answer; return it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = self.ask(url, check=False)
            if answer is not None and (seen := found(answer)):
                return seen
            time.sleep(0.5)
        raise AssertionError(f"{url} says at last: {str(answer)[-4000:]}\n{self._logs()}")


@contextmanager
def running():
    """Start the project, and wait until it is healthy; it is removed at the end."""
    image = image_kit.build()
    image_kit.build_beside(PARTS, [_OWNED])
    # Not below pytest's own folder: the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="job-monitor-compose-") as name:
        directory = Path(name)
        overlay = directory / "overlay.yaml"
        overlay.write_text(OVERLAY.format(image=image, parts=PARTS))
        with image_kit.answering_as_docker(directory) as address:
            project = Project(f"job-monitor-{os.getpid()}", address, overlay)
            try:
                with _asking_for_health(project):
                    here = ("--no-build", "--pull=never", "--wait", "--wait-timeout=600")
                    project("up", "--detach", *here, *RUNNING)
                    yield project
            finally:
                project("down", "--volumes", "--timeout=5")


@contextmanager
def _asking_for_health(project):
    """Run the health checks: podman leaves that to systemd, which may not be there.

    Docker Compose waits until each service has once been healthy, and then asks no more.
    """
    over = threading.Event()

    def ask():
        waiting = list(RUNNING)
        while waiting and not over.wait(1):
            waiting = [each for each in waiting if not project.is_healthy(each)]

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)
