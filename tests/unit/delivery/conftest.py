"""Dispatchers in virtual time."""

import pytest

from monitor.delivery import dispatcher


@pytest.fixture(autouse=True)
def long_pauses(monkeypatch):
    """Let dispatchers with nothing to do wake rarely: each time they read the outbox.

    A wake-up that is missed shows, as no next pause hides it.
    """
    monkeypatch.setattr(dispatcher, "LONGEST_PAUSE", 600.0)
