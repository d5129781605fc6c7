"""Fixtures that integration tests share."""

from __future__ import annotations

import pytest

from tests.acceptance import program
from tests.integration import sources_server
from tests.paths import PATHS


@pytest.fixture(autouse=True)
def no_authorities(monkeypatch):
    """Let no context of TLS read the public authorities: see ``program.NO_AUTHORITIES``."""
    for name, value in program.NO_AUTHORITIES.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=PATHS)
def both_paths(request, monkeypatch):
    """Run a test over each of the two paths to AWS."""
    monkeypatch.setattr(sources_server.Path, "taken", request.param)
    return request.param
