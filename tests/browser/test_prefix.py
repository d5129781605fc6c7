"""The page under a path of a real nginx, which strips the path from requests or keeps it."""

from contextlib import asynccontextmanager

import aiohttp
import pytest

from monitor import model
from monitor.model import Phase
from monitor.web.auth import Guard
from tests import nginx_kit
from tests.browser.chromium import tab
from tests.browser.test_page import TOKEN, ask, site
from tests.page_kit import NOW, followed
from tests.ports import free_port

pytestmark = [pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]
PREFIX = "/ops/jobs"


@asynccontextmanager
async def behind_nginx(directory, *, strips):
    """Serve a page with a parked sink behind nginx; yield the page and the URL there."""
    (directory / "token").write_text(TOKEN)
    port = free_port()
    url = f"http://127.0.0.1:{port}{PREFIX}"
    guard = Guard(token_files=[directory / "token"], external_url=url)
    jobs = [followed(1), followed(2, Phase.FAILED, sequence=2, labels={"team": "vision"})]
    async with site(directory, jobs, guard=guard, parts={"external_url": f"{url}/"}) as here:
        await here.ledger.park(model.Parking("ops", NOW, "gone"))
        front = nginx_kit.in_front(directory, here.url, PREFIX, port=port, strips=strips)
        async with front as there:
            assert there == url
            yield here, url


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize("strips", [True, False], ids=["stripped", "kept"])
async def test_everything_works_under_a_path_of_a_proxy(tmp_path, strips):
    async with behind_nginx(tmp_path, strips=strips) as (here, url), tab(f"{url}/") as shown:
        asked = []
        shown.page.on("request", lambda request: asked.append(request.url))
        await shown.page.reload()
        await shown.live()
        await here.change(
            here.live.followed[0],
            followed(1, Phase.FAILED, changed=0, sequence=2, reason="Broken."),
        )
        await shown.until("document.querySelectorAll('.jobs tr.is-failed').length === 2")
        await shown.page.fill("[name=q]", "job-2")
        await shown.until("document.querySelectorAll('.jobs tbody tr').length === 1")
        assert shown.page.url == f"{url}/?q=job-2"
        await shown.page.click(".label")
        await shown.at(f"{url}/?q=job-2&label=team%3Dvision")
        await shown.page.click(".tile.is-failed")
        await shown.at(f"{url}/?phase=failed")
        assert (await ask(shown, "Resume", TOKEN)).startswith("It is resumed")
        await shown.page.keyboard.press("Escape")
        await shown.page.click("text=job-2")
        await shown.page.wait_for_selector("h1.subject")
        await shown.page.click("text=All jobs")
        await shown.at(f"{url}/")
        assert asked
        assert [one for one in asked if not one.startswith(f"{url}/")] == []


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize("strips", [True, False], ids=["stripped", "kept"])
async def test_the_form_works_there_without_javascript(tmp_path, strips):
    async with (
        behind_nginx(tmp_path, strips=strips) as (_, url),
        tab(f"{url}/", java_script_enabled=False) as shown,
    ):
        await shown.page.select_option("[name=phase]", "running")
        await shown.page.click("text=Filter")
        assert shown.page.url.startswith(f"{url}/?")
        assert await shown.jobs() == ["job-1"]


async def test_each_path_is_served_with_the_prefix_and_without(tmp_path):
    async with (
        behind_nginx(tmp_path, strips=False) as (here, _),
        aiohttp.ClientSession() as session,
    ):
        for path in ("/", "/metrics", "/-/healthy", "/healthz", "/readyz", "/api/v1/jobs"):
            for prefix in ("", PREFIX):
                async with session.get(f"{here.url}{prefix}{path}") as response:
                    assert response.status == 200, (prefix, path)
        async with session.get(f"{here.url}{PREFIX}") as response:
            assert f'href="{PREFIX}/static/page.css"' in await response.text()
        async with session.get(f"{here.url}{PREFIX}/api/v1/openapi.json") as response:
            assert (await response.json())["servers"] == [{"url": PREFIX}]
        async with session.get(f"{here.url}{PREFIX}/api/v1/nothing") as response:
            assert response.content_type == "application/problem+json"


async def test_another_site_writes_nothing_although_nginx_renames_the_host(tmp_path):
    async with behind_nginx(tmp_path, strips=True) as (here, url):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            for origin, status in [
                ("https://evil.example", 403),
                (url.removesuffix(PREFIX), 200),
            ]:
                address, more = f"{url}/api/v1/sinks/ops/resume", {"Origin": origin}
                async with session.post(address, headers=more) as response:
                    assert response.status == status, origin
        assert await here.ledger.parkings() == []
