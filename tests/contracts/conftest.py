"""A fresh store of each kind."""

import asyncio

import pytest

from monitor.stores.connect import open_database


@pytest.fixture
def postgresql_url(postgresql_server, postgresql_names):
    """A fresh database."""
    name = next(postgresql_names)
    yield postgresql_server.create(name)
    postgresql_server.drop(name)


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


@pytest.fixture
def copied_sqlite(empty_sqlite, tmp_path):
    """A copy of the file of a store without jobs."""
    file = tmp_path / "state.db"
    file.write_bytes(empty_sqlite.read_bytes())
    return f"sqlite://{file}"


@pytest.fixture
def copied_postgresql(empty_postgresql, postgresql_server, postgresql_names):
    """A copy of the database of a store without jobs."""
    name = next(postgresql_names)
    yield postgresql_server.create(name, empty_postgresql)
    postgresql_server.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request):
    """The URL of a store without jobs, of each kind in turn.

    It is a copy: to make the tables costs more than most tests.
    """
    return request.getfixturevalue(f"copied_{request.param}")
