"""Shipped job types against moto: what plain SDK calls start is reported, and no history is."""

from collections import defaultdict
from signal import SIGTERM

import anyio
import orjson
import pytest

from monitor import simulator
from tests import moto_jobs, moto_kit
from tests.acceptance import on_moto
from tests.acceptance.program import PATIENCE, configure, fetch, running, until
from tests.moto_jobs import STARTS

pytestmark = pytest.mark.timeout(600)


async def swept(url, times):
    """Wait until each listing was complete so often."""
    done: dict[str, set[str]] = defaultdict(set)
    with anyio.fail_after(2 * PATIENCE):
        while len(done) < len(STARTS) or min(map(len, done.values())) < times:
            _, _, text = await fetch(f"{url}/api/v1/sources")
            for source in orjson.loads(text)["items"]:
                for each in source["listings"]:
                    assert each["last_failure"] is None, str(each)
                    if each["last_complete_at"]:
                        done[each["type"]].add(each["last_complete_at"])
            await anyio.sleep(0.2)


@pytest.fixture
def moto_alone(tmp_path):
    """A moto of its own: what other tests start must not be found."""
    with moto_kit.serving(tmp_path / "moto.log") as url:
        moto_jobs.configure(url, batch={"use_docker": False})
        yield url


async def test_jobs_of_many_services_are_reported_and_their_history_is_not(moto_alone, tmp_path):
    jobs = moto_jobs.Jobs(moto_kit.Aws(moto_alone))
    jobs.prepare()
    history = {kind: await anyio.to_thread.run_sync(jobs.start, kind) for kind in STARTS}

    async with simulator.running() as sim:
        config = configure(
            tmp_path,
            sim,
            **on_moto.following(moto_alone, STARTS, 1.0),
            routes=on_moto.DISCOVERED,
        )
        async with running("run", "--config", config, directory=tmp_path) as daemon:
            url = await daemon.started()
            await swept(url, 2)
            # Two at once of each: some of them end before the next sweep.
            started = {
                kind: [await anyio.to_thread.run_sync(jobs.start, kind) for _ in range(2)]
                for kind in STARTS
            }

            def reported():
                found = defaultdict(list)
                for received in sim.truth.received:
                    event = orjson.loads(received.body)
                    found[event["data"]["job"]["type"], event["subject"]].append(event["data"])
                return found

            wanted = {(kind, one) for kind, ids in started.items() for one in ids}
            try:
                await until(lambda: wanted <= reported().keys())
            except TimeoutError:
                pytest.fail(f"not reported: {sorted(wanted - reported().keys())}")
            await swept(url, 3)
            assert (await daemon.stop(SIGTERM))[0] == 0
    found = reported()
    for each in wanted:
        kinds = [data["kind"] for data in found[each]]
        assert kinds.count("job.discovered") == 1, (each, kinds)
        sequence = [data["sequence"] for data in found[each]]
        assert sequence == sorted(set(sequence)), (each, sequence)
    for kind, old in history.items():
        kinds = [data["kind"] for data in found[kind, old]]
        assert "job.discovered" not in kinds, (kind, kinds)
    assert len(on_moto.services(STARTS)) >= 12
    # Some of them were only ever seen at their end.
    ends = [data for all_ in found.values() for data in all_ if data["kind"] == "job.discovered"]
    assert sum(data["current"]["phase"] == "succeeded" for data in ends) >= 6
