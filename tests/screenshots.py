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
    "watch-light": (WIDE, "light"),
}
WATCHES = {"watch-light"}
"""Pictures of the states of a watch's jobs over time."""
WORTH_SEEING = (
    ".tile.is-failed:not(.none)",
    ".tile.is-stuck:not(.none)",
    ".tile.is-running:not(.none)",
)
TROUBLE = re.compile(r"is incomplete|failing since|unreachable|come late")
PATIENCE = 120_000
"""Milliseconds until the demo has something of each to show."""


async def take(browser, url, name):
    """Take one picture, once there is something to see."""
    viewport, scheme = PICTURES[name]
    page = await browser.new_page(viewport=viewport, color_scheme=scheme)
    await page.goto(url)
    worth_seeing = () if name in WATCHES else WORTH_SEEING
    for selector in ("#connection[data-state=on]", *worth_seeing):
        await page.wait_for_selector(selector, timeout=PATIENCE)
    # Not while one of the demo's own faults is under way: the other pictures show trouble. Nothing
    # is evaluated in the page, which forbids that.
    with anyio.fail_after(PATIENCE / 1000):
        while TROUBLE.search(await page.inner_text("body")):  # noqa: ASYNC110 -- the page shows it
            await anyio.sleep(0.2)
    if name in WATCHES:
        await page.goto(f"{url.rstrip('/')}/watches")
        await page.click(".ends th a >> nth=0")
        await page.click(".spans >> text=1h")
        await page.wait_for_selector("svg.strip .is-failed", state="attached", timeout=PATIENCE)
    picture = await page.screenshot(animations="disabled")
    (IMAGES / f"{name}.png").write_bytes(png.shrink(picture))
    await page.close()


async def of_a_demo(browser, name):
    """Take one picture of a demo that has just begun; return its file."""
    with tempfile.TemporaryDirectory() as directory:
        async with running("demo", directory=Path(directory)) as demo:
            await demo.said("Ctrl-C")
            (url,) = re.findall(r"see them at (\S+)", demo.out)
            await take(browser, url, name)
    return IMAGES / f"{name}.png"


async def main():
    """Run a demo for each picture: the moment that has everything to show comes once in each."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    async with chromium() as browser:
        files = [await of_a_demo(browser, name) for name in PICTURES]
        files += await screenshots_trouble.take_all(browser, IMAGES)
    for file in files:
        size = file.stat().st_size
        sys.stdout.write(f"{file.relative_to(ROOT)}: {size:,} bytes\n")
        if size > LARGEST:
            sys.exit(f"{file} is larger than {LARGEST:,} bytes")


if __name__ == "__main__":
    anyio.run(main)
