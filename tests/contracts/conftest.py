"""A real PostgreSQL server for the store's tests, and a fresh database of each kind."""

import asyncio
from itertools import count

import pytest

from monitor.stores.connect import open_database
from tests import once
from tests.contracts import postgresql_kit


@pytest.fixture(scope="session")
def postgresql_cluster(tmp_path_factory):
    """The directory of a cluster without databases of ours, for servers to start as a copy of."""
    return once.made(tmp_path_factory, "postgresql", postgresql_kit.make_cluster)


@pytest.fixture(scope="session")
def postgresql_server(postgresql_cluster):
    """A server for all tests."""
    # It would look at each of the many databases every minute, after the test of it too.
    options = "-c fsync=off -c autovacuum=off"
    with postgresql_kit.server(options, cluster=postgresql_cluster) as made:
        yield made


@pytest.fixture(scope="session")
def postgresql_names():
    return (f"store_{number}" for number in count())


@pytest.fixture
def postgresql_url(postgresql_server, postgresql_names):
    """A fresh database."""
    return postgresql_server.create(next(postgresql_names))


@pytest.fixture
def sqlite_url(tmp_path):
    """A fresh file, not made yet."""
    return f"sqlite://{tmp_path}/state.db"


async def _make(url):
    async with open_database(url):
        pass


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory):
    """The file of a store without jobs."""
    file = tmp_path_factory.mktemp("empty") / "state.db"
    asyncio.run(_make(f"sqlite://{file}"))
    return file


@pytest.fixture(scope="session")
def empty_postgresql(postgresql_server):
    """The name of a database that is a store without jobs."""
    asyncio.run(_make(postgresql_server.create("empty")))
    return "empty"


@pytest.fixture(params=["sqlite", "postgresql"])
def new_store_url(request):
    """The URL of a store of each kind in turn, not made yet."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request):
    """The URL of a store without jobs, of each kind in turn.

    It is a copy: to make the tables costs more than most tests.
    """
    empty = request.getfixturevalue(f"empty_{request.param}")
    if request.param == "sqlite":
        file = request.getfixturevalue("tmp_path") / "state.db"
        file.write_bytes(empty.read_bytes())
        return f"sqlite://{file}"
    server, names = map(request.getfixturevalue, ("postgresql_server", "postgresql_names"))
    return server.create(next(names), empty)
