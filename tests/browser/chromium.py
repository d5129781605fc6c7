"""A real browser, and what it must be silent about."""

from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import anyio
import pytest
from playwright.async_api import async_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser")
"""The first is the same engine without windows, which take five times the work of a tab."""
PATIENCE = 60_000
"""Milliseconds that anything may take on a busy machine."""
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 780}

_shared: list[Any] = []


class Tab:
    """A page of the browser, and what it complained of."""

    def __init__(self, page):
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", self._refuse)

    def _hear(self, message):
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    async def _refuse(self, dialog):
        self.complaints.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    async def until(self, expression):
        """Wait until an expression holds in the page, whose policy forbids it to wait itself."""
        with anyio.fail_after(PATIENCE / 1000):
            while not await self.page.evaluate(expression):  # noqa: ASYNC110 -- in the browser
                await anyio.sleep(0.05)

    async def live(self):
        """Wait until the page listens to events."""
        await self.page.wait_for_selector("#connection[data-state=on]")

    async def at(self, address):
        """Wait until the tab shows an address."""
        with anyio.fail_after(PATIENCE / 1000):
            while self.page.url != address:  # noqa: ASYNC110 -- in the browser
                await anyio.sleep(0.05)

    async def text(self, selector):
        return await self.page.inner_text(selector)

    async def jobs(self):
        """The ids of the jobs shown, in order."""
        return await self.page.locator(".jobs tbody th > a").all_inner_texts()


@asynccontextmanager
async def chromium():
    """Run a browser; skip where there is none, but never in CI."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("chromium is not installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def sharing():
    """Let all tabs be of one browser, each in a profile of its own: a start takes a second."""
    async with chromium() as browser:
        _shared.append(browser)
        try:
            yield
        finally:
            _shared.remove(browser)


@asynccontextmanager
async def tab(url="", *, viewport=None, **options):
    """Open ``url`` in a tab with a fresh profile; at the end nothing may have been complained of.

    The browser is the shared one, or one for this tab alone.
    """
    async with nullcontext(_shared[-1]) if _shared else chromium() as browser:
        context = await browser.new_context(viewport=viewport or DESKTOP, **options)
        try:
            opened = Tab(await context.new_page())
            if url:
                await opened.page.goto(url)
            yield opened
            assert opened.complaints == []
        finally:
            await context.close()
