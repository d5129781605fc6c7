"""A whole daemon whose wall clock is wrong at one start, or set while it runs."""

from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import pytest

from monitor import simulator
from monitor.app import Daemon
from monitor.clock import SystemClock
from monitor.config import Settings
from monitor.runtime import clock_jumps
from tests.acceptance import ledger
from tests.acceptance.program import SECRET, configure, fetch, until

DAY = 86_400.0
YEAR = 366 * DAY


class WrongClock(SystemClock):
    """Real time, but the wall clock is ``ahead``."""

    def __init__(self, ahead=0.0):
        self.ahead = ahead

    def now(self):
        return super().now() + timedelta(seconds=self.ahead)


@asynccontextmanager
async def daemon(file, clock):
    """Run a whole daemon in this process; yield its URL."""
    stop, urls = anyio.Event(), []
    running = Daemon(Settings.model_validate_json(file.read_text()), clock=clock)
    with anyio.fail_after(300):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(running.run, stop, lambda told: urls.append(told.url))
            await until(lambda: urls)
            yield urls[0]
            stop.set()


@pytest.fixture
async def sim(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    hook = {"hook": {"secrets": [SECRET]}}
    jobs = [{"id": "pkg", "service": "panorama"}]
    async with simulator.running({"jobs": jobs, "receivers": hook}) as sim:
        yield sim


@pytest.mark.parametrize("ahead", [40 * DAY, YEAR, -YEAR])
async def test_a_wrong_clock_at_one_start_forgets_nothing_and_delays_nothing(tmp_path, sim, ahead):
    file, store = configure(tmp_path, sim), tmp_path / "state.db"
    async with daemon(file, WrongClock()):
        await until(lambda: ledger.transitions(store))
    async with daemon(file, WrongClock(ahead)) as url:
        sim.change("pkg", Status="FAILED")
        await until(lambda: sim.truth.received.count == 1)
        _, _, scrape = await fetch(f"{url}/metrics")
        assert ("job_monitor_clock_jumps_total 1.0" in scrape) is (ahead < 0)
    async with daemon(file, WrongClock()):
        sim.add_job(id="late", service="panorama")
        await until(lambda: len(ledger.transitions(store)) == 3)
    kinds = [(row.data["kind"], row.data["current"]["state"]) for row in ledger.transitions(store)]
    assert kinds[:2] == [("job.discovered", "PENDING"), ("job.state_changed", "FAILED")]


async def test_a_clock_that_is_set_while_it_runs_delays_neither_polls_nor_deliveries(tmp_path, sim):
    clock, store = WrongClock(), tmp_path / "state.db"
    states = ["RUNNING", "FAILED"]
    async with daemon(configure(tmp_path, sim), clock) as url:
        await until(lambda: ledger.transitions(store))
        for number, ahead in enumerate((DAY, -YEAR), 1):
            clock.ahead = ahead
            sim.add_job(id=f"j-{number}", service="panorama")
            await until(lambda n=number: len(ledger.transitions(store)) == 2 * n)
            sim.change(f"j-{number}", Status=states[1])
            await until(lambda n=number: sim.truth.received.count == n)
            # Two steps within one round of the watch are seen as one.
            await anyio.sleep(2 * clock_jumps.EVERY)
        with anyio.fail_after(90):
            # Another task notices a jump, which may have to wait on a busy machine.
            while "job_monitor_clock_jumps_total 2.0" not in (await fetch(f"{url}/metrics"))[2]:  # noqa: ASYNC110
                await anyio.sleep(clock_jumps.EVERY)
