"""Silences, acknowledgements and discarded deliveries over HTTP, on a real store and socket."""

from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from monitor import model
from monitor.metrics import Metrics
from monitor.model import DeliveryStatus, Ending, Phase
from monitor.recording.quiet import Quiet
from monitor.runtime.quiet_keeper import QuietKeeper
from monitor.web.auth import Guard
from tests.contracts.store_examples import T0, SettableClock, dead, job
from tests.web_kit import KEY, Live, open_site

TOKEN = "a-token-that-nobody-guesses"
WRITER = {"Authorization": f"Bearer {TOKEN}"}
MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock():
    return SettableClock()


@pytest.fixture
def guarded(tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    return Guard(None, [tmp_path / "token"])


@pytest.fixture
def site(tmp_path, clock, guarded):
    """Open the site with the keeper of its store."""

    def keep(made):
        quiet = Quiet(clock.now)
        made.live.quiet = quiet
        metrics = Metrics(CollectorRegistry(), "0")
        calls = (lambda *_: None, lambda: None, lambda: 86400.0)
        return QuietKeeper(made.store, quiet, metrics, clock, *calls)

    parts = {"quiet": keep, "clock": clock}
    return lambda: open_site(tmp_path, Live(), parts=parts, guard=guarded)


async def post(site, path, body, method="POST"):
    return await site.ask(path, method, json=body, headers=WRITER)


FAILED = {"match": {"phase": "failed"}, "duration": "2h", "author": "ann", "comment": "disk swap"}


async def test_a_silence_is_added_listed_and_expired(site, clock):
    async with site() as here:
        status, made = await post(here, "/api/v1/silences", FAILED)
        assert status == 201
        assert made == {
            "id": made["id"],
            "match": [{"phase": ["failed"]}],
            "starts_at": "2026-03-01T12:00:00.000Z",
            "ends_at": "2026-03-01T14:00:00.000Z",
            "author": "ann",
            "comment": "disk swap",
            "status": "active",
        }
        assert await here.get("/api/v1/silences") == {"items": [made]}
        assert await here.get("/api/v1/silences?status=expired") == {"items": []}
        clock.time += MINUTE
        path = f"/api/v1/silences/{made['id']}"
        status, ended = await here.ask(path, "DELETE", headers=WRITER)
        assert (status, ended["status"]) == (200, "expired")
        assert ended["ends_at"] == "2026-03-01T12:01:00.000Z"
        status, again = await here.ask(path, "DELETE", headers=WRITER)
        assert (status, again) == (200, ended), "it has expired already"
        assert (await here.ask("/api/v1/silences/none", "DELETE", headers=WRITER))[0] == 404
        (stored,) = await here.store.silences.all()
        assert stored.ends_at == T0 + MINUTE


async def test_a_silence_may_begin_later_and_hold_one_job(site):
    async with site() as here:
        body = {
            "match": [{"job": job().key}, {"type": "importexport.*", "labels": {"team": "vision"}}],
            "starts_at": "2026-03-02T00:00:00Z",
            "ends_at": "2026-03-02T01:00:00+01:00",
            "author": "ann",
        }
        status, refused = await post(here, "/api/v1/silences", body)
        assert (status, refused["detail"]) == (
            422,
            "ends_at must be later than now and starts_at, within 10 years",
        )
        body["ends_at"] = "2026-03-02T02:00:00+01:00"
        status, made = await post(here, "/api/v1/silences", body)
        assert (status, made["status"]) == (201, "pending")
        assert made["match"] == [
            {"job": [job().key]},
            {"type": ["importexport.*"], "labels": {"team": ["vision"]}},
        ]


MISTAKES = {
    "no end": ({"duration": None}, "needs either ends_at or duration"),
    "two ends": ({"ends_at": "2026-03-01T13:00:00Z"}, "needs either ends_at or duration"),
    "no match": ({"match": []}, "match"),
    "empty match": ({"match": {}}, 'match.0 is empty (to hold everything, write kind: "*")'),
    "unknown phase": ({"match": {"phase": "faild"}}, "match.0.phase: a glob matches nothing"),
    "unknown key": ({"match": {"colour": "red"}}, "match.0.colour is not known here"),
    "no author": ({"author": None}, "author is needed, as a token names no user"),
    "not a time": ({"starts_at": "noon"}, "starts_at is not a time"),
}


@pytest.mark.parametrize(("changed", "message"), MISTAKES.values(), ids=MISTAKES)
async def test_a_silence_that_makes_no_sense_is_refused(site, changed, message):
    async with site() as here:
        status, problem = await post(here, "/api/v1/silences", FAILED | changed)
        assert status == 422
        assert message in problem["detail"]
        assert await here.get("/api/v1/silences") == {"items": []}


async def test_a_failed_job_is_acknowledged_until_it_changes(site):
    path = f"/api/v1/jobs/{KEY.format(1)}/acknowledge"
    async with site() as here:
        await here.record(1, 1)
        status, problem = await post(here, path, {"author": "ann"})
        assert (status, problem["detail"]) == (
            409,
            "the job is neither failed nor stuck nor missing",
        )
        await here.record(1, 2, state="FAILED", phase=Phase.FAILED, ending=Ending.FINAL)
        assert (await post(here, path, {}))[0] == 422, "nobody is named"
        status, _ = await post(here, path, {"author": "ann", "comment": "on it"})
        assert status == 200
        expected = model.Acknowledgement(job().key, 2, "ann", "on it", T0)
        assert here.live.quiet.acknowledgement(job().key) == expected
        # A job that is followed no longer is read from the store.
        del here.live.followed[job().key]
        here.live.acknowledged[job().key] = expected
        shown = (await here.get(f"/api/v1/jobs/{KEY.format(1)}"))["acknowledged"]
        assert shown == {"author": "ann", "comment": "on it", "at": "2026-03-01T12:00:00.000Z"}
        status, _ = await here.ask(path, "DELETE", headers=WRITER)
        assert status == 200
        assert await here.store.silences.acknowledgements() == []
        assert (await post(here, f"/api/v1/jobs/{KEY.format(9)}/acknowledge", {"author": "a"}))[
            0
        ] == 404


async def test_dead_deliveries_are_discarded(site):
    path = "/api/v1/deliveries/discard"
    async with site() as here:
        await here.record(1)
        (due,) = await here.store.due("ops", T0, 10)
        await here.store.settle(dead(due))
        assert (await post(here, path, {"sink": "ops"}))[0] == 422
        assert (await post(here, path, {"sink": "none", "all": True}))[0] == 422
        assert await post(here, path, {"sink": "ops", "ids": [99]}) == (
            200,
            {"sink": "ops", "count": 0},
        )
        assert await post(here, path, {"sink": "ops", "job": job().id}) == (
            200,
            {"sink": "ops", "count": 1},
        )
        assert here.live.discarded == {"ops": 1}
        (shown,) = (await here.get("/api/v1/deliveries?status=discarded"))["items"]
        assert shown["id"] == due.id
        replay = {"sink": "ops", "discarded": True}
        status, replayed = await post(here, "/api/v1/replay", replay)
        assert (status, replayed["count"]) == (200, 1)
        (again,) = await here.store.deliveries(status=DeliveryStatus.PENDING)
        assert again.replayed


async def test_nothing_is_changed_without_credentials(site):
    async with site() as here:
        for method, path in (
            ("POST", "/api/v1/silences"),
            ("DELETE", "/api/v1/silences/a"),
            ("POST", "/api/v1/jobs/a/b/c/d/acknowledge"),
            ("DELETE", "/api/v1/jobs/a/b/c/d/acknowledge"),
            ("POST", "/api/v1/deliveries/discard"),
        ):
            assert (await here.ask(path, method))[0] == 401
