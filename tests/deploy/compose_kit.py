"""The Compose project of ``deploy/compose``: what its files say, and how it runs.

Docker Compose itself starts it, on podman. Only the images of others are not fetched: in their
place stand Debian's own programs, with the arguments, mounts, users and limits of the file.
"""

import functools
import itertools
import json
import os
import re
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
REPLICAS = FOLDER / "replicas.yaml"
PARTS = "localhost/job-monitor-parts:bookworm-2"
_OWNED = (
    "RUN install -d -o 65534 -g 65534 /alertmanager /prometheus"
    " && install -d -o 999 -g 999 /var/lib/postgresql/data"
    " && echo postgres:x:999:999::/var/lib/postgresql:/bin/sh >> /etc/passwd"
)
"""What the images of Prometheus, Alertmanager and PostgreSQL have for their volumes and users."""
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


_NUMBERS = itertools.count(1)
_REPLICAS = ("job-monitor", "job-monitor-2", "job-monitor-3")
RUNNING_REPLICAS = ("simulator", "postgresql", *_REPLICAS)
OVERLAY_OF_REPLICAS = """\
services:
  network:
    image: {parts}
    entrypoint: [catatonit, -P]
    volumes: ["/usr:/usr:ro"]
    network_mode: none
    ports: !reset []
  simulator: {{image: "{image}", build: !reset null}}
  postgresql:
    image: {parts}
    # As the image of PostgreSQL does at its first start.
    entrypoint:
      - sh
      - -euc
      - |
        initdb --no-locale --no-sync -U $$POSTGRES_USER --pwfile=$$POSTGRES_PASSWORD_FILE \\
          $$POSTGRES_INITDB_ARGS -D $$PGDATA
        echo "CREATE DATABASE $$POSTGRES_DB" | postgres --single -D $$PGDATA postgres
        exec "$$@"
      - sh
    environment: {{PATH: "{programs}:/usr/bin:/bin"}}
    volumes: ["/usr:/usr:ro"]
""" + "".join(f'  {name}: {{{{image: "{{image}}", build: !reset null}}}}\n' for name in _REPLICAS)


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


def parts():
    """Build the image in which Debian's own programs run, unless it is there; return its name."""
    return image_kit.build_beside(PARTS, [_OWNED])


class Project:
    """The project as it runs."""

    def __init__(self, name, files, running, **env):
        self._name = name
        self._files = ("--project-name", name, *(f"--file={each}" for each in files))
        self._running = running
        self._env = env

    def __call__(self, *arguments):
        """Run a command of Docker Compose on it."""
        code, out, err = compose(*self._files, *arguments, **self._env)
        assert code == 0, f"{out}\n{err}\n{self._logs()}"
        return out

    def _logs(self):
        found = []
        for service in self._running:
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
        done = self._curl(url, body)
        assert done.returncode == 0 or not check, done.stderr
        return None if done.returncode else json.loads(done.stdout)

    def metric(self, url, name):
        """Return the value of a metric without labels that a daemon shows; ``None`` without it."""
        found = re.search(rf"^{name} (\S+)$", self._curl(f"{url}/metrics").stdout, re.MULTILINE)
        return float(found[1]) if found else None

    def _curl(self, url, body=None):
        # Not as a command in a container, which takes a third of a second of a processor.
        command = ["curl", "--silent", "--show-error", "--fail", "--max-time", "60", url]
        if body is not None:
            command += ["--data", json.dumps(body)]
        return tools.run(*self._entered, *command)

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
def running(services=RUNNING, files=(FILE,), overlay=OVERLAY, **names):
    """Start services of the project, and wait until they are healthy; it is removed at the end.

    ``names`` are those in the overlay.
    """
    image = image_kit.build()
    parts()
    # Not below pytest's own folder: the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="job-monitor-compose-") as name:
        directory = Path(name)
        password = directory / "password"
        password.write_text("of-the-test")
        last = directory / "overlay.yaml"
        last.write_text(overlay.format(image=image, parts=PARTS, **names))
        with image_kit.answering_as_docker(directory) as address:
            own = {"DOCKER_HOST": address, "POSTGRESQL_PASSWORD_FILE": str(password)}
            number = next(_NUMBERS)
            project = Project(
                f"job-monitor-{os.getpid()}-{number}", (*files, last), services, **own
            )
            try:
                with _asking_for_health(project, services):
                    here = ("--no-build", "--pull=never", "--wait", "--wait-timeout=600")
                    project("up", "--detach", *here, *services)
                    yield project
            finally:
                project("down", "--volumes", "--timeout=5")


@contextmanager
def _asking_for_health(project, services):
    """Run the health checks: podman leaves that to systemd, which may not be there.

    Docker Compose waits until each service has once been healthy, and then asks no more. A check
    that comes too early costs as much of a processor as the start that it waits for.
    """
    over = threading.Event()

    def ask():
        waiting = list(services)
        while waiting and not over.wait(2.5):
            waiting = [each for each in waiting if not project.is_healthy(each)]

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)
