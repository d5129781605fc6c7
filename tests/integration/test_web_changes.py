"""Who may change something over HTTP, and what then happens."""

import base64
import fnmatch
from datetime import timedelta
from typing import Any

import aiohttp
import anyio
import bcrypt
import pytest

from monitor import model
from monitor.app import Daemon
from monitor.config import Settings
from monitor.errors import ConfigurationError, Problem
from monitor.recording.recorder import Recorder
from monitor.runtime.reload import Reloader
from monitor.stores.store import SqlStore
from monitor.web import auth as web_auth
from monitor.web.auth import Guard
from monitor.web.web_config import WebConfigFile
from tests.contracts.store_examples import T0, dead, delivered
from tests.web_kit import KEY, open_site

TOKEN = "a-token-of-some-length"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
RESUME = "/api/v1/sinks/ops/resume"
REPLAY = "/api/v1/replay"


def basic(name, password):
    text = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


def token_file(directory, token=TOKEN):
    path = directory / "token"
    path.write_text(f"{token}\n")
    return path


def with_token(directory):
    return {"guard": Guard(None, [token_file(directory)])}


def users_file(directory, **users):
    path = directory / "web.yml"
    hashes = {
        name: bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()
        for name, word in users.items()
    }
    lines = "".join(f"  {name}: {hashed}\n" for name, hashed in hashes.items())
    path.write_text(f"basic_auth_users:\n{lines}")
    return WebConfigFile(path)


async def test_without_any_credential_configured_nobody_writes_and_is_told_why(tmp_path):
    async with open_site(tmp_path) as site:
        for headers in ({}, BEARER, basic("a", "b")):
            status, problem = await site.ask(RESUME, "POST", headers=headers)
            assert status == 403
            assert "server.token_files" in problem["detail"]
        await site.get("/api/v1/jobs")


async def test_only_the_right_token_writes(tmp_path):
    async with open_site(tmp_path, **with_token(tmp_path)) as site:
        for wrong in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Bearer"}):
            async with site.session.post(RESUME, headers=wrong) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"] == 'Bearer realm="job-monitor"'
        for other in (basic("a", TOKEN), {"Authorization": f"Basic {TOKEN}"}):
            assert (await site.ask(RESUME, "POST", headers=other))[0] == 401
        assert await site.ask(RESUME, "POST", headers=BEARER) == (
            200,
            {"resumed": False, "outcome": None, "error": None},
        )


async def test_a_changed_token_file_counts_at_once(tmp_path):
    async with open_site(tmp_path, **with_token(tmp_path)) as site:
        assert (await site.ask(RESUME, "POST", headers=BEARER))[0] == 200
        token_file(tmp_path, "another-token-of-some-length")
        assert (await site.ask(RESUME, "POST", headers=BEARER))[0] == 401
        (tmp_path / "token").unlink()
        assert (await site.ask(RESUME, "POST", headers=BEARER))[0] == 401
        token_file(tmp_path)
        assert (await site.ask(RESUME, "POST", headers=BEARER))[0] == 200


@pytest.mark.parametrize("token", ["", "short"])
async def test_an_empty_or_short_token_lets_nobody_in(tmp_path, token):
    token_file(tmp_path, token)
    async with open_site(tmp_path, guard=Guard(None, [tmp_path / "token"])) as site:
        for given in ("", " ", token):
            headers = {"Authorization": f"Bearer {given}"}
            assert (await site.ask(RESUME, "POST", headers=headers))[0] == 401


async def test_a_page_of_another_site_writes_nothing(tmp_path):
    async with open_site(tmp_path, **with_token(tmp_path)) as site:
        own = site.url.replace("http://", "https://")
        for headers, expected in [
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
            ({"Sec-Fetch-Site": "same-origin", "Origin": "https://public.example"}, 200),
            ({"Sec-Fetch-Site": "none"}, 200),
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": "http://["}, 403),
            ({"Origin": own}, 200),
        ]:
            asked = {**BEARER, **headers}
            assert (await site.ask(RESUME, "POST", headers=asked))[0] == expected, headers


async def test_a_body_that_is_no_json_is_refused(tmp_path):
    async with open_site(tmp_path, **with_token(tmp_path)) as site:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            headers = {**BEARER, "Content-Type": kind}
            answer = await site.ask(REPLAY, "POST", headers=headers, data=b'{"sink": "ops"}')
            assert answer[0] == 415
            assert (await site.ask(RESUME, "POST", headers=headers, data=b""))[0] == 415
        declared = {**BEARER, "Content-Type": "application/json"}
        for body, expected in [(b"{", 400), (b"", 400), (b"[]", 422), (b"\xff", 400)]:
            assert (await site.ask(REPLAY, "POST", headers=declared, data=body))[0] == expected
        answer = await site.ask(REPLAY, "POST", headers=declared, data=b" " * 65 * 1024)
        assert answer[0] == 413


# Users


async def test_where_there_are_users_nobody_else_gets_anything(tmp_path):
    guard = Guard(users_file(tmp_path, ann="correct horse"), [token_file(tmp_path)])
    async with open_site(tmp_path, guard=guard) as site:
        wrongs: list[dict[str, str]] = [
            {},
            basic("ann", "wrong"),
            basic("eve", "correct horse"),
            basic("", ""),
        ]
        for path in ("/", "/metrics", "/-/healthy", "/-/ready", "/nothing", "/api/v1/jobs"):
            for wrong in wrongs:
                async with site.session.get(path, headers=wrong) as answer:
                    assert answer.status == 401, path
                    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
                    kind = "application/problem+json" if "api" in path else "text/plain"
                    assert answer.content_type == kind
            if path == "/nothing":
                continue
            for right in (basic("ann", "correct horse"), BEARER):
                async with site.session.get(path, headers=right) as answer:
                    assert answer.status == 200, path
        assert (await site.ask(RESUME, "POST"))[0] == 401
        right = basic("ann", "correct horse")
        assert (await site.ask(RESUME, "POST", headers=right))[0] == 200


async def test_a_verified_password_is_not_computed_again(tmp_path, monkeypatch):
    computed: list[int] = []
    check = bcrypt.checkpw

    def counted(password, stored):
        computed.append(len(stored))
        return check(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    guard = Guard(users_file(tmp_path, ann="correct horse"))
    async with open_site(tmp_path, guard=guard) as site:
        for _ in range(5):
            await site.get("/api/v1/jobs", headers=basic("ann", "correct horse"))
        assert len(computed) == 1
        for guess in (basic("ann", "wrong"), basic("ann", "wrong"), basic("eve", "x")):
            assert (await site.ask("/api/v1/jobs", headers=guess))[0] == 401
        # A guess costs as much for a name that is unknown: it is held against a real hash too.
        assert computed == [60] * 4


async def test_a_wrong_guess_costs_the_same_whichever_name_it_is_for(tmp_path, monkeypatch):
    """Names of hashes that cost little, or more, and one that nobody has."""
    hashes = {
        name: bcrypt.hashpw(b"correct horse", bcrypt.gensalt(cost)).decode()
        for name, cost in {"ann": 4, "bob": 5, "cyd": 7}.items()
    }
    path = tmp_path / "web.yml"
    path.write_text("basic_auth_users:\n" + "".join(f"  {n}: {h}\n" for n, h in hashes.items()))
    rounds: list[int] = []
    check = bcrypt.checkpw

    def counted(password, stored):
        rounds.append(2 ** int(stored[4:6]))
        return check(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    async with open_site(tmp_path, guard=Guard(WebConfigFile(path))) as site:
        for name in ("ann", "bob", "cyd", "eve", ""):
            rounds.clear()
            guess = basic(name, "wrong")
            assert (await site.ask("/api/v1/jobs", headers=guess))[0] == 401
            assert sum(rounds) == 2**7, name
        for name in hashes:
            await site.get("/api/v1/jobs", headers=basic(name, "correct horse"))


async def test_a_password_that_was_taken_away_counts_no_more(tmp_path):
    web_config = users_file(tmp_path, ann="correct horse")
    async with open_site(tmp_path, guard=Guard(web_config)) as site:
        right = basic("ann", "correct horse")
        await site.get("/api/v1/jobs", headers=right)
        users_file(tmp_path, ann="another")
        assert await web_config.refresh()
        assert (await site.ask("/api/v1/jobs", headers=right))[0] == 401
        await site.get("/api/v1/jobs", headers=basic("ann", "another"))


async def test_a_password_beyond_what_bcrypt_reads_is_verified_all_the_same(tmp_path):
    long = "x" * 72
    async with open_site(tmp_path, guard=Guard(users_file(tmp_path, ann=long))) as site:
        await site.get("/api/v1/jobs", headers=basic("ann", long))
        await site.get("/api/v1/jobs", headers=basic("ann", long + "more"))
        assert (await site.ask("/api/v1/jobs", headers=basic("ann", long[:-1])))[0] == 401


async def test_a_flood_of_guesses_is_asked_to_come_again(tmp_path, monkeypatch):
    monkeypatch.setattr(web_auth, "MOST_WAITING", 0)
    async with open_site(tmp_path, guard=Guard(users_file(tmp_path, ann="x"))) as site:
        status, problem = await site.ask("/api/v1/jobs", headers=basic("ann", "wrong"))
        assert (status, problem["title"]) == (429, "Too Many Requests")


# What is then done


async def prepared(site):
    """Two dead deliveries, one that was taken, one that waits."""
    for number in (1, 2, 3, 4):
        await site.record(number, state=f"S{number}")
    due = await site.store.due("ops", T0, 10)
    await site.store.settle(dead(due[0]))
    await site.store.settle(dead(due[1]))
    await site.store.settle(delivered(due[2]))


async def replayed(site, **body):
    return await site.ask(REPLAY, "POST", headers=BEARER, json={"sink": "ops", **body})


async def test_dead_deliveries_are_sent_again_when_asked_for(tmp_path):
    async with open_site(tmp_path, **with_token(tmp_path)) as site:
        await prepared(site)
        status, told = await replayed(site, dry_run=True)
        assert (status, told["count"], told["dry_run"]) == (200, 2, True)
        assert len(await site.store.deliveries("ops", model.DeliveryStatus.DEAD)) == 2
        status, told = await replayed(site)
        assert (status, told["count"]) == (200, 2)
        assert len(set(told["event_ids"])) == 2
        assert await site.store.deliveries("ops", model.DeliveryStatus.DEAD) == []
        assert site.live.woken[-1] == "ops"
        assert (await replayed(site))[1]["count"] == 0


async def test_what_is_sent_again_is_chosen_as_by_the_command(tmp_path):
    async with open_site(tmp_path, **with_token(tmp_path)) as site:
        await prepared(site)
        wishes: list[tuple[dict[str, Any], int]] = [
            ({"match": {"job": "job-1"}}, 1),
            ({"match": {"job": [KEY.format(1), "job-2"], "labels.team": ["vis*"]}}, 2),
            ({"match": {"phase": "failed"}}, 0),
            ({"since": "2026-03-01T12:00:00Z"}, 2),
            ({"since": "1s"}, 0),
            ({"since": "2026-03-01T12:00:00Z", "delivered": True}, 3),
        ]
        for body, count in wishes:
            assert (await replayed(site, dry_run=True, **body))[1]["count"] == count, body


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"sink": "oops"}, "sink"),
        ({"sink": "ops", "delivered": True}, ""),
        ({"sink": "ops", "match": {"colour": "red"}}, "match.colour.[key]"),
        ({"sink": "ops", "since": "yesterday"}, "since"),
        ({"sink": "ops", "force": True}, "force"),
        ({}, "sink"),
    ],
)
async def test_a_wish_that_makes_no_sense_is_refused_by_name(tmp_path, body, name):
    async with open_site(tmp_path, **with_token(tmp_path)) as site:
        status, problem = await site.ask(REPLAY, "POST", headers=BEARER, json=body)
        assert status == 422
        assert [each["name"] for each in problem["errors"]] == [name]


async def test_globs_of_a_replay_are_bounded_and_not_kept(tmp_path):
    async with open_site(tmp_path, **with_token(tmp_path)) as site:
        await prepared(site)

        async def replay(*globs):
            status, answer = await replayed(site, match={"state": globs}, dry_run=True)
            return status, answer.get("detail") or answer["count"]

        kept = fnmatch._compile_pattern.cache_info().currsize  # type: ignore[attr-defined]
        assert await replay(*(f"*{number}" for number in range(32))) == (200, 0)
        assert await replay("x", "*") == (200, 2)
        assert fnmatch._compile_pattern.cache_info().currsize == kept  # type: ignore[attr-defined]
        for globs in (["*" * 513], ["x"] * 33):
            status, detail = await replay(*globs)
            assert status == 422
            assert "match.state" in detail
            assert "at most" in detail


async def test_a_resume_says_that_the_sink_parks_again(tmp_path):
    async with open_site(tmp_path, **with_token(tmp_path)) as site:
        await site.record()
        await site.store.park(model.Parking("ops", T0, "410 Gone"))

        async def park_again():
            while await site.store.parkings():  # noqa: ASYNC110 -- the request brings it about
                await anyio.sleep(0.01)
            await site.store.park(model.Parking("ops", T0, "410 still"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(park_again)
            status, told = await site.ask(RESUME, "POST", headers=BEARER)
        assert status == 200
        assert told == {"resumed": True, "outcome": "parked", "error": "410 still"}
        (sink,) = (await site.get("/api/v1/sinks"))["items"]
        assert (sink["health"], sink["parked_reason"]) == ("parked", "410 still")


async def test_a_sink_that_fails_says_since_when_and_why(tmp_path):
    async with open_site(tmp_path) as site:
        await site.record()
        (sink,) = (await site.get("/api/v1/sinks"))["items"]
        assert (sink["health"], sink["failing_since"]) == ("ok", None)
        (due,) = await site.store.due("ops", T0 + timedelta(days=1), 10)
        pending = model.DeliveryStatus.PENDING
        later = T0 + timedelta(hours=1)
        await site.store.settle(model.Settlement(due, pending, T0, later, "status 503"))
        (sink,) = (await site.get("/api/v1/sinks"))["items"]
        assert (sink["health"], sink["last_error"]) == ("failing", "status 503")
        assert sink["failing_since"] == sink["oldest_pending_at"]


async def test_a_parked_sink_is_resumed(tmp_path):
    async with open_site(tmp_path, **with_token(tmp_path)) as site:
        await site.store.park(model.Parking("ops", T0, "410 Gone"))
        assert await site.ask(RESUME, "POST", headers=BEARER) == (
            200,
            {"resumed": True, "outcome": "idle", "error": None},
        )
        assert (await site.get("/api/v1/sinks"))["items"][0]["parked"] is False
        assert site.live.woken == ["ops"]
        assert (await site.ask("/api/v1/sinks/x/resume", "POST", headers=BEARER))[0] == 404


async def test_the_configuration_is_reloaded_or_every_mistake_told(tmp_path):
    problems: list[Problem] = []

    async def reload():
        if problems:
            raise ConfigurationError(problems)

    async with open_site(tmp_path, parts={"reload": reload}, **with_token(tmp_path)) as site:
        path = "/-/reload"
        assert (await site.ask(path, "POST"))[0] == 401
        assert await site.ask(path, "POST", headers=BEARER) == (200, {"reloaded": True})
        problems.append(Problem("a.yaml:3", "watches[0].type", "unknown type", "did you mean x?"))
        status, problem = await site.ask(path, "POST", headers=BEARER)
        assert status == 422
        (mistake,) = problem["errors"]
        assert mistake == {
            "place": "a.yaml:3",
            "path": "watches[0].type",
            "message": "unknown type",
            "remedy": "did you mean x?",
        }
        assert (await site.ask(path))[0] == 405


async def test_a_monitor_that_is_stopping_is_unavailable_and_blames_no_configuration(tmp_path):
    async def take():
        await anyio.sleep_forever()

    reloader = Reloader()
    found = []
    async with open_site(
        tmp_path, parts={"reload": reloader.reload}, **with_token(tmp_path)
    ) as site:

        async def ask():
            found.append(await site.ask("/-/reload", "POST", headers=BEARER))

        async with anyio.create_task_group() as tasks:
            async with reloader.running(take):
                tasks.start_soon(ask)  # a reload under way breaks off
                await anyio.sleep(0.1)
            await ask()
        assert len(found) == 2
        for status, problem in found:
            assert (status, problem["title"]) == (503, "Service Unavailable")
            assert "stopping" in problem["detail"]
            assert "errors" not in problem
        described = (await site.get("/api/v1/openapi.json"))["paths"]["/-/reload"]["post"]
        assert "stopping" in described["responses"]["503"]["description"]


DISKS = {"type": "importexport.job", "account": "prod", "jobs": ["EX1ID"]}


def stoppable(directory):
    settings = {
        "store": f"sqlite:///{directory}/state.db",
        "server": {"listen": "127.0.0.1:0", "token_files": [str(token_file(directory))]},
        "accounts": {"prod": {}},
    }
    return Daemon(Settings.model_validate(settings))


async def test_a_watch_that_is_being_added_when_the_daemon_stops_is_added(tmp_path, monkeypatch):
    daemon, stop, watch = stoppable(tmp_path), anyio.Event(), {"name": "more", **DISKS}
    statuses: list[int] = []
    add = SqlStore.add_watch

    async def added_slowly(store, made):
        stop.set()
        await anyio.sleep(0.5)
        return await add(store, made)

    monkeypatch.setattr(SqlStore, "add_watch", added_slowly)

    async def ask(url):
        async with (
            aiohttp.ClientSession(url) as session,
            session.post("/api/v1/watches", headers=BEARER, json=watch) as response,
        ):
            statuses.append(response.status)

    with anyio.fail_after(90):
        async with anyio.create_task_group() as tasks:
            await daemon.run(stop, lambda running: tasks.start_soon(ask, running.url))
    assert statuses == [201]


async def test_a_daemon_that_is_stopping_takes_neither_a_configuration_nor_watches(
    tmp_path, monkeypatch
):
    """What is asked when the pollers have ended, and the server has not."""
    daemon, stop = stoppable(tmp_path), anyio.Event()
    rest = Recorder.rest
    found: list[tuple[int, str]] = []
    urls: list[str] = []

    async def ask(session, method, path, **more):
        async with session.request(method, path, headers=BEARER, **more) as response:
            found.append((response.status, (await response.json(content_type=None))["detail"]))

    async def ask_all(recorder):
        async with aiohttp.ClientSession(urls[0]) as session:
            await ask(session, "POST", "/-/reload")
            await ask(session, "POST", "/api/v1/watches", json={"name": "more", **DISKS})
            await ask(session, "DELETE", "/api/v1/watches/more")
        assert await recorder.store.watches() == []
        await rest(recorder)

    def ready(running):
        urls.append(running.url)
        stop.set()

    monkeypatch.setattr(Recorder, "rest", ask_all)
    with anyio.fail_after(90):
        await daemon.run(stop, ready)
    assert found == [(503, "the monitor is stopping")] * 2 + [
        (404, "no watch of that name was added")
    ]


async def test_what_cannot_be_reloaded_is_not_offered(tmp_path):
    async with open_site(tmp_path, **with_token(tmp_path)) as site:
        assert (await site.ask("/-/reload", "POST", headers=BEARER))[0] == 404
        assert "/-/reload" not in (await site.get("/api/v1/openapi.json"))["paths"]


async def test_the_page_of_a_job_says_what_its_deliveries_wait_for(tmp_path):
    async with open_site(tmp_path) as site:
        await site.record(sinks=("ops",))
        (followed,) = site.live.jobs()

        async def shown():
            async with site.session.get("/job", params={"key": followed.job.key}) as answer:
                assert answer.status == 200
                return await answer.text()

        await site.store.park(model.Parking("ops", T0, "410 Gone"))
        text = await shown()
        assert "waits: the sink is parked" in text
        assert "next try" not in text
        await site.store.resume("ops")
        assert "is due now" in await shown()
        (due,) = await site.store.due("ops", T0 + timedelta(days=1), 10)
        taken = model.Settlement(due, model.DeliveryStatus.DELIVERED, T0)
        await site.store.settle(taken)
        text = await shown()
        assert "delivered" in text
        assert "failed tr" not in text
        assert " UTC" in text
