"""Liveness follows the scheduler alone: red when that is stuck, green whatever AWS does."""

from contextlib import asynccontextmanager

import anyio
import pytest

from monitor import simulator
from monitor.app import Daemon
from monitor.clock import SystemClock
from monitor.config import Settings
from monitor.polling.poller import Poller
from monitor.runtime.reconfigure import ConfigManager
from monitor.web.app import STALE_AFTER
from tests.acceptance.program import configure, fetch, packages, until

JOBS = {"jobs": [{"id": "job", "service": "panorama"}]}


class JumpingClock(SystemClock):
    """Real time, and as much more as somebody let pass."""

    passed = 0.0

    def monotonic(self):
        return super().monotonic() + self.passed


@asynccontextmanager
async def daemon(directory, sim, clock, monkeypatch):
    """Run a whole daemon in this process; yield its URL."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    file = configure(directory, sim, watches=[packages()], sinks={})
    settings = Settings.model_validate_json(file.read_text())
    stop, urls = anyio.Event(), []
    running = Daemon(settings, clock=clock)
    with anyio.fail_after(300):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(running.run, stop, lambda told: urls.append(told.url))
            await until(lambda: urls)
            yield urls[0]
            stop.set()


async def answers(url, status):
    """Wait until liveness answers ``status``; return what it says."""
    with anyio.fail_after(90):
        while True:
            found, _, text = await fetch(f"{url}/-/healthy")
            if found == status:
                return text
            await anyio.sleep(0.1)


async def test_liveness_turns_red_when_the_scheduler_is_stuck_and_green_when_it_goes_on(
    tmp_path, monkeypatch
):
    clock, free, blocked = JumpingClock(), anyio.Event(), anyio.Event()
    pause = Poller._pause

    async def block(self, seconds):
        blocked.set()
        await free.wait()
        await pause(self, seconds)

    async with (
        simulator.running(JOBS) as sim,
        daemon(tmp_path, sim, clock, monkeypatch) as url,
    ):
        await answers(url, 200)
        monkeypatch.setattr(Poller, "_pause", block)
        await blocked.wait()
        clock.passed += STALE_AFTER + 1
        assert "the scheduler's last pass was" in await answers(url, 503)
        assert (await fetch(f"{url}/healthz"))[0] == 503
        free.set()
        await answers(url, 200)


@pytest.mark.parametrize(
    "fault", [{"kind": "error", "status": 503, "code": "ServiceUnavailable"}, {"kind": "hang"}]
)
async def test_liveness_stays_green_when_aws_is_down(tmp_path, monkeypatch, fault):
    clock = JumpingClock()
    scenario = JOBS | {"faults": [fault]}
    async with (
        simulator.running(scenario) as sim,
        daemon(tmp_path, sim, clock, monkeypatch) as url,
    ):
        await until(lambda: sim.truth.requests.count)
        clock.passed += STALE_AFTER + 1
        await answers(url, 200)
        for _ in range(20):
            assert (await fetch(f"{url}/-/healthy"))[0] == 200
            await anyio.sleep(0.05)


async def test_it_is_ready_once_its_configuration_has_taken_effect_and_not_before(
    tmp_path, monkeypatch
):
    serve, start, seen = Daemon._serve, ConfigManager.start, []

    async def serving(self, *parts):
        seen.append(await serve(self, *parts))
        return seen[0]

    async def starting(self):
        seen.append((await fetch(f"{seen[0]}/-/ready"))[0])
        await start(self)

    monkeypatch.setattr(Daemon, "_serve", serving)
    monkeypatch.setattr(ConfigManager, "start", starting)
    async with (
        simulator.running(JOBS) as sim,
        daemon(tmp_path, sim, SystemClock(), monkeypatch) as url,
    ):
        assert seen == [url, 503]
        assert (await fetch(f"{url}/-/ready"))[0] == 200
