"""The stores of simulations: a file, and a database of a real PostgreSQL server."""

import pytest


@pytest.fixture
def new_database(postgresql_server, postgresql_names):
    """Return a function that returns the URL of another database, which is empty."""
    made = []

    def create():
        made.append(next(postgresql_names))
        return postgresql_server.create(made[-1])

    yield create
    for name in made:
        postgresql_server.drop(name)
