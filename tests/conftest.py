"""What every test needs."""

import asyncio

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_stray_event_loop():
    """Say that there is no loop yet: asked for one by a plug-in, asyncio would make and leak it."""
    asyncio.set_event_loop(None)
