"""Waiting for a job through a daemon, in virtual time."""

from random import Random
from typing import Any

import anyio
import pytest

from monitor.errors import ConfigurationError, DaemonError, Problem
from monitor.tools import wait as waiting
from monitor.tools.wait import Outcome, Progress
from monitor.tools.wait_on_daemon import LONG_POLL, DaemonGetter, JobSelector
from monitor.web.api.job_schemas import JobView
from tests.builders import VIRTUAL, VirtualClock

pytestmark = VIRTUAL
TYPE = "panorama.package-import"
DOWN = DaemonError("http://monitor is unreachable: connection refused", passing=True)
TOLD: dict[str, Any] = {
    "type": TYPE,
    "account": "prod",
    "region": "us-east-1",
    "id": "j-1",
    "watch": "w",
    "labels": {},
    "state": "RUNNING",
    "phase": "running",
    "severity": "info",
    "reason": None,
    "fields": {},
    "sequence": 1,
    "interval": 30.0,
    "failing": None,
    "stuck": False,
    "missing": False,
    "ending": "open",
    "finished": False,
    "blind": False,
    **dict.fromkeys(("first_seen_at", "changed_at", "updated_at", "ended_at")),
    **dict.fromkeys(("last_look_at", "next_look_at")),
}
NOT_SEEN: dict[str, Any] = {"state": None, "phase": "unknown", "sequence": 0}
MISSING_REGION = Problem("", "regions", "is missing", "add regions: [us-east-1]")
WATCH = {"name": "w", "type": TYPE, "account": "prod", "regions": ["us-east-1"]}


def told(**changes):
    values = {**TOLD, **changes}
    key = "/".join(values[name] for name in ("type", "account", "region", "id"))
    return JobView.model_validate({**values, "key": key})


def refusal(status, *problems):
    text = f"http://monitor answers with status {status}"
    return DaemonError(text, status=status, problems=problems)


class Daemon:
    """Stands in for a client: ``known`` are its jobs, ``trouble`` is raised while it is set.

    It watches what it is asked to, unless ``refuse`` returns an error for that.
    """

    url = "http://monitor"

    def __init__(self, *known, watches=()):
        self.known = {job.key: job for job in known}
        self.all = list(watches)
        self.trouble = None
        self.begun = True
        self.remembers = True
        self.stops = False
        self.changed = anyio.Event()
        self.questions = []
        self.added = []
        self.refuse: Any = lambda _watch: None

    def change(self, **changes):
        job = told(**changes)
        self.known[job.key] = job
        self.changed.set()
        self.changed = anyio.Event()

    def _asked(self, what):
        self.questions.append((what, anyio.current_time()))
        if self.trouble:
            raise self.trouble

    async def jobs(self, asked, most):
        self._asked("jobs")
        followed = [job for job in self.known.values() if job.watch]
        return followed, len(followed)

    async def job(self, key):
        self._asked("job")
        return self.known.get(key)

    async def wait(self, key, after, seconds):
        self._asked("wait")
        if key in self.known and self.known[key].sequence <= after and not self.stops:
            with anyio.move_on_after(seconds):
                await self.changed.wait()
        if self.trouble:
            raise self.trouble
        return self.known.get(key)

    async def watches(self):
        self._asked("watches")
        return self.all

    async def has_begun(self):
        self._asked("status")
        return self.begun

    async def add_watch(self, watch):
        self._asked("add")
        if error := self.refuse(watch):
            raise error
        self.added.append(watch)
        (job_id,) = watch["jobs"]
        place = {"account": watch["account"], "region": "".join(watch["regions"]) or "us-east-1"}
        self.change(id=job_id, watch=watch["name"], **place, **NOT_SEEN)


async def wait(daemon, longest=None, account=None, region=None, own_region=None):
    shown: list[Progress] = []
    wanted = JobSelector(TYPE, account, region, "j-1")
    eye = DaemonGetter(daemon, wanted, VirtualClock(), Random(1), lambda: own_region)
    return await waiting.wait(eye, str(wanted), longest, shown.append), shown


async def after(seconds, do):
    await anyio.sleep(seconds)
    do()


async def during(daemon, *acts, **options):
    """Wait while each of ``acts`` is done at its time."""
    async with anyio.create_task_group() as tasks:
        for seconds, do in acts:
            tasks.start_soon(after, seconds, do)
        found = await wait(daemon, **options)
        tasks.cancel_scope.cancel()
    return found


async def test_each_change_is_told_and_the_end_ends_it():
    daemon = Daemon(told())
    result, shown = await during(
        daemon,
        (100, lambda: daemon.change(state="HALF", sequence=2)),
        (200, lambda: daemon.change(state="SUCCEEDED", phase="succeeded", sequence=3)),
    )
    assert result.outcome is Outcome.SUCCEEDED
    assert anyio.current_time() == 200
    assert list(dict.fromkeys(each.state for each in shown)) == ["RUNNING", "HALF", "SUCCEEDED"]
    assert [moment for _, moment in daemon.questions] == [0, 0, LONG_POLL, 100, 100 + LONG_POLL]


async def test_a_job_that_has_ended_already_takes_one_question():
    daemon = Daemon(told(state="FAILED", phase="failed"))
    result, _ = await wait(daemon)
    assert result.outcome is Outcome.FAILED
    assert len(daemon.questions) == 1


async def test_the_timeout_is_kept():
    result, _ = await wait(Daemon(told()), longest=70)
    assert result.outcome is Outcome.TIMEOUT
    assert anyio.current_time() == pytest.approx(70, abs=0.1)


async def test_a_restart_is_survived():
    daemon = Daemon(told())
    result, shown = await during(
        daemon,
        (10, lambda: setattr(daemon, "trouble", DOWN)),
        (300, lambda: setattr(daemon, "trouble", None)),
        (350, lambda: daemon.change(state="SUCCEEDED", phase="succeeded", sequence=2)),
    )
    assert result.outcome is Outcome.SUCCEEDED
    assert str(DOWN) in [each.trouble for each in shown]
    assert anyio.current_time() == 350
    assert len(daemon.questions) < 100


async def test_a_daemon_that_is_never_there_is_given_up():
    daemon = Daemon(told())
    daemon.trouble = DOWN
    result, _ = await wait(daemon)
    assert (result.outcome, result.why) == (Outcome.UNREACHABLE, str(DOWN))
    assert anyio.current_time() == waiting.PATIENCE


async def test_a_refusal_ends_it_at_once():
    daemon = Daemon(told())
    daemon.trouble = DaemonError("http://monitor answers with status 401: no", status=401)
    result, _ = await wait(daemon, longest=3600)
    assert (result.outcome, result.why) == (Outcome.UNREACHABLE, str(daemon.trouble))
    assert anyio.current_time() == 0


async def test_a_daemon_that_stops_is_not_asked_without_pause():
    daemon = Daemon(told())
    daemon.stops = True
    await wait(daemon, longest=20)
    assert len(daemon.questions) < 25


async def test_a_job_of_no_watch_gets_one_that_expires():
    daemon = Daemon(told(id="j-2"), watches=[WATCH])
    result, _ = await during(
        daemon,
        (50, lambda: daemon.change(account="default", state="DONE", phase="succeeded")),
    )
    assert (result.outcome, anyio.current_time()) == (Outcome.SUCCEEDED, 50)
    (watch,) = daemon.added
    assert (watch["account"], watch["regions"], watch["jobs"]) == ("default", [], ["j-1"])
    assert watch["expires"] == "final"


async def test_two_waiters_ask_for_the_same_watch_and_another_place_is_another():
    daemon = Daemon()
    for region in ("us-east-1", "us-east-1", "eu-west-1"):
        daemon.known.clear()
        await wait(daemon, 1, region=region)
    first, second, third = daemon.added
    assert first == second
    assert first["name"] != third["name"]


async def test_the_region_is_asked_for_only_where_the_daemon_needs_one():
    daemon = Daemon()
    daemon.refuse = lambda watch: None if watch["regions"] else refusal(422, MISSING_REGION)
    await wait(daemon, 1, own_region="eu-west-1")
    assert [watch["regions"] for watch in daemon.added] == [["eu-west-1"]]
    daemon.known.clear()
    with pytest.raises(ConfigurationError, match=r"--region: .* exist in several regions"):
        await wait(daemon, 1)


@pytest.mark.parametrize(
    ("key", "argument"),
    [("type", "TYPE"), ("account", "--account"), ("regions[0]", "--region"), ("jobs[0]", "ID")],
)
async def test_what_cannot_be_watched_is_a_mistake_of_the_command_line(key, argument):
    daemon = Daemon()
    daemon.refuse = lambda _watch: refusal(422, Problem("", key, "is wrong", "right it"))
    with pytest.raises(ConfigurationError) as raised:
        await wait(daemon)
    assert str(raised.value) == f"{argument}: is wrong (right it)"


async def test_but_not_if_somebody_else_has_had_it_watched_meanwhile():
    daemon = Daemon()

    def taken(_watch):
        daemon.change(state="DONE", phase="succeeded")
        return refusal(422, Problem("", "jobs[0]", "is watched by watches[0] too", "keep one"))

    daemon.refuse = taken
    result, _ = await wait(daemon, account="prod", region="us-east-1")
    assert result.outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    "error",
    [
        refusal(401),
        refusal(403),
        refusal(409),
        refusal(422, Problem("", "", "1000 watches have been added already", "remove one")),
        refusal(422, Problem("", "expires", "unknown key", "")),
    ],
    ids=["no credentials", "forbidden", "taken", "full", "older"],
)
async def test_where_no_watch_can_be_added_it_ends_at_once(error):
    daemon = Daemon(watches=[WATCH])
    daemon.refuse = lambda _watch: error
    result, _ = await wait(daemon, longest=3600)
    assert (result.outcome, anyio.current_time()) == (Outcome.UNREACHABLE, 0)
    said = ": ".join(map(str, (error, *error.problems)))
    assert result.why == f"no watch follows it, and none can be added: {said}"


async def test_a_daemon_that_is_too_busy_to_add_a_watch_is_asked_again():
    daemon = Daemon()
    errors = iter([DOWN, DOWN])
    daemon.refuse = lambda _watch: next(errors, None)
    result, _ = await wait(daemon, longest=60)
    assert (result.progress.name, len(daemon.added)) == (f"{TYPE}/default/us-east-1/j-1", 1)


@pytest.mark.parametrize(
    "change", [{"type": "importexport.job"}, {"account": "x"}, {"regions": ["eu-west-1"]}]
)
async def test_only_a_watch_that_would_discover_the_job_gives_hope(change):
    daemon = Daemon(watches=[{**WATCH, "discover": True, **change}])
    await wait(daemon, 10, "prod", "us-east-1")
    assert len(daemon.added) == 1


async def test_a_job_that_is_yet_to_be_discovered_is_waited_for():
    daemon = Daemon(watches=[{**WATCH, "discover": {"include": ["j-*"]}}])
    result, _ = await during(
        daemon, (40, lambda: daemon.change(state="SUCCEEDED", phase="succeeded"))
    )
    assert result.outcome is Outcome.SUCCEEDED


async def test_but_not_for_ever():
    daemon = Daemon(watches=[{**WATCH, "discover": True}])
    result, _ = await wait(daemon, longest=86400)
    assert "has not discovered it" in result.why
    assert anyio.current_time() == pytest.approx(waiting.PATIENCE, abs=10)


@pytest.mark.parametrize("known", [[], [told(watch=None)]], ids=["nothing", "the store's"])
async def test_while_a_daemon_starts_it_need_not_know_its_jobs(known):
    daemon = Daemon(*known)
    daemon.begun = False

    def begin():
        daemon.begun = True
        daemon.change(state="SUCCEEDED", phase="succeeded")

    result, shown = await during(daemon, (20, begin), account="prod", region="us-east-1")
    assert result.outcome is Outcome.SUCCEEDED
    assert "http://monitor is still starting" in [each.trouble for each in shown]


async def test_a_daemon_may_begin_to_follow_its_jobs_between_two_questions():
    class Beginning(Daemon):
        async def has_begun(self):
            self.change(state="SUCCEEDED", phase="succeeded")
            return await super().has_begun()

    result, _ = await wait(Beginning(), longest=3600)
    assert result.outcome is Outcome.SUCCEEDED


async def test_a_job_that_is_watched_no_more_gets_a_watch_again():
    daemon = Daemon(told())
    result, _ = await during(
        daemon,
        (10, lambda: daemon.change(watch=None, sequence=2)),
        (20, lambda: daemon.change(state="DONE", phase="succeeded", sequence=3)),
    )
    assert (result.outcome, anyio.current_time()) == (Outcome.SUCCEEDED, 20)
    assert [(each["account"], each["regions"]) for each in daemon.added] == [
        ("prod", ["us-east-1"])
    ]


async def test_of_a_job_that_is_watched_no_more_the_end_is_known():
    daemon = Daemon(told(watch=None, state="SUCCEEDED", phase="succeeded"))
    result, _ = await wait(daemon, account="prod", region="us-east-1")
    assert result.outcome is Outcome.SUCCEEDED


async def test_one_id_in_two_places_has_to_be_told_apart():
    daemon = Daemon(told(), told(region="eu-west-1", phase="succeeded"))
    with pytest.raises(ConfigurationError) as raised:
        await wait(daemon)
    assert "several jobs have this id" in str(raised.value)
    result, _ = await wait(daemon, region="eu-west-1")
    assert result.outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("failing", "lasts"), [("auth", 0), ("config", 0), ("missing", 30), ("unavailable", 30)]
)
async def test_what_the_daemon_itself_cannot_see_is_not_waited_for(failing, lasts):
    unseen = {"state": None, "phase": "unknown", "sequence": 0, "failing": failing}
    result, _ = await wait(Daemon(told(**unseen)), longest=3600)
    assert (result.outcome, result.why) == (
        Outcome.UNREACHABLE,
        f"the daemon cannot poll it: {failing}",
    )
    assert anyio.current_time() == pytest.approx(lasts, abs=6)


async def test_what_passes_for_the_daemon_is_waited_for():
    daemon = Daemon(told(state=None, phase="unknown", sequence=0, failing="throttle"))
    result, shown = await during(
        daemon, (100, lambda: daemon.change(state="SUCCEEDED", phase="succeeded", sequence=1))
    )
    assert result.outcome is Outcome.SUCCEEDED
    assert shown[0].trouble == "the daemon cannot poll it: throttle"


async def test_a_job_that_has_vanished_at_aws_is_not_waited_for():
    daemon = Daemon(told())
    result, _ = await during(daemon, (10, lambda: daemon.change(missing=True, sequence=2)))
    assert (result.outcome, result.progress.state) == (Outcome.UNREACHABLE, "RUNNING")


async def test_a_phase_of_a_newer_daemon_is_no_end():
    result, _ = await wait(Daemon(told(phase="pondering")), longest=5)
    assert result.outcome is Outcome.TIMEOUT
