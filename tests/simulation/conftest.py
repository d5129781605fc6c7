"""The stores of simulations: a file, and a database of a real PostgreSQL server."""

import pytest


@pytest.fixture
def new_database(postgresql_server, postgresql_names):
    """Return a function that returns the URL of another database, which is empty."""
    return lambda: postgresql_server.create(next(postgresql_names))
