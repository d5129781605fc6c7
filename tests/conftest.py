"""What every test needs."""

import asyncio
import faulthandler
import gc
import itertools
import os
import signal
import sys
import tempfile
import threading
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from monitor import events, simulator
from tests import forks, made, moto_kit, once
from tests.contracts import postgresql_kit
from tests.contracts.sink_kit import check_received

# How fast examples are made and run is the machine's, which other tests use as well. A test that
# names health checks of its own replaces these. What fixtures give lasts for all examples.
settings.register_profile(
    "unhurried",
    settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("unhurried")

GRACE = float(os.environ.get("TEST_GRACE", "60"))
"""For how many seconds a test may go on after its timeout."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """End the process of a test that outlives its timeout: the run would never end.

    The timeout raises in whatever runs then: a task of asyncio keeps the exception to itself,
    and a fixture may wait without end after it.
    """
    marker = item.get_closest_marker("timeout")
    seconds = marker.args[0] if marker else float(item.config.getini("timeout"))
    last_resort = threading.Timer(seconds + GRACE, end_process, (item,))
    last_resort.daemon = True
    last_resort.start()
    try:
        return (yield)
    finally:
        last_resort.cancel()


def end_process(item):
    """End this process, and say where each of its threads was."""
    item.config.pluginmanager.getplugin("capturemanager").suspend_global_capture()
    sys.stderr.write(f"{item.nodeid} has outlived its timeout by {GRACE:g} s\n")
    sys.stderr.flush()
    faulthandler.dump_traceback(sys.stderr)
    os._exit(1)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_ends_programs():
    """Let processes be ended by SIGINT, where the shell ignores it for what runs in background.

    They have that from this process, which can be ended by it as well from now on.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def no_stray_event_loop():
    """Say that there is no loop yet: asked for one by a plug-in, asyncio would make and leak it."""
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session", autouse=True)
def one_fork_server(tmp_path_factory):
    """Let all processes that run tests share the one that forks the program."""
    forks.share(once.place(tmp_path_factory) / "forks")


@pytest.fixture(scope="session")
def where_events_are_kept():
    """A directory for the events of processes, empty before each test."""
    with tempfile.TemporaryDirectory(prefix="made-events-") as directory:
        Path(directory).chmod(0o777)  # some processes run as somebody else
        yield directory


@pytest.fixture(autouse=True)
def made_events(monkeypatch, where_events_are_kept):
    """Check every event that the test made, here or in its processes, when it is over."""
    kept = made.MadeEvents(Path(where_events_are_kept))
    monkeypatch.setattr(events, "cloud_event", kept.keeping(events.cloud_event))
    monkeypatch.setenv(made.KEPT, where_events_are_kept)
    monkeypatch.setenv("PYTHONPATH", made.search_path())
    yield kept
    try:
        kept.check()
    finally:
        kept.forget()


@pytest.fixture(autouse=True)
def received_events(monkeypatch):
    """Check what the receivers of all simulators got, when the test is over."""
    logs = []
    running = simulator.running

    @asynccontextmanager
    async def noted(*args, **settings):
        async with running(*args, **settings) as sim:
            logs.append(sim.truth.received)
            yield sim

    monkeypatch.setattr(simulator, "running", noted)
    yield
    for received in logs:
        check_received(received)


@pytest.fixture(scope="session")
def moto(tmp_path_factory):
    """The URL of a real moto server."""
    with moto_kit.serving(tmp_path_factory.mktemp("moto") / "log") as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_cluster(tmp_path_factory):
    """The directory of a cluster without databases of ours, for servers to start as a copy of."""
    return once.made(tmp_path_factory, "postgresql", postgresql_kit.make_cluster)


@pytest.fixture(scope="session")
def postgresql_server(postgresql_cluster):
    """A server for all tests that need only a database."""
    # It would look at each of the many databases every minute, after the test of it too.
    options = "-c fsync=off -c autovacuum=off"
    with postgresql_kit.server(options, cluster=postgresql_cluster) as made:
        yield made


@pytest.fixture(scope="session")
def postgresql_names():
    """Names of databases, each of which is used once."""
    return (f"store_{number}" for number in itertools.count())


LONGEST = (
    "tests/cases/",
    "tests/acceptance/test_daemon_killed.py",
    "tests/docs/test_guide.py",
    "tests/deploy/test_systemd.py",
    "tests/deploy/test_compose.py",
    "tests/release/",
    "tests/image/",
    "tests/docs/test_containers.py",
    "tests/acceptance/test_daemon_truth.py",
    "tests/acceptance/test_daemon_outbox.py",
    "tests/deploy/test_demo_seen.py",
    "tests/integration/test_cli_plan.py",
    "tests/acceptance/test_daemon_parents.py",
    "tests/integration/test_shared_waits.py",
    "tests/docs/test_tutorial.py",
    "tests/soak/",
    "tests/acceptance/",
    "tests/unit/delivery/test_dispatcher",
    "tests/integration/test_secrets_canaries.py",
    "tests/integration/test_web_schemathesis.py",
    "tests/integration/test_outbox_day.py",
    "tests/docs/",
    "tests/simulation/",
    "tests/integration/test_webhook_deliveries.py",
    "tests/golden/",
    "tests/deploy/",
    "tests/browser/",
)
"""Where the long tests are, the longest first."""


def pytest_collection():
    """Look for no garbage meanwhile: nearly all that is made stays."""
    gc.disable()


def pytest_collection_finish():
    """Leave out, of each later search for garbage, what the collection has made."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items):
    """Start the longest tests first: one that starts last would keep all other workers waiting."""

    @cache
    def place(file):
        found = (place for place, prefix in enumerate(LONGEST) if file.startswith(prefix))
        return next(found, len(LONGEST))

    items.sort(key=lambda item: place(item.nodeid.partition("::")[0]))
