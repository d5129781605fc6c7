"""A real PostgreSQL server for the store's tests, and a fresh database of each kind."""

import os
import pwd
import shutil
import subprocess
import tempfile
from itertools import count
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def postgresql_server():
    """Start a server on a Unix socket; yield a function that runs one of its programs."""
    programs = _programs()
    if programs is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed; CI must test against it")
        pytest.skip("PostgreSQL is not installed")
    home = Path(tempfile.mkdtemp(prefix="store-pg-"))
    # The server refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        os.chown(home, pwd.getpwnam(user).pw_uid, -1)

    def run(program, *arguments):
        subprocess.run(
            [programs / program, *map(str, arguments)],
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )

    data, options = home / "data", f"-k {home} -c listen_addresses='' -c fsync=off"
    run("initdb", "-A", "trust", "--no-sync", "-U", "postgres", "-D", data)
    run("pg_ctl", "-w", "-D", data, "-l", home / "log", "-o", options, "start")
    yield home, run
    run("pg_ctl", "-w", "-D", data, "-m", "immediate", "stop")
    shutil.rmtree(home)


def _programs():
    known = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found = shutil.which("initdb")
    known += [Path(found).resolve().parent] if found else []
    return next((path for path in known if (path / "initdb").exists()), None)


@pytest.fixture(scope="session")
def postgresql_names():
    return (f"store_{number}" for number in count())


@pytest.fixture
def postgresql_url(postgresql_server, postgresql_names):
    """A fresh database."""
    home, run = postgresql_server
    name = next(postgresql_names)
    run("createdb", "-h", home, "-U", "postgres", name)
    return f"postgresql://postgres@/{name}?host={home}"


@pytest.fixture
def sqlite_url(tmp_path):
    """A fresh file, not made yet."""
    return f"sqlite://{tmp_path}/state.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request):
    """The URL of an empty store, of each kind in turn."""
    return request.getfixturevalue(f"{request.param}_url")
