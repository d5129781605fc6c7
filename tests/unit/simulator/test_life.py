import asyncio

import pytest

from monitor.simulator.arrivals import Arrivals
from monitor.simulator.clock import Clock
from monitor.simulator.job_specs import JobSpec
from monitor.simulator.scenario import Generate, Repeat
from monitor.simulator.scripts import Scripts
from monitor.simulator.truth import Log, Truth
from monitor.simulator.world import World

pytestmark = [pytest.mark.looptime]


class Stage:
    def __init__(self, speed=1.0, keep=None):
        self.clock = Clock(speed, wall=lambda: 1_000_000.0)
        self.log = Log()
        self.world = World(self.clock, self.log, keep=keep)
        self.scripts = Scripts(self.clock, self.world)
        self.arrivals = Arrivals(self.clock, self.scripts)

    def times(self, job):
        return [(r.time - 1_000_000, r.state) for r in self.log if r.job == job]


def package(**fields):
    return JobSpec.model_validate({"id": "p", "service": "panorama", **fields})


def disk(**fields):
    return JobSpec.model_validate({"id": "D", "service": "importexport", **fields})


SUCCEED = {"after": "5s", "set": {"Status": "SUCCEEDED"}}


async def test_steps_are_taken_at_their_times_without_anybody_looking():
    stage = Stage()
    stage.scripts.begin(
        disk(
            starts="2s",
            steps=[
                {"after": "5s", "set": {"LocationCode": "AtAWS"}},
                {"after": "500ms", "set": {"ProgressCode": "InProgress"}},
            ],
        )
    )
    await asyncio.sleep(20)
    assert stage.times("D") == [
        (pytest.approx(2.0), "NotReceived/Pending"),
        (pytest.approx(7.0), "AtAWS/Pending"),
        (pytest.approx(7.5), "AtAWS/InProgress"),
    ]
    assert [r.number for r in stage.log] == [1, 2, 3]


async def test_speed_multiplies_time():
    stage = Stage(speed=10)
    stage.scripts.begin(package(steps=[SUCCEED]))
    await asyncio.sleep(1)
    assert stage.times("p") == [(0.0, "PENDING"), (pytest.approx(0.5), "SUCCEEDED")]


async def test_the_update_time_moves_with_each_change():
    stage = Stage()
    stage.scripts.begin(package(steps=[{"set": {"Status": "FAILED"}}, {"set": {}}, {"set": {}}]))
    await asyncio.sleep(1)
    times = [r.members["LastUpdatedTime"] for r in stage.log]
    assert times == sorted(set(times))
    assert len(times) == 4


async def test_a_job_vanishes_and_reappears_in_the_state_it_has_then():
    stage = Stage()
    steps = [{"vanish": True}, {"after": 1, "set": {"Status": "FAILED"}}, {"reappear": True}]
    stage.scripts.begin(package(steps=steps))
    await asyncio.sleep(5)
    told = [(r.state, r.missing) for r in stage.log]
    assert told == [("PENDING", False), ("PENDING", True), ("FAILED", True), ("FAILED", False)]


async def test_an_ending_by_error_can_be_taken_back():
    stage = Stage()
    stage.scripts.begin(disk(steps=[{"error": "expired"}, {"set": {}}, {"error": None}]))
    await asyncio.sleep(1)
    assert [r.error for r in stage.log] == [None, "expired", "expired", None]


async def test_null_removes_a_member():
    stage = Stage()
    stage.scripts.begin(package(members={"JobTags": None}, steps=[{"set": {"Output": None}}]))
    await asyncio.sleep(1)
    (job,) = stage.world
    assert "JobTags" not in job.state.members
    assert "Output" not in job.state.members


async def test_the_truth_leaves_out_bulky_members_unless_they_change():
    stage = Stage()
    stage.scripts.begin(disk(steps=[{"set": {"CurrentManifest": "new"}}]))
    await asyncio.sleep(1)
    first, second = stage.log
    assert "CurrentManifest" not in first.members
    assert second.members["CurrentManifest"] == "new"


async def test_the_state_of_an_earlier_moment_is_known():
    stage = Stage()
    stage.scripts.begin(package(starts="2s", steps=[SUCCEED]))
    await asyncio.sleep(10)
    (job,) = stage.world
    states = [job.state_at(1_000_000 + moment) for moment in (1, 2, 6.9, 7, 10)]
    assert [state and state.number for state in states] == [None, 1, 1, 2, 2]


async def test_finished_jobs_are_forgotten_where_asked():
    stage = Stage()
    stage.scripts.begin(package(steps=[SUCCEED]), forget_after=10)
    await asyncio.sleep(14)
    assert len(stage.world) == 1
    await asyncio.sleep(2)
    assert len(stage.world) == 0
    assert [(r.state, r.missing) for r in stage.log][-1] == ("SUCCEEDED", True)
    stage.scripts.begin(package())
    assert len(stage.world) == 1


async def test_two_jobs_of_one_name_are_refused_also_before_they_start():
    stage = Stage()
    stage.scripts.begin(package(starts="5s"))
    with pytest.raises(ValueError, match="to come"):
        stage.scripts.begin(package())
    await asyncio.sleep(6)
    with pytest.raises(ValueError, match="there is a job 'p' of panorama in us-east-1"):
        stage.scripts.begin(package())


async def test_nothing_happens_after_stopping():
    stage = Stage()
    stage.scripts.begin(package(steps=[SUCCEED]))
    stage.arrivals.generate(Generate(service="panorama", every=1), seed=0)
    stage.arrivals.stop()
    stage.scripts.stop()
    await asyncio.sleep(30)
    assert len(stage.log) == 1


async def test_generated_jobs_come_at_once_and_then_one_by_one_up_to_a_maximum():
    stage = Stage()
    plan = Generate(service="panorama", profile="stuck", count=2, every=3, max=4)
    stage.arrivals.generate(plan, seed=0)
    seen = []
    for _ in range(5):
        await asyncio.sleep(2)
        seen.append([job.id for job in stage.world])
    assert [len(ids) for ids in seen] == [2, 3, 4, 4, 4]
    assert seen[-1] == ["pkg-0001", "pkg-0002", "pkg-0003", "pkg-0004"]


async def test_generated_jobs_are_the_same_for_the_same_seed():
    lives = []
    for _ in range(2):
        stage = Stage()
        plan = Generate(service="importexport", count=20, pace=5)
        stage.arrivals.generate(plan, seed=3)
        await asyncio.sleep(60)
        lives.append([(r.job, r.state) for r in stage.log])
        stage.scripts.stop()
    assert lives[0] == lives[1]


async def test_scripted_jobs_come_again_in_rounds():
    stage = Stage()
    spec = package(steps=[SUCCEED])
    stage.scripts.begin(spec)
    stage.arrivals.repeat(Repeat(every=60, times=3), [spec])
    await asyncio.sleep(300)
    assert [job.id for job in stage.world] == ["p", "p-2", "p-3"]
    assert stage.times("p-3") == [
        (pytest.approx(120), "PENDING"),
        (pytest.approx(125), "SUCCEEDED"),
    ]


async def test_arrivals_for_ever_stay_within_bounds_where_asked():
    stage = Stage(keep=3)
    plan = Generate(service="panorama", profile="success", every=1, pace=2, forget_after=10)
    stage.arrivals.generate(plan, seed=0)
    await asyncio.sleep(500)
    assert 10 < len(stage.world) < 16
    assert stage.log.count > 1000
    stage.arrivals.stop()
    stage.scripts.stop()


async def test_newest_jobs_come_first_by_their_claimed_age():
    stage = Stage()
    for job_id, age in (("old", "3d"), ("new", 0), ("older", "5d"), ("newer", 0)):
        stage.scripts.begin(package(id=job_id, age=age))
    found = [job.id for job in stage.world.newest_first("panorama", "us-east-1")]
    assert found == ["newer", "new", "old", "older"]


async def test_the_log_keeps_the_newest_and_goes_on_counting(tmp_path):
    truth = Truth(keep=2, directory=tmp_path)
    world = World(Clock(), truth.states)
    for number in range(5):
        world.add(package(id=f"p{number}"))
    assert [(line, r.job) for line, r in truth.states.after(0)] == [(4, "p3"), (5, "p4")]
    assert truth.states.after(4)[0][1].job == "p4"
    assert len((tmp_path / "truth.jsonl").read_text().splitlines()) == 5
    truth.close()


async def test_waiting_for_a_record_ends_with_the_first_that_is_wanted():
    stage = Stage()
    stage.scripts.begin(package(steps=[SUCCEED]))
    async with asyncio.timeout(60):
        record = await stage.log.wait_for(lambda r: r.state == "SUCCEEDED")
    assert record.number == 2
