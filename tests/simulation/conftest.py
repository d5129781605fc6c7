"""The stores of simulations: a file, and a database of a real PostgreSQL server."""

from itertools import count

import pytest

from tests import once
from tests.contracts import postgresql_kit


@pytest.fixture(scope="session")
def new_database(tmp_path_factory):
    """Return a function that returns the URL of another database, which is empty."""
    cluster = once.made(tmp_path_factory, "postgresql", postgresql_kit.make_cluster)
    options = "-c fsync=off -c autovacuum=off"
    numbers = count()
    with postgresql_kit.server(options, cluster=cluster) as server:
        yield lambda: server.create(f"simulation_{next(numbers)}")
