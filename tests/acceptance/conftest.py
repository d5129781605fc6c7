"""Whatever a daemon sends in these tests is an event, whether a test looks at it or not."""

from contextlib import asynccontextmanager

import pytest

from monitor import simulator
from tests.contracts.sink_kit import check_received


@pytest.fixture(autouse=True)
def _every_event_received_is_one(monkeypatch):
    """Check what the receivers of all simulators got, when the test is over."""
    logs = []
    running = simulator.running

    @asynccontextmanager
    async def noted(*args, **settings):
        async with running(*args, **settings) as sim:
            logs.append(sim.truth.received)
            yield sim

    monkeypatch.setattr(simulator, "running", noted)
    yield
    for received in logs:
        check_received(received)
