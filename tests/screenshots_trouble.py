"""Pictures of trouble, in light, dark and phone width: a failing sink, a parked one before and
after a resume that parks again, and AWS down."""

import tempfile
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio

from monitor import model
from monitor.model import Phase
from monitor.web.auth import Guard
from tests import png
from tests.browser.test_page import TOKEN, site
from tests.page_kit import NOW, followed, sink, source

LOOKS = {
    "light": ({"width": 1200, "height": 720}, "light"),
    "dark": ({"width": 1200, "height": 720}, "dark"),
    "phone": ({"width": 360, "height": 720}, "light"),
}
WHY = "the receiver answered 410 Gone"
ERROR = "answered 503 Service Unavailable"
FAILING = {
    "last_delivered_at": NOW - timedelta(minutes=14),
    "failing_since": NOW - timedelta(minutes=12, seconds=8),
    "last_error": ERROR,
    "last_error_at": NOW - timedelta(seconds=21),
}
LOST = {
    "available": False,
    "up": False,
    "reason": "transient",
    "code": "EAI_AGAIN",
    "hint": "name resolution failed",
    "last_success_at": NOW - timedelta(minutes=6),
}


def jobs(**more):
    """A few jobs, each with something to report."""
    return [
        followed(1, Phase.RUNNING, sequence=3, **more),
        followed(2, Phase.FAILED, changed=600, sequence=2, reason="The archive has no descriptor."),
        followed(3, Phase.SUCCEEDED, sequence=2),
    ]


@asynccontextmanager
async def _scene(name, directory):
    blind = name == "aws-down"
    live = {
        "sources": [source(**LOST), source("importexport", **LOST)] if blind else [source()],
        "sinks": [sink("ops", **(FAILING if name == "sink-failing" else {}))],
    }
    (directory / "token").write_text(TOKEN)
    guard = Guard(token_files=[directory / "token"])
    known = jobs(**({"blind": True, "failing": "transient"} if blind else {}))
    async with site(directory, known, guard=guard, **live) as here:
        if name.startswith("sink-parked"):
            here.live.told = [sink("ops", last_error=WHY, last_error_at=NOW)]
            await here.ledger.park(model.Parking("ops", NOW - timedelta(minutes=3), WHY))
        else:
            await _deliver(here, all_of_it=not name.startswith("sink"))
        yield here


async def _deliver(here, *, all_of_it):
    """Settle what waits; of a sink that fails, all but what was recorded last."""
    while found := await here.ledger.due("ops", NOW + timedelta(days=1), 10):
        for each in found:
            fails = not all_of_it and each.key.endswith(("job-1", "job-2"))
            status = model.DeliveryStatus.PENDING if fails else model.DeliveryStatus.DELIVERED
            due = NOW + timedelta(days=9) if fails else None
            settled = model.Settlement(each, status, NOW, due, ERROR)
            await here.ledger.settle(settled if fails else replace(settled, error=None))


async def take(browser, name, look, images):
    """Take one picture."""
    viewport, scheme = LOOKS[look]
    with tempfile.TemporaryDirectory() as directory:
        async with _scene(name, Path(directory)) as here:
            page = await browser.new_page(viewport=viewport, color_scheme=scheme)
            await page.goto(here.url)
            await page.wait_for_selector("#connection[data-state=on]")
            if name.startswith("sink"):
                await page.evaluate("document.querySelector('#sinks-title').scrollIntoView()")
            if name == "sink-parked-resumed":
                await _resume(page, here)
            file = images / f"{name}-{look}.png"
            file.write_bytes(png.shrink(await page.screenshot(animations="disabled")))
            await page.close()
    return file


async def _resume(page, here):
    """Press Resume, and park the sink again as its dispatcher would."""

    async def park_again():
        while await here.ledger.parkings():  # noqa: ASYNC110 -- the browser brings it about
            await anyio.sleep(0.02)
        await here.ledger.park(model.Parking("ops", NOW, WHY))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(park_again)
        await page.click("button[data-act=resume]")
        await page.fill("#ask-token", TOKEN)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#ask-outcome.is-good, #ask-outcome.is-bad")


SCENES = ("sink-failing", "sink-parked", "sink-parked-resumed", "aws-down")


async def take_all(browser, images):
    """Take every scene in every look."""
    return [await take(browser, name, look, images) for name in SCENES for look in LOOKS]
