"""Processes of the program, forked from one that has imported it already."""

import atexit
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from signal import SIGKILL

import anyio

from tests import made

SERVER = Path(__file__).with_name("fork_server.py")
CLIENT = Path(__file__).with_name("fork_client.py")
USUAL = made.search_path(SERVER.parents[1])
"""The search path of nearly all processes of tests."""
OWN = ("AWS_", "JOB_MONITOR_", "MADE_EVENTS", "SSL_CERT_FILE", "TERM", "TMPDIR", "HOME")
"""Variables that are read only when the program runs; any other change needs a real start."""


class Fork:
    """A process, with what ``asyncio.subprocess.Process`` has and these tests use."""

    def __init__(self, report):
        self._report = report
        self._told = b""

    async def begin(self):
        while not self._lines():
            await anyio.wait_readable(self._report)
            self._read()
        self.pid = self._lines()[0]
        return self

    @property
    def returncode(self):
        self._read()
        return self._lines()[1] if self._report.fileno() < 0 else None

    async def wait(self):
        while self.returncode is None:
            await anyio.wait_readable(self._report)
        return self.returncode

    def send_signal(self, signal):
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, signal)

    def kill(self):
        self.send_signal(SIGKILL)

    def _lines(self):
        """Return what was told so far: the process id, and the exit code."""
        return list(map(int, self._told.split(b"\n")[:-1]))

    def _read(self):
        """Take what is told now; at the exit code is the end."""
        if self._report.fileno() < 0:
            return
        try:
            more = self._report.recv(100)
        except BlockingIOError:
            return
        if not more:
            raise ChildProcessError("the fork server has ended; what it said is above")
        self._told += more
        if len(self._lines()) > 1:
            self._report.close()


class _Server:
    """The process that forks, started by the first process of the run that wants a fork."""

    def __init__(self, environment):
        self.place = _places[0] if _places else Path(tempfile.mkdtemp(prefix="forks-"))
        self._orders = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with (self.place / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                self._orders.connect(self.address)
            except (ConnectionRefusedError, FileNotFoundError):
                self._start(environment)
            self.environment = json.loads((self.place / "environment").read_text())
        atexit.register(self._end)

    @property
    def address(self):
        return str(self.place / "socket")

    def _start(self, environment):
        (self.place / "environment").write_text(json.dumps(environment))
        Path(self.address).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(self.address)
            listener.listen(64)
            self._orders.connect(self.address)
            process = subprocess.Popen(
                [sys.executable, SERVER, self.place],
                stdin=listener.fileno(),
                stdout=subprocess.DEVNULL,
                cwd=SERVER.parent,
                env={name: own for name, own in environment.items() if name != "MADE_EVENTS"},
            )
        # Others may need it for longer than this process runs.
        process.returncode = 0

    def order(self, arguments, cwd, env, streams):
        own, theirs = socket.socketpair()
        own.setblocking(False)  # noqa: FBT003 -- its only form
        order = json.dumps({"arguments": arguments, "cwd": cwd, "env": env}).encode()
        with theirs:
            socket.send_fds(self._orders, [order], [*streams, theirs.fileno()])
        return own

    @property
    def descriptor(self):
        """Where orders go."""
        return self._orders.fileno()

    def _end(self):
        # A process that a test left behind may hold a copy of the descriptor.
        self._orders.shutdown(socket.SHUT_RDWR)
        self._orders.close()
        if not _places:
            shutil.rmtree(self.place)


_places: list[Path] = []
_servers: list[_Server] = []


def share(place):
    """Let all processes of a run that know this directory have one server."""
    place.mkdir(exist_ok=True)
    _places[:] = [place]


def can(environment):
    """Whether a fork would be as a process with this environment, and so for all but a few."""
    # Whoever comes first gives the server what all have.
    if sys.platform != "linux" or environment.get("PYTHONPATH") != USUAL:
        return False
    if not _servers:
        _servers.append(_Server(environment))
    differing = environment.items() ^ _servers[0].environment.items()
    return all(name.startswith(OWN) for name, _ in differing)


async def fork(arguments, *, cwd, env, out, err):
    """Fork the program; ``can(env)`` must hold."""
    with Path(os.devnull).open("rb") as nothing:  # noqa: ASYNC230 -- it never waits
        streams = [each.fileno() for each in (nothing, out, err)]
        report = _servers[0].order(list(map(str, arguments)), str(cwd), env, streams)
    return await Fork(report).begin()


def command(environment):
    """Return a command that forks the program, and the descriptor that it must be passed.

    For shells and for what waits in the usual way. Each process needs this environment, but for
    what ``can`` permits, and the system's network and session: the fork has those of its server.
    """
    if not can(environment):
        return [sys.executable, "-m", "monitor"], []
    descriptor = _servers[0].descriptor
    return [sys.executable, "-I", "-S", str(CLIENT), str(descriptor)], [descriptor]


def anywhere(environment):
    """Return a command that forks the program from wherever a terminal starts it.

    Its descriptors do not get there. Paths, prompts and languages may differ, which are not read
    before an order comes.
    """
    if not _servers and not can(environment):
        return [sys.executable, "-m", "monitor"]
    return [sys.executable, "-I", "-S", str(CLIENT), _servers[0].address]
