"""Takes the pictures of the page that the documentation shows, from the demo that really runs."""

import re
import sys
import tempfile
from pathlib import Path

import anyio

from tests import png, screenshots_trouble
from tests.acceptance.program import ROOT, running
from tests.browser.chromium import chromium

IMAGES = ROOT / "docs" / "images"
LARGEST = 300_000
"""Bytes that a picture may have."""
WIDE, NARROW = {"width": 1360, "height": 900}, {"width": 360, "height": 780}
PICTURES = {
    "page-light": (WIDE, "light"),
    "page-dark": (WIDE, "dark"),
    "page-phone": (NARROW, "light"),
}
WORTH_SEEING = (
    ".tile.is-failed:not(.none)",
    ".tile.is-stuck:not(.none)",
    ".tile.is-running:not(.none)",
)
TROUBLE = re.compile(r"is incomplete|failing since|unreachable")
PATIENCE = 120_000
"""Milliseconds until the demo has something of each to show."""


async def take(browser, url, name):
    """Take one picture, once there is something to see."""
    viewport, scheme = PICTURES[name]
    page = await browser.new_page(viewport=viewport, color_scheme=scheme)
    await page.goto(url)
    for selector in ("#connection[data-state=on]", *WORTH_SEEING):
        await page.wait_for_selector(selector, timeout=PATIENCE)
    # Not while one of the demo's own faults is under way: the other pictures show trouble. Nothing
    # is evaluated in the page, which forbids that.
    with anyio.fail_after(PATIENCE / 1000):
        while TROUBLE.search(await page.inner_text("body")):  # noqa: ASYNC110 -- the page shows it
            await anyio.sleep(0.2)
    file = IMAGES / f"{name}.png"
    file.write_bytes(png.shrink(await page.screenshot(animations="disabled")))
    await page.close()
    return file


async def main():
    """Run the demo and take all pictures at about the same moment."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        async with running("demo", directory=Path(directory)) as demo, chromium() as browser:
            await demo.said("Ctrl-C")
            (url,) = re.findall(r"see them at (\S+)", demo.out)
            files = [await take(browser, url, name) for name in PICTURES]
            files += await screenshots_trouble.take_all(browser, IMAGES)
    for file in files:
        size = file.stat().st_size
        sys.stdout.write(f"{file.relative_to(ROOT)}: {size:,} bytes\n")
        if size > LARGEST:
            sys.exit(f"{file} is larger than {LARGEST:,} bytes")


if __name__ == "__main__":
    anyio.run(main)
