"""Jobs that are listed for each parent: clusters and the like that come and go."""

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from random import Random

import anyio
import pytest

from monitor.config import Watch
from monitor.errors import PollError, PollReason
from monitor.model import Page
from monitor.polling.watch import JobOwnership, WatchTarget
from tests.builders import TYPE, VIRTUAL, Answer, FakeListing, FakeType, at, running, until
from tests.polling import polling, run_for

pytestmark = VIRTUAL
CLUSTERS = FakeType(
    parent="cluster", parent_operation="ListClusters", listed="ListTasks of {cluster}"
)
ENDED = {"SUCCEEDED", "FAILED"}
GONE = PollError(PollReason.MISSING, "ClusterNotFound")
UNREACHABLE = PollError(PollReason.UNAVAILABLE, "EndpointConnectionError")
PLACE = {"type": TYPE.name, "account": "prod", "region": "us-east-1"}


def watch_parents(b, *discover, **more):
    """Begin a watch for each ``of`` in ``discover``, as a start or a reload would."""
    wanted = [
        Watch.model_validate(
            {"name": f"w{number}", "type": TYPE.name, "account": "prod", "regions": ["us-east-1"]}
            | {"discover": {"of": of}, "labels": {"watch": f"w{number}"}}
            | more
        )
        for number, of in enumerate(discover)
    ]
    targets = [
        # The owners are there by the time that a job is.
        WatchTarget(watch, "us-east-1", 30.0, b.source, b.poller, lambda *of: owners.of(*of))  # noqa: PLW0108
        for watch in wanted
    ]

    def parent_of(one):
        known = b.recorder.snapshot(one)
        return known.parent if known else None

    owners = JobOwnership(targets, parent_of)
    b.recorder.baselines.want(owners.discoveries(), owners.name)
    for known in b.recorder.snapshots():
        owner = owners.of(known.job)
        if owner:
            owner.follow(known.job)
    for target in targets:
        target.begin()
    return targets


@asynccontextmanager
async def clusters(tmp_path, **settings):
    async with polling(tmp_path, **{"job_type": CLUSTERS} | settings) as b:
        yield b


@asynccontextmanager
async def followed(tmp_path, *parents, **answers):
    """Follow all of ``parents``, and go on once their first sweeps are over."""
    async with clusters(tmp_path) as b:
        b.source.parent_names, b.source.answers = list(parents), answers
        watch_parents(b, "all")
        async with running(b.poller):
            await anyio.sleep(45)
            assert followed_parents(b) == set(parents)
            yield b


def followed_parents(b):
    """Return the parents whose listings are swept."""
    found = {each.request.parent for each in b.poller.schedule.listings()}
    assert None in found, "the listing of the parents is swept as well"
    return found - {None}


async def sent(b):
    """Return the ids of the jobs, and the kinds, of what goes to the sink."""
    found = await b.store.deliveries(limit=10_000)
    of_jobs = [each for each in found if each.kind.startswith("job.")]
    name = f"{TYPE.name}/prod/us-east-1/"
    return Counter((each.key.removeprefix(name), each.kind) for each in of_jobs)


async def baseline(b):
    rows = await b.store.transitions(limit=10_000)
    return {event["subject"] for _, event in rows if event["data"]["baseline"]}


def last_job_of(b, parent):
    """Let a job of a parent end, and the parent go with it; return when."""
    b.source.answers[f"{parent}/1"] = Answer("FAILED", created_at=b.clock.now())
    b.source.parent_names.remove(parent)
    return b.clock.monotonic()


def swept(b, parent):
    """When the listing of a parent was asked for."""
    return [moment for moment, asked in b.source.pages if asked == parent]


async def test_old_jobs_of_parents_that_are_there_are_a_baseline(tmp_path):
    async with clusters(tmp_path) as b:
        b.source.parent_names = ["a", "b"]
        b.source.answers |= {"a/1": "FAILED", "b/1": "SUCCEEDED", "b/2": "RUNNING"}
        watch_parents(b, "all")
        async with running(b.poller):
            await anyio.sleep(100)
            assert await sent(b) == {}
            b.source.answers |= {"b/2": "FAILED", "a/3": "FAILED"}
            await anyio.sleep(40)
        assert await baseline(b) == {"a/1", "b/1", "b/2"}
        assert await sent(b) == {("b/2", "job.state_changed"): 1, ("a/3", "job.discovered"): 1}


async def test_jobs_of_a_later_parent_are_sent_even_if_they_ended_before(tmp_path):
    async with followed(tmp_path, "a") as b:
        b.source.parent_names.append("new")
        b.source.answers["new/1"] = "FAILED"
        await anyio.sleep(40)
        assert await sent(b) == {("new/1", "job.discovered"): 1}
        b.source.answers["new/2"] = "FAILED"
        await anyio.sleep(40)
        assert await baseline(b) == set()
        assert (await sent(b))["new/2", "job.discovered"] == 1


async def test_a_parent_that_comes_while_the_monitor_is_down_is_new(tmp_path):
    async with followed(tmp_path, "a", **{"a/1": "FAILED"}):
        pass
    async with clusters(tmp_path) as b:
        b.source.parent_names = ["a", "new"]
        b.source.answers |= {"a/1": "FAILED", "a/2": "FAILED", "new/1": "FAILED"}
        watch_parents(b, "all")
        await run_for(b, 70)
        assert await sent(b) == {("a/2", "job.discovered"): 1, ("new/1", "job.discovered"): 1}


async def test_a_parent_that_goes_is_swept_once_more(tmp_path):
    async with followed(tmp_path, "a", "b") as b:
        gone_at = last_job_of(b, "b")
        await anyio.sleep(60)
        assert await sent(b) == {("b/1", "job.discovered"): 1}
        assert 1 <= len([moment for moment in swept(b, "b") if moment > gone_at]) <= 2
        assert followed_parents(b) == {"a"}
        assert not any('"b"' in each.discover for each in await b.store.baselines())


async def test_the_last_sweep_begins_after_its_parent_was_found_gone(tmp_path):
    """A page that was sent before may show less than there was at the end."""
    async with clusters(tmp_path) as b:
        b.source.parent_names = ["a"]
        watch_parents(b, "all")
        async with running(b.poller):
            await anyio.sleep(31)
            page, empty = b.source._page_of, Page((), None)

            async def stale(parent):
                # It is read before the job begins, and answered after the parent has gone.
                await anyio.sleep(45)
                b.source._page_of = page
                return empty

            b.source._page_of = stale
            await anyio.sleep(40)
            b.source.answers["a/1"] = "FAILED"
            b.source.parent_names.remove("a")
            await anyio.sleep(120)
            assert await sent(b) == {("a/1", "job.discovered"): 1}
            assert len(b.poller.schedule.listings()) == 1


async def test_the_last_sweep_of_a_parent_does_not_wait_for_its_interval(tmp_path):
    """The parent is found gone while a page of its jobs is under way."""
    async with followed(tmp_path, "a", "b") as b:
        parents, b.source.page_latency = b.source.parents, 10.0

        async def slow(token):
            page = await parents(token)
            await anyio.sleep(5)
            return page

        b.source.parents = slow
        gone_at = last_job_of(b, "b")
        await anyio.sleep(60)
        before, last = [moment for moment in swept(b, "b") if moment > gone_at]
        assert last - before == pytest.approx(10, abs=0.5)
        assert followed_parents(b) == {"a"}


async def test_a_parent_that_goes_and_whose_listing_never_ends_is_not_swept_for_ever(tmp_path):
    async with followed(tmp_path, "a", "b") as b:
        page = b.source._page_of

        async def torn(parent):
            return replace(await page(parent), torn=parent == "b")

        b.source._page_of = torn
        await anyio.sleep(45)
        assert b.measured("listing_complete", **PLACE) == 0
        last_job_of(b, "b")
        await anyio.sleep(60)
        assert await sent(b) == {("b/1", "job.discovered"): 1}
        assert followed_parents(b) == {"a"}
        assert b.measured("listing_complete", **PLACE) == 1


@pytest.mark.parametrize("failure", [GONE, UNREACHABLE])
async def test_a_parent_that_goes_in_an_outage_is_swept_when_that_is_over(tmp_path, failure):
    async with followed(tmp_path, "a", "b") as b:
        last_job_of(b, "b")
        b.source.page_trouble = failure
        await anyio.sleep(600)
        b.source.page_trouble = None
        await anyio.sleep(400)
        expected = {} if failure is GONE else {("b/1", "job.discovered"): 1}
        assert await sent(b) == expected
        assert followed_parents(b) == {"a"}
        # The other parent seems to be gone as well, and is asked for ever more rarely.
        assert b.measured("listing_complete", **PLACE) == (failure is not GONE)


async def test_a_deleted_parent_does_not_spoil_the_health_of_its_type(tmp_path):
    """Its listing fails before the listing of parents has shown that it is gone."""
    async with followed(tmp_path, *(f"p-{number}" for number in range(5))) as b:
        page = b.source._page_of

        async def of_those_that_are(parent):
            if parent not in b.source.parent_names:
                raise GONE
            return await page(parent)

        b.source._page_of = of_those_that_are
        chance = Random(2)
        for number in range(30):
            b.source.parent_names.pop(chance.randrange(5))
            b.source.parent_names.append(f"later-{number}")
            await anyio.sleep(chance.uniform(1, 40))
        await anyio.sleep(70)
        assert b.measured("listing_complete", **PLACE) == 1
        assert b.measured("source_up", service="panorama", account="prod", region="us-east-1")
        assert followed_parents(b) == set(b.source.parent_names)
        # A pass later than each sweep: nothing of it is left in the health either.
        assert not b.poller._still_failing()
        assert len(await b.store.baselines()) == 6


async def test_a_new_parent_leaves_the_listing_of_its_type_complete(tmp_path):
    async with followed(tmp_path, "a") as b:
        b.source.page_latency = 20.0
        b.source.parent_names.append("new")
        for _ in range(60):
            await anyio.sleep(1)
            assert b.measured("listing_complete", **PLACE) == 1
        assert swept(b, "new")


async def test_a_parent_that_comes_back_under_its_name_is_new(tmp_path):
    async with followed(tmp_path, "a", **{"a/1": "FAILED"}) as b:
        b.source.parent_names.clear()
        await anyio.sleep(70)
        b.source.parent_names.append("a")
        b.source.answers["a/2"] = "FAILED"
        await anyio.sleep(70)
        assert await sent(b) == {("a/2", "job.discovered"): 1}
        assert await baseline(b) == {"a/1"}


async def test_a_parent_that_went_while_the_monitor_was_down_is_swept_once_more(tmp_path):
    async with followed(tmp_path, "a", "b"):
        pass
    async with clusters(tmp_path) as b:
        b.source.parent_names = ["a"]
        b.source.answers["b/1"] = "FAILED"
        watch_parents(b, "all")
        await run_for(b, 70)
        assert await sent(b) == {("b/1", "job.discovered"): 1}
        assert len(b.poller.schedule.listings()) == 2
        assert len(await b.store.baselines()) == 2


async def test_a_named_parent_is_no_parent_that_is_gone(tmp_path):
    """One watch names it, and another follows all that are listed: it is not among them."""
    async with clusters(tmp_path) as b:
        b.source.parent_names = ["a"]
        b.source.answers["hidden/1"] = "FAILED"
        watch_parents(b, "all", ["hidden"])
        async with running(b.poller):
            await anyio.sleep(200)
            assert await sent(b) == {}
            b.source.answers["hidden/2"] = "FAILED"
            await anyio.sleep(60)
        assert await sent(b) == {("hidden/2", "job.discovered"): 1}
        assert len(b.poller.schedule.listings()) == 3
        assert len(await b.store.baselines()) == 3


async def test_a_failing_listing_of_parents_leaves_those_that_are_known_alone(tmp_path):
    async with followed(tmp_path, "a", "b") as b:
        b.source.parent_trouble = PollError(PollReason.AUTH, "AccessDenied")
        b.source.parent_names = ["a", "new"]
        b.source.answers |= {"a/1": "FAILED", "b/1": "FAILED", "new/1": "FAILED"}
        await anyio.sleep(900)
        assert set(await sent(b)) == {("a/1", "job.discovered"), ("b/1", "job.discovered")}
        assert b.measured("listing_complete", **PLACE) == 0
        b.source.parent_trouble = None
        await anyio.sleep(1000)
        assert (await sent(b))["new/1", "job.discovered"] == 1
        assert b.measured("listing_complete", **PLACE) == 1


async def test_parents_whose_listing_fails_from_the_start_are_a_baseline_all_the_same(tmp_path):
    """What is created after the watch has begun is news, in however late a listing."""
    async with clusters(tmp_path) as b:
        b.source.parent_names = ["a"]
        b.source.parent_trouble = UNREACHABLE
        b.source.answers["a/1"] = Answer("FAILED", created_at=at(-60))
        watch_parents(b, "all")
        async with running(b.poller):
            await anyio.sleep(300)
            b.source.parent_names.append("new")
            for name in ("a/2", "new/1"):
                b.source.answers[name] = Answer("FAILED", created_at=b.clock.now())
            await anyio.sleep(60)
            b.source.parent_trouble = None
            await anyio.sleep(400)
        assert await baseline(b) == {"a/1"}
        assert await sent(b) == {("a/2", "job.discovered"): 1, ("new/1", "job.discovered"): 1}


class CrashError(Exception):
    """The process ends here."""


@pytest.mark.parametrize("commit", range(1, 9))
@pytest.mark.parametrize("durable", [True, False])
async def test_a_crash_anywhere_in_the_first_sweep_tells_nothing_old(tmp_path, commit, durable):
    """After each commit that concerns baselines, and before it."""
    names = ["a", "b", "c"]
    ids = [f"{name}/{number}" for name in names for number in "12"]
    old = dict.fromkeys(ids, Answer("FAILED", created_at=at(-60)))
    async with clusters(tmp_path) as b:
        b.source.parent_names, b.source.answers = names, dict(old)
        keep, commits = b.store.keep_baselines, []

        async def crash(*values):
            commits.append(values)
            if len(commits) == commit and not durable:
                raise CrashError
            await keep(*values)
            if len(commits) == commit:
                raise CrashError

        b.store.keep_baselines = crash
        watch_parents(b, "all")
        try:
            await run_for(b, 100)
        except* CrashError:
            pass
        b.store.keep_baselines = keep
        assert await sent(b) == {}
    await anyio.sleep(300)
    async with clusters(tmp_path) as b:
        new = {name: Answer("FAILED", created_at=b.clock.now()) for name in ("a/new", "d/new")}
        b.source.parent_names, b.source.answers = [*names, "d"], old | new
        watch_parents(b, "all")
        await run_for(b, 200)
        # Before its first commit the watch has not begun.
        begun = durable or commit > 1
        assert await sent(b) == ({(name, "job.discovered"): 1 for name in new} if begun else {})
        assert await baseline(b) == (set(old) if begun else {*old, *new})


@pytest.mark.parametrize("moment", [0.5, 1.5, 3.5, 6.0])
async def test_a_first_sweep_that_a_reload_ends_tells_nothing_old(tmp_path, moment):
    old = {f"p-{number}/1": "FAILED" for number in range(20)}
    async with clusters(tmp_path, rate=5.0, burst=1) as b:
        b.source.parent_names = [f"p-{number}" for number in range(20)]
        b.source.answers |= old
        b.source.page_latency = 0.3
        (target,) = watch_parents(b, "all")
        async with running(b.poller):
            await anyio.sleep(moment)
            target.end()
            assert b.poller.schedule.listings() == []
            watch_parents(b, "all")
            await anyio.sleep(200)
        assert await sent(b) == {}
        assert await baseline(b) == set(old)


async def test_a_reload_in_the_midst_of_new_baselines_completes_none(tmp_path):
    async with clusters(tmp_path) as b:
        b.source.parent_names = ["a", "b", "c"]
        b.source.answers |= {f"{name}/1": "FAILED" for name in "abc"}
        keep, commits = b.store.keep_baselines, []

        async def end_meanwhile(*values):
            commits.append(values)
            await keep(*values)
            if len(commits) == 3:
                target.end()

        b.store.keep_baselines = end_meanwhile
        (target,) = watch_parents(b, "all")
        async with running(b.poller):
            await anyio.sleep(20)
            assert not any(each.completed_at for each in await b.store.baselines())
            watch_parents(b, "all")
            await anyio.sleep(100)
        assert await sent(b) == {}
        assert await baseline(b) == {"a/1", "b/1", "c/1"}


async def test_a_reload_in_the_last_sweep_of_a_parent_leaves_that_sweep_to_be_done(tmp_path):
    async with clusters(tmp_path) as b:
        b.source.parent_names = ["a", "b"]
        (target,) = watch_parents(b, "all")
        async with running(b.poller):
            await anyio.sleep(45)
            b.source.page_latency = 5.0
            gone_at = last_job_of(b, "b")
            await until(lambda: any(each.ending for each in b.poller.schedule.listings()), 60)
            target.end()
            await anyio.sleep(10)
            assert swept(b, "b")[-1] > gone_at
            assert await sent(b) == {}
            watch_parents(b, "all")
            await anyio.sleep(60)
            assert await sent(b) == {("b/1", "job.discovered"): 1}
            assert followed_parents(b) == {"a"}


async def test_each_job_has_the_labels_of_the_watch_of_its_parent(tmp_path):
    """The ids do not contain the parent: only the listing tells."""
    async with clusters(tmp_path) as b:
        _lists_without_names(b)
        watch_parents(b, ["a"], ["b"])
        async with running(b.poller):
            await anyio.sleep(40)
            b.source.answers |= {"a/1": "RUNNING", "b/2": "RUNNING"}
            await anyio.sleep(40)
        assert await _labels(b) == {"x-1": "w0", "x-2": "w1"}
    async with clusters(tmp_path) as b:
        _lists_without_names(b)
        b.source.answers |= {"a/1": "FAILED", "b/2": "FAILED", "a/3": "FAILED", "b/4": "FAILED"}
        b.source.answers |= {"x-1": "FAILED", "x-2": "FAILED", "x-3": "FAILED", "x-4": "FAILED"}
        # The order of the watches is another one after the restart.
        watch_parents(b, ["b"], ["a"])
        await run_for(b, 70)
        assert await _labels(b) == {"x-1": "w1", "x-2": "w0", "x-3": "w1", "x-4": "w0"}


def _lists_without_names(b):
    page, describe = b.source._page_of, b.source.describe

    async def nameless(parent):

        found = await page(parent)
        rows = [
            replace(row, job=replace(row.job, id=f"x-{row.job.id.partition('/')[2]}"))
            for row in found.rows
        ]
        return Page(tuple(rows), None)

    async def by_number(wanted):
        known = {name.partition("/")[2]: answer for name, answer in b.source.answers.items()}
        b.source.answers.setdefault(wanted.id, known.get(wanted.id[2:], "FAILED"))
        return await describe(wanted)

    b.source._page_of, b.source.describe = nameless, by_number


async def _labels(b):
    rows = await b.store.transitions(limit=1000)
    return {event["subject"]: event["data"]["job"]["labels"]["watch"] for _, event in rows}


class Mixed(FakeType):
    """A plain listing of jobs that wait, and two for each cluster: what runs, and what ended."""

    @property
    def listings(self):
        return tuple(
            FakeListing("List", f"{number}", parent=parent)
            for number, parent in enumerate([None, "cluster", "cluster"])
        )


SHOWN = [{"PENDING"}, {"RUNNING"}, ENDED]


def _shows_by_state(b):
    async def page(_token, of):
        b.source.asked.append(of)
        await anyio.sleep(0.05)
        ids = [
            name
            for name, state in b.source.answers.items()
            if state in SHOWN[of.number] and name.startswith(f"{of.parent or ''}")
        ]
        rows = (replace(row, parent=of.parent) for row in b.source.rows(*ids))
        return Page(tuple(rows), None)

    b.source.page = page


async def test_several_listings_of_a_parent_come_and_go_with_it(tmp_path):
    mixed = Mixed(parent="cluster", parent_operation="ListClusters")
    async with clusters(tmp_path, job_type=mixed) as b:
        _shows_by_state(b)
        b.source.parent_names = ["a"]
        b.source.answers |= {"a/old": "FAILED", "a/open": "RUNNING", "a/waits": "PENDING"}
        watch_parents(b, "all")
        async with running(b.poller):
            await anyio.sleep(45)
            assert len(b.poller.schedule.listings()) == 4
            b.source.parent_names.append("b")
            b.source.answers |= {
                "a/open": "FAILED",
                "a/waits": "FAILED",
                "a/new": "FAILED",
                "b/new": "SUCCEEDED",
            }
            await anyio.sleep(70)
            assert len(b.poller.schedule.listings()) == 6
            b.source.parent_names.remove("a")
            b.source.answers["a/late"] = "FAILED"
            before = len(b.source.asked)
            await anyio.sleep(70)
            last = Counter(of.number for of in b.source.asked[before:] if of.parent == "a")
            assert set(last) == {1, 2}
            assert max(last.values()) <= 2
            assert len(b.poller.schedule.listings()) == 4
        assert await baseline(b) == {"a/old", "a/open", "a/waits"}
        assert await sent(b) == {
            ("a/open", "job.state_changed"): 1,
            ("a/waits", "job.state_changed"): 1,
            ("a/new", "job.discovered"): 1,
            ("b/new", "job.discovered"): 1,
            ("a/late", "job.discovered"): 1,
        }
        # Of the parents, of the plain listing, and of both listings of the one that is left.
        assert len(await b.store.baselines()) == 4


class World:
    """Parents and jobs that come and go; it goes on whether or not anybody watches.

    ``due`` are the jobs whose end must be told. A parent that goes leaves its listing behind,
    or takes it along.
    """

    def __init__(self, seed, parents):
        self.chance = Random(seed)
        self.names = [f"p-{number}" for number in range(parents)]
        self.answers = {}
        self.listed = {}
        self.vanished = set()
        self.due = set()
        self.history = set()
        for name in self.names:
            for number in range(self.chance.randrange(3)):
                self.history.add(f"{name}/old-{number}")
                self._show(f"{name}/old-{number}", "FAILED", at(-600))
        self.made, self.over = 0, False

    def _show(self, job_id, state, created):
        self.answers[job_id] = Answer(state, created_at=created)
        self.listed[job_id] = job_id.partition("/")[0]

    def attach(self, b):
        """Answer for this world from now on."""
        b.source.answers, b.source.parent_names = self.answers, self.names

        async def page_of(parent):
            b.source.pages.append((b.clock.monotonic(), parent))
            await anyio.sleep(self.chance.uniform(0.01, 0.5))
            if parent in self.vanished:
                raise GONE
            ids = [one for one, of in self.listed.items() if of == parent]

            return Page(tuple(replace(row, parent=parent) for row in b.source.rows(*ids)), None)

        b.source._page_of = page_of

    async def live(self, seconds, clock):
        """Let things happen for so long."""
        end, self.over = clock.monotonic() + seconds, False
        async with anyio.create_task_group() as tasks:
            while clock.monotonic() < end:
                await anyio.sleep(self.chance.expovariate(1 / 4))
                match self.chance.random():
                    case draw if draw < 0.12 and len(self.names) > 5:
                        tasks.start_soon(self._go, self.chance.choice(self.names))
                    case draw if draw < 0.24:
                        self._come()
                    case _ if self.names:
                        tasks.start_soon(self._work, self.chance.choice(self.names), clock)
        self.over = True

    def _come(self):
        self.made += 1
        again = self.chance.random() < 0.5
        gone = [name for name in self.vanished if name not in self.names]
        name = self.chance.choice(sorted(gone)) if again and gone else f"n-{self.made}"
        self.vanished.discard(name)
        self.names.append(name)

    async def _go(self, name):
        self.names.remove(name)
        # Its jobs end with it.
        for job_id, of in self.listed.items():
            if of == name and self.answers[job_id].state == "RUNNING":
                self._show(job_id, "FAILED", self.answers[job_id].created_at)
        # It is still known for longer than a sweep, or as long as nobody has asked twice.
        await anyio.sleep(self.chance.choice([100, 400]))
        if name not in self.names:
            self.vanished.add(name)
            for job_id in [one for one, of in self.listed.items() if of == name]:
                del self.listed[job_id]

    async def _work(self, name, clock):
        self.made += 1
        job_id, created = f"{name}/{self.made}", clock.now()
        self.due.add(job_id)
        self._show(job_id, "RUNNING", created)
        await anyio.sleep(self.chance.choice([0.5, 5, 40, 200]))
        if self.answers[job_id].state == "RUNNING":
            self._show(job_id, self.chance.choice(["SUCCEEDED", "FAILED"]), created)


@pytest.mark.parametrize(
    ("seed", "parents"),
    [(0, 25), *(pytest.param(seed, 50, marks=pytest.mark.soak) for seed in range(20))],
)
async def test_parents_come_and_go_and_each_end_is_told_once(tmp_path, seed, parents):
    chance, world = Random(seed + 100), World(seed, parents)
    async with anyio.create_task_group() as tasks:
        async with clusters(tmp_path) as b:
            world.attach(b)
            watch_parents(b, "all")
            await run_for(b, 45)
        tasks.start_soon(world.live, 900, b.clock)
        while not world.over:
            # It is down for less than a parent that has gone is still listed.
            await anyio.sleep(chance.uniform(0, 30))
            async with clusters(tmp_path) as b:
                world.attach(b)
                watch_parents(b, "all")
                if chance.random() < 0.5:
                    await run_for(b, chance.uniform(60, 250))
                else:
                    with anyio.move_on_after(chance.uniform(60, 250)):
                        await b.poller.run()
    async with clusters(tmp_path) as b:
        world.attach(b)
        watch_parents(b, "all")
        await run_for(b, 700)
        ends: Counter[str] = Counter()
        for _, event in await b.store.transitions(limit=10_000):
            data = event["data"]
            if data["kind"] in {"job.discovered", "job.state_changed"} and not data["baseline"]:
                ends[event["subject"]] += data["current"]["state"] in ENDED
        told = await sent(b)
        deliveries = {job_id for job_id, _ in told}
        assert len(world.due) > 100
        assert not deliveries & world.history
        assert {job_id: ends[job_id] for job_id in world.due} == dict.fromkeys(world.due, 1)
        assert await baseline(b) == world.history
        assert len(b.poller.schedule.listings()) == len(world.names) + 1
        assert len(await b.store.baselines()) == len(world.names) + 1


async def test_fifty_parents_cost_a_page_each_and_leave_half_of_the_quota(tmp_path):
    """Their pages do not come all at once: jobs are described in between."""
    async with clusters(tmp_path, rate=5.0, burst=1) as b:
        b.source.parent_names = [f"p-{number}" for number in range(50)]
        b.source.answers["single"] = "RUNNING"
        watch_parents(b, "all")
        b.follow("single", interval=2.0)
        async with running(b.poller):
            await anyio.sleep(100)
            pages = len(b.source.pages)
            await anyio.sleep(300)
        # Fifty-one pages at half of five a second take 20 s, so the interval of 30 s holds.
        assert len(b.source.pages) - pages == pytest.approx(500, rel=0.05)
        looks = b.source.asked_for("single")
        gaps = [after - before for before, after in pairwise(looks)]
        assert max(gaps) <= 4.0


async def test_sweeps_of_more_parents_than_the_quota_permits_take_half_of_it(tmp_path):
    async with clusters(tmp_path, rate=2.0, burst=1) as b:
        b.source.parent_names = [f"p-{number}" for number in range(99)]
        watch_parents(b, "all")
        async with running(b.poller):
            await anyio.sleep(300)
            before = len(b.source.pages) + len(b.source.parent_pages)
            await anyio.sleep(1000)
        # A hundred pages, a second apart.
        found = len(b.source.pages) + len(b.source.parent_pages) - before
        assert found == pytest.approx(1000, rel=0.05)
