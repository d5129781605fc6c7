"""A store that cannot be trusted any more ends the daemon; what AWS shows later makes up for it."""

import resource
from signal import SIGTERM

import pytest

from monitor import simulator
from tests.acceptance import ledger
from tests.acceptance.program import SECRET, configure, running, until

pytestmark = pytest.mark.timeout(600)

SCENARIO = {
    "jobs": [{"id": "pkg", "service": "panorama"}, {"id": "EX1", "service": "importexport"}],
    "receivers": {"hook": {"secrets": [SECRET]}},
}


async def _until_known(store):
    await until(lambda: len(ledger.transitions(store)) == 2)


async def test_a_full_disk_ends_it_and_nothing_is_lost(tmp_path):
    store = tmp_path / "state.db"
    async with simulator.running(SCENARIO) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            await program.started()
            await _until_known(store)
            # No file of the process may grow beyond this any more.
            resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
            sim.change("pkg", Status="SUCCEEDED")
            assert await program.ended() == 74
        assert program.err.splitlines()[-1].startswith(f"error: store {store}: ")
        assert "Traceback" not in program.err
        assert sim.truth.received.count == 0
        async with running("run", "-c", config, directory=tmp_path) as program:
            await until(lambda: ledger.statuses(store) == ["delivered"])
            assert (await program.stop(SIGTERM))[0] == 0
        assert sim.truth.received.count == 1


async def test_a_store_that_is_taken_away_ends_it(tmp_path):
    store = tmp_path / "state.db"
    async with simulator.running(SCENARIO) as sim:
        config = configure(tmp_path, sim)
        async with running("run", "-c", config, directory=tmp_path) as program:
            await program.started()
            await _until_known(store)
            store.rename(tmp_path / "elsewhere.db")
            sim.change("pkg", Status="SUCCEEDED")
            assert await program.ended() == 74
        assert "removed or replaced" in program.err.splitlines()[-1]
        assert sim.truth.received.count == 0
