"""The browser that all tests of a process share."""

import pytest_asyncio

from tests.browser.chromium import sharing


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser():
    """Let tabs be of one browser, on whose event loop the tests must run as well."""
    async with sharing():
        yield
