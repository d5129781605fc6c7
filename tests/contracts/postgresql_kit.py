"""A PostgreSQL server of the tests, on a Unix socket, which can be killed and started again."""

import itertools
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio
import asyncpg  # type: ignore[import-untyped]
import pytest

from tests import ports

_POOLERS = itertools.count(6432)
MEMORY = Path("/dev/shm")
ROOM = 4 << 30
"""Bytes of memory that must be free for servers to have their files there."""


class Server:
    """A cluster in a directory of its own."""

    def __init__(self, home, programs, options="", cluster=None):
        self.home = home
        self.port = 5432
        self._programs = programs
        self._session: subprocess.Popen[str] | None = None
        # The server refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            os.chown(home, pwd.getpwnam(self._user).pw_uid, -1)
        # The log of what is written stays small, as it may be kept in memory.
        self._options = f"-k {home} -c listen_addresses='' -c max_wal_size=64MB {options}"
        if cluster:
            subprocess.run(["cp", "-a", cluster / "data", home / "data"], check=True)
        else:
            self.run("initdb", "-A", "trust", "--no-sync", "-U", "postgres", "-D", home / "data")

    def run(self, program, *arguments):
        """Run one of the server's programs."""
        command = [self._programs / program, *map(str, arguments)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self._as_its_user)

    @property
    def _as_its_user(self):
        groups: list[str] | None = [] if self._user else None
        return {"cwd": "/", "user": self._user, "group": self._user, "extra_groups": groups}

    def serve_tls(self, certificate, authority, access):
        """Listen on a free port of loopback as well, from its next start on.

        ``certificate`` holds the server's and its key, ``authority`` that of the clients, and
        ``access`` is what pg_hba.conf says of them.
        """
        for name, source in (("server.pem", certificate), ("clients.pem", authority)):
            target = self.home / "data" / name
            target.write_bytes(source.read_bytes())
            target.chmod(0o600)
            if self._user:
                os.chown(target, pwd.getpwnam(self._user).pw_uid, -1)
        rules = "\n".join(["local all all trust", *access, ""])
        (self.home / "data" / "pg_hba.conf").write_text(rules, "utf-8")
        self.port = ports.free_port()
        self._options += (
            f" -c listen_addresses=127.0.0.1 -c port={self.port} -c ssl=on"
            " -c ssl_cert_file=server.pem -c ssl_key_file=server.pem -c ssl_ca_file=clients.pem"
        )

    def start(self):
        """Start it, and wait until it answers."""
        data, log = self.home / "data", self.home / "log"
        self.run("pg_ctl", "-w", "-D", data, "-l", log, "-o", self._options, "start")

    def kill(self):
        """Kill the server and all its sessions, as a machine that loses its power would."""
        self._leave()
        note = self.home / "data" / "postmaster.pid"
        pid = int(note.read_text().split()[0])
        # The first one first: it would start others in the place of those that end.
        family = (pid, *_children(pid))
        _send(signal.SIGKILL, family)
        # None may be left that holds the memory which all of them share.
        while any(map(_runs, family)):
            time.sleep(0.02)
        # Nobody may have reaped it yet, and its number would pass for a server that runs.
        for each in (note, *self.home.glob(".s.PGSQL.*.lock")):
            each.unlink()

    @contextmanager
    def frozen(self):
        """Let no process of it run meanwhile: its connections stay open, and nobody answers."""
        self._leave()
        pid = int((self.home / "data" / "postmaster.pid").read_text().split()[0])
        family = (pid, *_children(pid))
        try:
            _send(signal.SIGSTOP, family)
            yield
        finally:
            _send(signal.SIGCONT, family)

    def stop(self):
        """Stop it at once."""
        self._leave()
        self.run("pg_ctl", "-w", "-D", self.home / "data", "-m", "immediate", "stop")

    def url(self, name):
        """Return the URL of a database."""
        return f"postgresql://postgres@/{name}?host={self.home}&port={self.port}"

    def create(self, name, template="template1"):
        """Make a database, a copy of another; return its URL."""
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop(self, name):
        """Remove a database, whoever is connected to it."""
        self.sql(f'DROP DATABASE "{name}" WITH (FORCE)')

    def load(self, name, dump):
        """Run the statements of a file in a database."""
        # Read by us: the server's user may not enter the directory.
        with dump.open() as statements:
            self._psql(name, stdin=statements)

    def ask(self, name, query):
        """Return what a query of a database prints."""
        return self._psql(name, "-c", query)

    def _psql(self, name, *more, stdin=None):
        place = ("-h", self.home, "-p", self.port, "-U", "postgres", "-d", name)
        command = [self._programs / "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", *place, *more]
        done = subprocess.run(
            list(map(str, command)),
            check=True,
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            **self._as_its_user,
        )
        return done.stdout

    def sql(self, statement):
        """Run a statement in a session that is kept: to start one is most of the work."""
        if self._session is None:
            place = ("-h", self.home, "-p", self.port, "-U", "postgres", "-d", "postgres")
            self._session = subprocess.Popen(
                [self._programs / "psql", "-qAtX", *map(str, place)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                **self._as_its_user,
            )
        order, answer = self._session.stdin, self._session.stdout
        assert order
        assert answer
        order.write(f"{statement};\n\\echo\n")
        order.flush()
        said = answer.readline()
        if said != "\n":
            self._leave()
            raise AssertionError(said)

    def _leave(self):
        """End the session that is kept."""
        if self._session:
            with self._session:  # closes its input, and waits for it
                self._session = None


@contextmanager
def pooler(made, mode, size=20):
    """Run PgBouncer before a server, on a socket beside its own; yield the port that names it.

    Skips as ``server`` does.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("PgBouncer is not installed; CI must test against it")
        pytest.skip("PgBouncer is not installed")
    port = next(_POOLERS)
    settings = made.home / f"pgbouncer-{mode}.ini"
    settings.write_text(
        f"""
[databases]
* = host={made.home} port={made.port} user=postgres
[pgbouncer]
listen_addr =
listen_port = {port}
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
unix_socket_dir = {made.home}
""",
        "utf-8",
    )
    user = "postgres" if os.geteuid() == 0 else None
    log = (made.home / f"pgbouncer-{mode}.log").open("wb")
    with (
        log,
        subprocess.Popen(
            [program, settings], cwd="/", stdout=log, stderr=log, user=user, group=user
        ) as process,
    ):
        try:
            _until_it_listens(f"{made.home}/.s.PGSQL.{port}", process)
            yield port
        finally:
            process.kill()


def _until_it_listens(path, process):
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as tried:
            tried.connect(path)
            return
        time.sleep(0.02)
    pytest.fail("PgBouncer does not listen")


async def end_sessions(url, condition="true"):
    """End the store's sessions in a database, and wait until the server has none of them left."""
    chosen = (
        "FROM pg_stat_activity WHERE application_name = 'job-monitor'"
        f" AND datname = current_database() AND {condition}"
    )
    connection = await asyncpg.connect(url)
    pids = [row[0] for row in await connection.fetch(f"SELECT pid {chosen}")]
    await connection.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) pid", pids)
    left = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1::int[])"
    with anyio.fail_after(60):
        while await connection.fetchval(left, pids):  # noqa: ASYNC110 -- the server
            await anyio.sleep(0.01)
    await connection.close()


async def until_unlocked(url):
    """Wait until the server has noticed that whoever held the store's lock is gone."""
    connection = await asyncpg.connect(url)
    held = (
        "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
        " WHERE locktype = 'advisory' AND datname = current_database()"
    )
    with anyio.fail_after(60):
        while await connection.fetchval(held):  # noqa: ASYNC110 -- the server
            await anyio.sleep(0.01)
    await connection.close()


def _send(number, pids):
    """Send a signal to those that still run: one that served a session may just have ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _stat(pid):
    """Return the state of a process and the id of its parent."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], int(fields[1])
    return "X", 0


def _runs(pid):
    return _stat(pid)[0] not in "XZ"


def _children(pid):
    every = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]
    return [each for each in every if _stat(each)[1] == pid]


def make_cluster(directory):
    """Make a cluster that servers start as copies of: to make one takes a second."""
    with tempfile.TemporaryDirectory(prefix="store-pg-") as home:
        Server(Path(home), programs())
        shutil.move(Path(home) / "data", directory)


def memory():
    """Return a directory in memory, if there is one with enough room.

    A database is hundreds of files. To make them takes a disk much longer, above all soon after
    others were removed.
    """
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < ROOM:
        return None
    # What a file system in memory has left is a limit of its own, and no memory.
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text("ascii"))
    return MEMORY if found and int(found[1]) << 10 >= ROOM else None


@contextmanager
def server(options="", prepare=None, cluster=None, *, place=memory):
    """Run a server; skips the test where none is installed, but for CI.

    ``prepare`` is called with it before it starts. It starts as a copy of ``cluster``, if given.
    ``place`` returns the directory to keep its files in, or ``None`` for the usual one.
    """
    found = programs()
    home = Path(tempfile.mkdtemp(prefix="store-pg-", dir=place()))
    made = Server(home, found, options, cluster)
    if prepare:
        prepare(made)
    made.start()
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(home)


def programs():
    """Return the folder of the server's programs; skips as ``server`` does."""
    found = _programs()
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed; CI must test against it")
        pytest.skip("PostgreSQL is not installed")
    return found


def _programs():
    known = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found = shutil.which("initdb")
    known += [Path(found).resolve().parent] if found else []
    return next((path for path in known if (path / "initdb").exists()), None)
