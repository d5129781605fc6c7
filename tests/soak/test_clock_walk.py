"""The wall clock is set again and again, at random, in the run and between runs."""

from random import Random

import anyio
import pytest

from monitor.pacing import LAST_RETRY
from tests.builders import VIRTUAL, ScriptedSink, running
from tests.unit.delivery.test_dispatcher import DOWN, HOUR, about, delivering, failing
from tests.unit.runtime.test_clock_steps import STEPS, until

pytestmark = [VIRTUAL, pytest.mark.soak, pytest.mark.timeout(600)]

JOBS = [f"j-{number}" for number in range(4)]
STATES = ["PENDING", "RUNNING", "FAILED"]


@pytest.mark.parametrize("seed", range(60))
async def test_everything_arrives_in_order_however_the_clock_walks(tmp_path, seed):
    random, arrived, states = Random(seed), [], dict.fromkeys(JOBS, 0)
    steps = 0
    for _ in range(random.randint(2, 4)):
        async with delivering(tmp_path, jump=random.choice([0.0, *STEPS])) as d:
            sink = ScriptedSink()
            for known in await d.store.snapshots():
                d.recorder.adopt(known)
            async with running(d.dispatcher(sink)):
                for _ in range(random.randint(2, 5)):
                    d.clock.jump, steps = random.choice([0.0, *STEPS]), steps + 1
                    sink.behave = failing(DOWN, random.choice([None, "nobody", *JOBS]))
                    job = random.choice(JOBS)
                    if states[job] < len(STATES):
                        await d.change(job, STATES[states[job]])
                        states[job] += 1
                    await anyio.sleep(random.uniform(1, HOUR / 2))
            arrived += sink.taken
    async with delivering(tmp_path) as d:
        sink = ScriptedSink()
        async with running(d.dispatcher(sink)):
            wanted = sum(states.values())
            await until(lambda: len(arrived) + len(sink.taken) >= wanted, within=LAST_RETRY)
        assert set(await d.statuses()) == {"delivered"}
    assert steps >= 4
    for job, many in states.items():
        mine = [about(each)[1] for each in (*arrived, *sink.taken) if each["subject"] == job]
        assert mine == STATES[:many]
