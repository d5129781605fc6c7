"""Pollers in virtual time."""

import pytest

from monitor.polling import poller


@pytest.fixture
def long_pauses(monkeypatch):
    """Let pollers with nothing to do wake rarely: a virtual day has 17,280 of their pauses.

    A wake-up that is missed shows, as no next pause hides it. Not for outages, whose end a poller
    finds in one of its pauses.
    """
    monkeypatch.setattr(poller, "LONGEST_PAUSE", 600.0)
