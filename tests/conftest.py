"""What every test needs."""

import asyncio

import pytest

from tests import moto_kit


@pytest.fixture(scope="session", autouse=True)
def no_stray_event_loop():
    """Say that there is no loop yet: asked for one by a plug-in, asyncio would make and leak it."""
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session")
def moto(tmp_path_factory):
    """The URL of a real moto server."""
    with moto_kit.serving(tmp_path_factory.mktemp("moto") / "log") as url:
        yield url
