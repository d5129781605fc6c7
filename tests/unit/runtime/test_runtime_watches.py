"""When a run-time watch expires."""

from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import pytest

from monitor import model
from monitor.config import Settings
from monitor.errors import ConfigurationError, PollReason, StoppingError
from monitor.model import Phase
from monitor.runtime.runtime_watches import RuntimeWatches, expiry, read
from monitor.stores.store import open_store
from tests.contracts.store_examples import SettableClock, entry
from tests.web_kit import followed

WATCH = {"name": "w", "type": "importexport.job", "jobs": ["EX1"], "expires": "final"}
SECOND = timedelta(seconds=1)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def status(phase=Phase.RUNNING, *, missing=False):
    return followed(entry(1, 1, phase=phase, missing=missing).snapshot)


def never_seen(failing=None):
    return status()._replace(snapshot=None, failing=failing)


OPEN, ENDED, MISSING = status(), status(Phase.CANCELED), status(missing=True)
DENIED = never_seen(PollReason.MISSING)


@pytest.mark.parametrize(
    ("jobs", "longest", "why"),
    [
        ([ENDED], MINUTE, "ended"),
        ([MISSING], MINUTE, "missing"),
        ([ENDED, MISSING], MINUTE, "missing"),
        ([DENIED], HOUR, "missing"),
        ([ENDED, DENIED], HOUR, "missing"),
        ([OPEN], DAY, "unattended"),
        ([ENDED, OPEN], DAY, "unattended"),
        ([never_seen()], DAY, "unattended"),
        ([never_seen(PollReason.AUTH)], DAY, "unattended"),
        ([None], DAY, "unattended"),
        ([], DAY, "unattended"),
    ],
)
def test_a_watch_expires_when_nobody_waits_and_sooner_if_nothing_is_left_to_wait_for(
    jobs, longest, why
):
    watch = read(WATCH)
    assert expiry(watch, jobs, longest - SECOND) is None
    assert expiry(watch, jobs, longest) == why


class Rig:
    """Run-time watches over a real store, whose changes take effect unless ``refuse`` is set."""

    def __init__(self, store, clock):
        self.clock = clock
        self.store = store
        self.job = OPEN
        self.refuse = None
        self.begin()

    def begin(self):
        """Start anew, as the daemon does."""
        lock = anyio.Lock()
        self.watches = RuntimeWatches(
            self.store, self.clock, Settings, self.take, lambda: lock, lambda _name: [self.job]
        )

    async def take(self, _settings, keep):
        if isinstance(self.refuse, StoppingError):
            raise self.refuse
        await keep()
        if self.refuse:
            raise self.refuse

    async def after(self, time):
        """Return the names that are left when so much time has passed."""
        self.clock.time += time
        await self.watches.expire_once()
        return [each.name for each in await self.store.watches()]


@asynccontextmanager
async def rig(directory):
    clock = SettableClock()
    async with open_store(f"sqlite:///{directory}/state.db", clock) as store:
        made = Rig(store, clock)
        assert await made.watches.add(WATCH)
        yield made


async def test_a_wait_prolongs_its_watch(tmp_path):
    async with rig(tmp_path) as one:
        assert await one.after(DAY - SECOND) == ["w"]
        one.watches.waited("w")
        assert await one.after(DAY - SECOND) == ["w"]
        assert await one.watches.add(WATCH)
        assert await one.after(DAY - SECOND) == ["w"]
        assert await one.after(SECOND) == []


async def test_a_watch_without_an_expiry_stays(tmp_path):
    async with rig(tmp_path) as one:
        await one.watches.remove("w")
        await one.watches.add({key: WATCH[key] for key in WATCH if key != "expires"})
        one.job = ENDED
        assert await one.after(30 * DAY) == ["w"]


async def test_after_a_restart_waiters_have_time_to_return(tmp_path):
    async with rig(tmp_path) as one:
        one.clock.time += 3 * DAY
        one.begin()
        assert await one.after(HOUR - SECOND) == ["w"]
        assert await one.after(SECOND) == []


@pytest.mark.parametrize("refuse", [StoppingError(), ConfigurationError([])])
async def test_a_watch_that_cannot_be_removed_now_is_removed_later(tmp_path, refuse):
    async with rig(tmp_path) as one:
        one.job, one.refuse = ENDED, refuse
        assert await one.after(MINUTE) == ["w"]
        one.refuse = None
        assert await one.after(SECOND) == []


async def test_a_watch_of_another_version_is_left_alone(tmp_path):
    async with rig(tmp_path) as one:
        newer = {**WATCH, "name": "newer", "expires": "whenever"}
        await one.store.add_watch(model.RuntimeWatch("newer", newer, one.clock.now()))
        assert "newer" in await one.after(2 * DAY)
