"""The image as it is built and run: small, confined, honest of its health, and losing nothing."""

import os
import re
import shutil
import subprocess
import time
from collections import Counter

import pytest

import monitor
from monitor import simulator
from tests import ports
from tests.acceptance import ledger
from tests.acceptance.program import ROOT, configure, packages, until, webhook
from tests.image import image_kit

# The first test builds the image, and perhaps its base.
pytestmark = pytest.mark.timeout(900)

USER = 65532
MOST = 200_000_000
"""Bytes that the image may add to its base."""
STOP_WITHIN = 10.0
READ_ONLY = "import os; print(bool(os.statvfs('/opt').f_flag & os.ST_RDONLY))"
CHANGE = re.compile(r"\S+ -> \S+")
SETTLED = {"jobs": [{"id": "one", "service": "panorama"}, {"id": "two", "service": "panorama"}]}


@pytest.fixture(scope="module")
def image():
    return image_kit.build()


def test_the_dockerfile_is_clean():
    found = os.environ.get("TEST_HADOLINT") or shutil.which("hadolint")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("hadolint is not installed")
    done = subprocess.run([found, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_says_what_it_is_and_is_small(image):
    told = image_kit.inspected(image)
    labels = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in told["Labels"].items()
    }
    assert labels["title"] == "AWS job monitor"
    assert labels["version"] == monitor.__version__
    assert labels["licenses"] == "Apache-2.0"
    assert labels["description"]
    assert "source" in labels
    assert told["User"] == f"{USER}:{USER}"
    assert told["Config"]["Entrypoint"] == ["job-monitor"]
    assert told["Healthcheck"]["Test"] == ["CMD", "job-monitor", "health"]
    added = told["Size"] - image_kit.inspected(image_kit.BASE)["Size"]
    assert 20_000_000 < added <= MOST


async def test_the_demo_runs_in_it_without_network_rights_or_a_writable_file(image, tmp_path):
    options = (*image_kit.CONFINED, "--network=none")
    name = f"demo-{os.getpid()}"
    async with image_kit.running(
        image, "demo", directory=tmp_path, options=options, name=name
    ) as container:
        await until(lambda: CHANGE.search(container.out) or not container.alive)
        assert CHANGE.search(container.out), container.err
        assert await container.stop("TERM") == 0
    assert "webhooks sent" in container.out


async def test_a_restart_with_a_volume_repeats_and_loses_nothing(image, tmp_path):
    volume = _writable(tmp_path / "state")
    async with simulator.running(SETTLED) as sim:
        place = _configured(tmp_path, sim)
        async with _daemon(image, tmp_path, place, volume, "first") as container:
            await until(lambda: len(ledger.transitions(volume / "state.db")) == 2)
            sim.change("one", Status="SUCCEEDED")
            await until(lambda: sim.truth.received.count == 1)
            assert await container.stop("TERM") == 0
        before = _rows(volume)
        sim.change("two", Status="FAILED")
        seen = sim.truth.requests.count
        async with _daemon(image, tmp_path, place, volume, "second") as container:
            await until(lambda: sim.truth.received.count == 2)
            await until(lambda: sim.truth.requests.count > seen + 5)
            assert await container.stop("TERM") == 0
        assert sim.truth.received.count == 2
    after = _rows(volume)
    assert after[: len(before)] == before
    assert Counter(kind for _, _, kind in after) == {"job.discovered": 2, "job.state_changed": 2}
    assert sorted((key.rpartition("/")[2], number) for key, number, _ in after) == [
        ("one", 1),
        ("one", 2),
        ("two", 1),
        ("two", 2),
    ]


async def test_confined_with_256_mb_it_watches_is_healthy_and_stops_in_time(image, tmp_path):
    volume = _writable(tmp_path / "state")
    async with simulator.running(SETTLED) as sim:
        place = _configured(tmp_path, sim)
        async with _daemon(
            image, tmp_path, place, volume, "confined", *image_kit.CONFINED
        ) as container:
            await container.started()
            assert await container.execute("job-monitor", "health") == (0, "healthy\n")
            wrong = ("job-monitor", "health", "--url", "http://127.0.0.1:1")
            assert (await container.execute(*wrong))[0] == 1
            assert await _inside(container, "import os; print(os.getuid())") == str(USER)
            assert await _inside(container, READ_ONLY) == "True"
            await _limited(container)
            sim.change("one", Status="SUCCEEDED")
            await until(lambda: sim.truth.received.count == 1)
            began = time.monotonic()
            assert await container.stop("TERM") == 0
            assert time.monotonic() - began < STOP_WITHIN + 30  # podman takes its own time


async def _inside(container, code):
    status, out = await container.execute("/opt/job-monitor/bin/python", "-c", code)
    assert status == 0
    return out.strip()


async def _limited(container):
    """The limit is in force, and has not been hit."""
    read = (
        "import pathlib\n"
        "for name in ('memory/memory.limit_in_bytes', 'memory.max'):\n"
        "    path = pathlib.Path('/sys/fs/cgroup', name)\n"
        "    if path.exists(): print(path.read_text())\n"
    )
    assert await _inside(container, read) == str(256 * 1024 * 1024)


def _writable(directory):
    directory.mkdir()
    os.chown(directory, USER, USER)
    return directory


def _configured(directory, sim):
    """Write a configuration that the image's user can read; return its directory."""
    place = directory / "config"
    place.mkdir()
    listen = f"127.0.0.1:{ports.free_port()}"
    configure(
        place,
        sim,
        watches=[packages()],
        sinks={"hook": webhook(sim)},
        store="sqlite:///var/lib/job-monitor/state.db",
        server={"listen": listen},
    )
    (place / "listen").write_text(listen)
    return place


def _daemon(image, directory, place, volume, name, *more):
    listen = (place / "listen").read_text()
    options = (
        *more,
        "--network=host",
        f"--volume={place / 'monitor.yaml'}:/etc/job-monitor/monitor.yaml:ro",
        f"--volume={volume}:/var/lib/job-monitor",
        f"--env=JOB_MONITOR_SERVER__LISTEN={listen}",
        "--env=AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
        "--env=AWS_SECRET_ACCESS_KEY=example",
    )
    return image_kit.running(
        image, directory=directory, options=options, name=f"{name}-{os.getpid()}"
    )


def _rows(volume):
    """Key, sequence and kind of every transition, in the order of the commits."""
    kept = ledger.transitions(volume / "state.db")
    return [(each.key, each.sequence, each.data["kind"]) for each in kept]
