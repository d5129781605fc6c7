"""A real Prometheus and a real Alertmanager, on the configurations that ``deploy/`` ships."""

import asyncio
import math
import os
import re
import shutil
from contextlib import asynccontextmanager

import aiohttp
import anyio
import pytest
import yaml
from aiohttp import web

from tests.acceptance.program import PATIENCE, environment, fetch, until
from tests.deploy import shipped
from tests.ends import ended

LISTENING = re.compile(r'"Listening on" address=(127\.0\.0\.1:\d+)')


def needed(program):
    """Return the path of a program; its absence is a skip, and in CI a failure."""
    path = shutil.which(program)
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{program} is not installed")
    return path


@asynccontextmanager
async def _serving(program, directory, *arguments):
    """Run a server of the Prometheus kind on a free port; yield its address, host and port."""
    log = directory / f"{program}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            needed(program),
            "--web.listen-address=127.0.0.1:0",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
            env=environment(),
        )
    try:
        await until(lambda: LISTENING.search(log.read_text()) or process.returncode is not None)
        found = LISTENING.search(log.read_text())
        assert found, log.read_text()
        await _until_ready(f"http://{found[1]}/-/ready")
        yield found[1]
    finally:
        if process.returncode is None:
            process.kill()
        await ended(process)


async def _until_ready(url):
    with anyio.fail_after(PATIENCE):
        while (await fetch(url))[0] != 200:  # noqa: ASYNC110 -- another process brings it about
            await anyio.sleep(0.05)


class Asker:
    """Asks a Prometheus."""

    def __init__(self, address, session):
        self._url = f"http://{address}/api/v1"
        self._session = session

    async def _get(self, path, **params):
        async with self._session.get(f"{self._url}/{path}", params=params) as response:
            answer = await response.json()
        assert answer["status"] == "success", answer
        return answer["data"]

    async def now(self, expr):
        """Return the samples of the moment: labels and value of each."""
        found = await self._get("query", query=expr)
        assert found["resultType"] == "vector", expr
        return [(each["metric"], float(each["value"][1])) for each in found["result"]]

    async def graph(self, expr, start, end, step=1):
        """Return all values of all series between two Unix times."""
        found = await self._get("query_range", query=expr, start=start, end=end, step=step)
        return [float(value) for each in found["result"] for _, value in each["values"]]

    async def targets(self):
        return (await self._get("targets"))["activeTargets"]

    async def until_seen(self, expr):
        """Wait until an expression has a value that is a number; return its samples."""
        with anyio.fail_after(PATIENCE):
            while True:
                found = await self.now(expr)
                if any(not math.isnan(value) for _, value in found):
                    return found
                await anyio.sleep(0.2)


@asynccontextmanager
async def prometheus(directory, targets, *, scrape=None, alertmanager=None, every="1s"):
    """Run the example configuration with the shipped rules on ``targets``, host and port each.

    ``scrape`` are keys of the scrape configuration, such as ``scheme``, ``tls_config`` and
    ``basic_auth``; ``alertmanager`` is an address. Yields an Asker.
    """
    settings = yaml.safe_load((shipped.PROMETHEUS / "prometheus.yml").read_text())
    settings["global"] = {"scrape_interval": every, "evaluation_interval": every}
    settings["rule_files"] = [str(path) for path in shipped.RULES]
    (job,) = settings["scrape_configs"]
    job |= {"static_configs": [{"targets": list(targets)}], **(scrape or {})}
    told = [{"targets": [alertmanager] if alertmanager else []}]
    settings["alerting"]["alertmanagers"][0]["static_configs"] = told
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(settings))
    arguments = (
        f"--config.file={file}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        "--rules.alert.resend-delay=1s",
    )
    async with (
        _serving("prometheus", directory, *arguments) as address,
        aiohttp.ClientSession() as session,
    ):
        yield Asker(address, session)


@asynccontextmanager
async def alertmanager(directory, receiver):
    """Run the example configuration with every receiver at the URL; yield its address.

    The name of the receiver is added to the URL. Nothing is waited for before it is told.
    """
    settings = yaml.safe_load((shipped.PROMETHEUS / "alertmanager.yml").read_text())
    for each in settings["receivers"]:
        for hook in each["webhook_configs"]:
            hook["url"] = f"{receiver}/{each['name']}"
    for route in (settings["route"], *settings["route"]["routes"]):
        route |= {"group_wait": "0s", "group_interval": "1s"}
    file = directory / "alertmanager.yml"
    file.write_text(yaml.safe_dump(settings))
    arguments = (
        f"--config.file={file}",
        f"--storage.path={directory / 'alerts'}",
        "--cluster.listen-address=",
    )
    async with _serving("prometheus-alertmanager", directory, *arguments) as address:
        yield address


@asynccontextmanager
async def receiving():
    """Take webhooks; yield the URL, and what was received as (last part of the path, body)."""
    received = []

    async def take(request):
        received.append((request.match_info["name"], await request.json()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/{name}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}", received
    finally:
        await runner.cleanup()
