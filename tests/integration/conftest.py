"""Fixtures that integration tests share."""

from __future__ import annotations

import pytest

from tests.integration import sources_server
from tests.paths import PATHS


@pytest.fixture(params=PATHS)
def both_paths(request, monkeypatch):
    """Run a test over each of the two paths to AWS."""
    monkeypatch.setattr(sources_server.Path, "taken", request.param)
    return request.param
