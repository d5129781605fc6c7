"""The container image: built with buildah, run with podman and runc, and its base with Debian's."""

import asyncio
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import pytest

from tests import wheels
from tests.acceptance.program import PATIENCE, until
from tests.ends import end, ended

ROOT = Path(__file__).parents[2]
PLACE = ROOT / ".image"
"""Where base image and images are kept from one run to the next; git ignores it."""
BASE = "localhost/job-monitor-base:bookworm"
STARTED = re.compile(r'^\{.*"daemon\.started".*\}$', re.MULTILINE)
CONFINED = (
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=256m",
    "--memory-swap=256m",
)
_PROGRAMS = ("buildah", "podman", "runc", "mmdebstrap")
# Unpacked, and not set up: that takes twice as long, and the image needs none of it but what is
# compiled.
_PACKAGES = "base-files,coreutils,dash,libstdc++6,python3,python3-pip"
_UNPACKED = (
    "--variant=extract",
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
    '--extract-hook=chroot "$1" python3 -m compileall -q /usr/lib/python3.11',
    f"--include={_PACKAGES}",
)
_BUILDING = ("--isolation=chroot", "--network=host", "--pull-never", "--format=docker")
_PYTHON = (3, 11)
"""That of the base."""
# What lets pip reach its index from inside the build as it does from outside.
_MOUNTED = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf", "/etc/xdg/pip")
_FOUND = """\
[global]
no-index = true
find-links = /wheels
"""
_UNCOMPILED = """\
[install]
compile = no
"""
SETTINGS = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def needed():
    """Skip where a program is not installed; in CI that is a failure."""
    lacking = [program for program in _PROGRAMS if shutil.which(program) is None]
    if lacking:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"not installed: {lacking}")


def _environment():
    settings = PLACE / "containers.conf"
    if not settings.exists():
        settings.write_text(SETTINGS)
    return {**os.environ, "CONTAINERS_CONF": str(settings)}


@functools.cache
def driver():
    """Return how podman stores: ``vfs`` works anywhere, but copies all files for each container."""
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PLACE) as place:
        mount = "mkdir l u w m && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w overlay m"
        command = ["unshare", "--mount", "sh", "-c", mount]
        done = subprocess.run(command, cwd=place, capture_output=True, check=False)
    return "vfs" if done.returncode else "overlay"


def images():
    """Return where the images are kept."""
    return PLACE / f"root-{driver()}"


def _command(program, *arguments):
    stores = ("--root", images(), "--runroot", PLACE / "run", *storing())
    return [program, *map(str, stores), *map(str, arguments)]


def storing():
    """Return the options that say so, and leave no mount behind that keeps a folder busy."""
    more = ["--storage-opt=overlay.skip_mount_home=true"] if driver() == "overlay" else []
    return [f"--storage-driver={driver()}", *more]


def call(program, *arguments, check=True, timeout=600):
    """Run buildah or podman to its end, within so many seconds."""
    done = subprocess.run(
        _command(program, *arguments),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=_environment(),
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0 or not check, f"exit {done.returncode}: {done.stdout}{done.stderr}"
    return done


@contextmanager
def _lacking(image):
    """Yield whether there is no such image; let no two processes build at a time."""
    PLACE.mkdir(exist_ok=True)
    # One that is there is used while another is being built.
    if _exists(image):
        yield False
        return
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not _exists(image)


def _exists(image):
    return call("podman", "image", "exists", image, check=False).returncode == 0


def build(requirements="runtime"):
    """Build the image, unless there is one of the same sources; return its name.

    Only the one that is run over and over is compiled; that is a third of the work.
    """
    needed()
    name = f"localhost/job-monitor:{_digest(requirements)}"
    with _lacking(name) as lacking:
        if lacking:
            _make_base()
            arguments = [f"--build-arg=PYTHON_IMAGE={BASE}"]
            if requirements != "runtime":
                arguments += [f"--build-arg=REQUIREMENTS={requirements}"]
            arguments += [*_installing(requirements), "-t", name]
            try:
                call("buildah", "bud", *_BUILDING, *arguments, timeout=600)
            except subprocess.TimeoutExpired:
                # Beside containers that come and go, it has been seen to wait without end.
                call("buildah", "bud", *_BUILDING, *arguments)
    return name


def _installing(requirements):
    """Return the options that let pip install from wheels that are kept, or else from its index."""
    if sys.version_info[:2] != _PYTHON:
        return [f"--volume={path}:{path}:ro" for path in _MOUNTED if Path(path).exists()]
    settings = PLACE / f"pip-{requirements}.conf"
    settings.write_text(_FOUND + (_UNCOMPILED if requirements != "runtime" else ""))
    mounts = {settings: "/etc/pip.conf", wheels.kept(requirements): "/wheels"}
    return [f"--volume={path}:{inside}:ro" for path, inside in mounts.items()]


def _digest(requirements):
    digest = hashlib.sha256(requirements.encode())
    for path in sorted(_sources()):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _sources():
    yield from (ROOT / name for name in ("Dockerfile", ".dockerignore", "pyproject.toml"))
    yield from (ROOT / "requirements").glob("*.txt")
    for path in (ROOT / "monitor").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _make_base():
    if _exists(BASE):
        return
    archive, part = PLACE / "base.tar", PLACE / "part.tar"
    if not archive.exists():
        command = ["mmdebstrap", *_UNPACKED, "bookworm", str(part)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        part.rename(archive)
    call("podman", "import", archive, BASE)


def build_beside(name, lines):
    """Build an image of the base and some lines of a Dockerfile, unless there is one."""
    with _lacking(name) as lacking:
        if lacking:
            _make_base()
            context = PLACE / "beside"
            context.mkdir(exist_ok=True)
            (context / "Dockerfile").write_text("\n".join([f"FROM {BASE}", *lines, ""]))
            call("buildah", "bud", *_BUILDING, "-t", name, context)
    return name


@contextmanager
def answering_as_docker(directory):
    """Let podman answer as Docker's own daemon would; yield the address, for ``DOCKER_HOST``."""
    address = f"unix://{directory}/podman.sock"
    with (directory / "podman.log").open("wb") as log:
        process = subprocess.Popen(
            _command("podman", "system", "service", "--time=0", address),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
        )
    try:
        yield address
    finally:
        end(process)


def inspected(image):
    """Return what an image says of itself."""
    return json.loads(call("podman", "image", "inspect", image).stdout)[0]


class Container:
    """One container that runs."""

    def __init__(self, name, process, out, err):
        self.name = name
        self.process = process
        self._out, self._err = out, err

    @property
    def out(self):
        return self._out.read_text()

    @property
    def err(self):
        return self._err.read_text()

    @property
    def alive(self):
        return self.process.returncode is None

    async def started(self):
        """Wait until the daemon in it says that it runs."""
        await until(lambda: STARTED.search(self.err) or not self.alive)
        assert STARTED.search(self.err), self.err

    async def execute(self, *arguments):
        """Run a command inside; return the exit code and its output."""
        command = ("exec", self.name, *arguments)
        done = await anyio.to_thread.run_sync(lambda: call("podman", *command, check=False))
        return done.returncode, done.stdout

    async def stop(self, signal):
        """Send a signal to the first process inside; return the container's exit code."""
        await anyio.to_thread.run_sync(
            lambda: call("podman", "kill", "--signal", signal, self.name)
        )
        with anyio.fail_after(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def running(image, *arguments, directory, options=(), name):
    """Run a container; it is killed and removed at the end, if it has not ended before.

    ``options`` are those of ``podman run``.
    """
    out, err = directory / f"{name}.out", directory / f"{name}.err"
    command = _command("podman", "run", "--rm", "--name", name, *options, image, *arguments)
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=_environment(),
        )
    try:
        yield Container(name, process, out, err)
    finally:
        # Waited for in a thread, as a cancelled test must clean up as well.
        call("podman", "rm", "--force", "--time=0", "--ignore", name, check=False)
        await ended(process)
