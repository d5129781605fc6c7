"""The read side of the HTTP API on a real socket, over a real store."""

import fnmatch
import time
from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote

import anyio
import orjson
import pytest

from monitor import model
from monitor.config import Settings
from monitor.errors import PollReason
from monitor.model import Phase
from monitor.web.api.schemas import ListingView, SourceView
from tests.contracts.store_examples import T0, dead, delivered, snapshot
from tests.page_kit import replica
from tests.web_kit import KEY, Live, open_site

PANORAMA = model.SourceKey("panorama", "prod", "us-east-1")


async def keys(site, query=""):
    return [one["id"] for one in (await site.get(f"/api/v1/jobs{query}"))["items"]]


async def test_jobs_are_listed_as_they_stand(tmp_path):
    async with open_site(tmp_path) as site:
        await site.record(1, state="RUNNING")
        live = site.live.followed
        live[KEY.format(1)] = live[KEY.format(1)]._replace(failing=PollReason.AUTH)
        listed = await site.get("/api/v1/jobs")
        assert listed["total"] == 1
        assert listed["next_cursor"] is None
        (job,) = listed["items"]
        assert job["key"] == KEY.format(1)
        assert (job["state"], job["phase"], job["severity"]) == ("RUNNING", "running", "info")
        assert job["changed_at"] == "2026-03-01T12:00:00.000Z"
        assert job["next_look_at"] == "2026-03-01T12:00:30.000Z"
        assert (job["interval"], job["failing"]) == (30.0, "auth")
        assert (job["watch"], job["labels"]) == ("cameras", {"team": "vision"})


async def test_a_job_that_aws_has_not_shown_yet_is_listed_too(tmp_path):
    async with open_site(tmp_path) as site:
        unseen = site.live.follow(snapshot(1))
        site.live.followed[unseen.job.key] = unseen._replace(snapshot=None)
        (job,) = (await site.get("/api/v1/jobs?phase=unknown"))["items"]
        assert (job["state"], job["phase"], job["sequence"]) == (None, "unknown", 0)


async def test_every_filter_of_jobs_chooses(tmp_path):
    async with open_site(tmp_path) as site:
        site.live.follow(snapshot(1, phase=Phase.FAILED, reason="Disk Full"), labels={"team": "a"})
        site.live.follow(snapshot(2, phase=Phase.WAITING), stuck=True)
        site.live.follow(snapshot(3, missing=True), blind=True)
        other = snapshot(4)
        site.live.follow(other.replace(job=model.Job("importexport.job", "lab", "eu-west-1", "X")))
        for query, expected in {
            "": ["X", "job-1", "job-2", "job-3"],
            "?q=disk%20full": ["job-1"],
            "?q=TEAM:A": ["job-1"],
            "?q=job-": ["job-1", "job-2", "job-3"],
            "?type=panorama.*&q=job-2": ["job-2"],
            "?type=importexport.job": ["X"],
            "?account=lab": ["X"],
            "?region=eu-west-1": ["X"],
            "?phase=failed&phase=waiting": ["job-1", "job-2"],
            "?label=team=a": ["job-1"],
            "?label=team%3Da": ["job-1"],
            "?label=team:a": ["job-1"],  # as it was written formerly
            "?label=team=a&label=team=b": [],
            "?stuck=true": ["job-2"],
            "?stuck=false": ["X", "job-1", "job-3"],
            "?missing=true": ["job-3"],
            "?blind=true": ["job-3"],
            "?sort=-key": ["job-3", "job-2", "job-1", "X"],
            "?sort=phase&limit=1": ["job-1"],
        }.items():
            assert await keys(site, query) == expected, query


@pytest.mark.parametrize("sort", ["key", "-key", "changed_at", "-changed_at", "-phase", "state"])
async def test_pages_of_jobs_show_each_one_once(tmp_path, sort):
    async with open_site(tmp_path) as site:
        for number in range(25):
            changed = T0 + timedelta(seconds=number % 3)
            site.live.follow(snapshot(number, changed_at=changed, state=f"S{number % 4}"))
        seen, cursor, pages = [], "", 0
        while True:
            page = await site.get(f"/api/v1/jobs?sort={sort}&limit=7{cursor}")
            assert page["total"] == 25
            seen += [one["id"] for one in page["items"]]
            pages += 1
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert pages == 4
        assert sorted(seen) == sorted(f"job-{number}" for number in range(25))
        assert seen == await keys(site, f"?sort={sort}&limit=500")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("jobs?limit=0", "limit"),
        ("jobs?limit=501", "limit"),
        ("jobs?limit=x", "limit"),
        ("jobs?phase=bad", "phase.0"),
        ("jobs?phase=failed&phase=bad", "phase.1"),
        ("jobs?label=team", "label.0"),
        (f"jobs?type={'*a' * 128}*", "type"),
        (f"transitions?kind=job.*&kind={'*' * 257}", "kind.1"),
        ("transitions?" + "&".join(["kind=job.*"] * 33), "kind"),
        (f"events?kind={'[' * 257}", "kind.0"),
        ("jobs?stuck=perhaps", "stuck"),
        ("jobs?sort=size", "sort"),
        ("jobs?q=a&q=b", "q"),
        ("jobs?q=%00", "q"),
        ("jobs?cursor=!!", "cursor"),
        ("jobs?cursor=AAAA", "cursor"),
        ("jobs?cursor=WyJrZXkiLDVd", "cursor"),
        ("jobs?sort=state&cursor=WyJrZXkiLCJhIl0", "cursor"),
        ("transitions?after=-1", "after"),
        ("transitions?after=9223372036854775808", "after"),
        ("transitions?since=yesterday", "since"),
        ("transitions?since=2026-03-01T12:00:00", "since"),
        ("deliveries?status=lost", "status"),
        ("deliveries?cursor=x", "cursor"),
        ("deliveries?cursor=99999999999999999999", "cursor"),
        ("events?after=x", "after"),
        (KEY.format(1).join(["jobs/", "/wait?timeout=11m"]), "timeout"),
        (KEY.format(1).join(["jobs/", "/wait?timeout=0s"]), "timeout"),
        (KEY.format(1).join(["jobs/", "/wait?for=ever"]), "for"),
    ],
)
async def test_a_malformed_question_is_refused_by_name(tmp_path, path, name):
    async with open_site(tmp_path) as site:
        await site.record(1)
        await site.record(2)
        status, problem = await site.ask(f"/api/v1/{path}")
        assert status == 400
        assert [each["name"] for each in problem["errors"]] == [name]
        assert problem["detail"].startswith(f"{name} ")


@pytest.mark.parametrize("job_id", ["plain", "a/b", "a/wait", "wait", "a%2Fb", "ä ö", "a+b", "x?y"])
async def test_a_job_is_shown_by_its_key_whatever_its_id(tmp_path, job_id):
    async with open_site(tmp_path) as site:
        job = model.Job("panorama.package-import", "prod", "us-east-1", job_id)
        site.live.follow(snapshot(1).replace(job=job))
        whole = await site.get("/api/v1/jobs/" + quote(job.key, safe=""))
        assert whole["id"] == job_id
        waited = await site.get(f"/api/v1/jobs/{quote(job.key, safe='')}/wait?for=change&after=0")
        assert (waited["done"], waited["job"]["id"]) == (True, job_id)
        if job_id == "a/b":
            assert await site.get(f"/api/v1/jobs/{job.key}") == whole


async def test_a_job_shows_the_window_of_its_last_change(tmp_path):
    async with open_site(tmp_path) as site:
        await site.record(1)
        shown = await site.get(f"/api/v1/jobs/{KEY.format(1)}")
        assert shown["window"] == {"after": None, "before": "2026-03-01T12:00:00.000Z"}


async def test_a_job_that_no_watch_follows_any_more_is_still_shown(tmp_path):
    async with open_site(tmp_path) as site:
        await site.record(1, state="DONE")
        del site.live.followed[KEY.format(1)]
        shown = await site.get(f"/api/v1/jobs/{KEY.format(1)}")
        assert (shown["state"], shown["watch"], shown["finished"]) == ("DONE", None, True)
        assert await keys(site) == []


async def test_a_job_that_no_watch_follows_any_more_has_not_ended_by_that(tmp_path):
    async with open_site(tmp_path) as site:
        await site.record(1, state="RUNNING")
        del site.live.followed[KEY.format(1)]
        waited = await site.get(f"/api/v1/jobs/{KEY.format(1)}/wait?timeout=100ms")
        assert (waited["done"], waited["job"]["state"]) == (False, "RUNNING")
        assert KEY.format(1) in site.live.waited_for
        await site.record(1, 2, phase=Phase.SUCCEEDED)
        del site.live.followed[KEY.format(1)]
        assert (await site.get(f"/api/v1/jobs/{KEY.format(1)}/wait"))["done"] is True


@pytest.mark.parametrize(
    "key", ["x", KEY.format(9), "a/b/c/d/e", "%00", "a/%00", "%ff", "%ED%A0%80"]
)
async def test_an_unknown_job_is_a_problem(tmp_path, key):
    async with open_site(tmp_path) as site:
        await site.record(1)
        assert (await site.ask(f"/api/v1/jobs/{key}"))[0] == 404
        assert (await site.ask(f"/api/v1/jobs/{key}/wait"))[0] == 404


async def test_transitions_are_read_on_from_a_position(tmp_path):
    async with open_site(tmp_path) as site:
        for number in (1, 2):
            for sequence in (1, 2, 3):
                await site.record(number, sequence)
        await site.record_source()
        first = await site.get("/api/v1/transitions?limit=4")
        assert [one["position"] for one in first["items"]] == [1, 2, 3, 4]
        assert first["items"][0]["event"]["data"]["job"]["key"] == KEY.format(1)
        rest = await site.get(f"/api/v1/transitions?after={first['next_after']}")
        assert [one["position"] for one in rest["items"]] == [5, 6, 7]
        again = await site.get(f"/api/v1/transitions?after={rest['next_after']}")
        assert again == {"items": [], "next_after": 7}


async def test_transitions_are_filtered_and_what_does_not_fit_is_searched_once(tmp_path):
    async with open_site(tmp_path) as site:
        for number in (1, 2):
            for sequence in (1, 2):
                await site.record(number, sequence)
        await site.record_source()
        for query, expected, onward in [
            (f"job={KEY.format(1)}", [1, 2], 5),
            (f"job={KEY.format(1)}&limit=1", [1], 1),
            (f"job={PANORAMA.key}", [5], 5),
            ("kind=source.*", [5], 5),
            ("kind=job.missing&kind=source.unavailable", [5], 5),
            ("kind=nothing", [], 5),
            ("since=2026-03-01T12:00:00Z", [1, 2, 3, 4, 5], 5),
            ("since=2026-03-01T13:00:01%2B01:00", [], 5),
            ("since=1ms", [], 5),
            ("after=4", [5], 5),
            ("after=99", [], 99),
        ]:
            found = await site.get(f"/api/v1/transitions?{query}")
            assert [one["position"] for one in found["items"]] == expected, query
            assert found["next_after"] == onward, query


async def test_deliveries_are_listed_by_pages_and_filters(tmp_path):
    async with open_site(tmp_path) as site:
        for number in range(1, 6):
            await site.record(number, sinks=("ops", "audit"))
        due = await site.store.due("ops", T0 + timedelta(days=1), 10)
        await site.store.settle(dead(due[0], error="HTTP 400"))
        await site.store.settle(delivered(due[1]))
        first = await site.get("/api/v1/deliveries?sink=ops&limit=3")
        rest = await site.get(f"/api/v1/deliveries?sink=ops&cursor={first['next_cursor']}")
        assert len(first["items"]) == 3
        assert [len(rest["items"]), rest["next_cursor"]] == [2, None]
        numbers = [one["id"] for one in first["items"] + rest["items"]]
        assert numbers == sorted(numbers, reverse=True)
        (lost,) = (await site.get("/api/v1/deliveries?status=dead"))["items"]
        assert (lost["sink"], lost["last_error"], lost["attempts"]) == ("ops", "HTTP 400", 1)
        assert lost["job"] == due[0].key
        of_job = await site.get(f"/api/v1/deliveries?job={KEY.format(3)}")
        assert {one["sink"] for one in of_job["items"]} == {"ops", "audit"}


async def test_sinks_say_what_waits_and_why_nothing_goes(tmp_path):
    settings = {"sinks": {"ops": {"type": "log"}, "audit": {"type": "log"}}}
    async with open_site(tmp_path, Live(Settings.model_validate(settings))) as site:
        await site.record(1, sinks=("ops",))
        await site.store.park(model.Parking("ops", T0, "410 Gone"))
        ops, audit = (await site.get("/api/v1/sinks"))["items"]
        assert (ops["name"], ops["pending"], ops["parked"]) == ("ops", 1, True)
        assert (ops["parked_reason"], ops["oldest_pending_at"]) == (
            "410 Gone",
            "2026-03-01T12:00:00.000Z",
        )
        assert (audit["pending"], audit["dead"], audit["parked"]) == (0, 0, False)


async def test_sources_say_whether_aws_can_be_seen(tmp_path):
    async with open_site(tmp_path) as site:
        site.live.seen_sources = [
            SourceView(
                service=PANORAMA.service,
                account=PANORAMA.account,
                region=PANORAMA.region,
                available=False,
                up=False,
                last_success_at=T0,
                last_failure_at=T0,
                last_failure="auth",
                last_failure_code="ExpiredToken",
                last_failure_hint="renew it",
                rate=0.51234,
                configured_rate=2.0,
                request_rate=0.25049,
                jobs=7,
                listings=[
                    ListingView(
                        type="t",
                        complete=False,
                        last_complete_at=T0,
                        last_failure="transient",
                        last_failure_code="InternalError",
                        last_failure_hint="wait",
                    )
                ],
            )
        ]
        (source,) = (await site.get("/api/v1/sources"))["items"]
        assert (source["available"], source["up"], source["jobs"]) == (False, False, 7)
        assert (source["last_failure"], source["last_failure_hint"]) == ("auth", "renew it")
        assert (source["rate"], source["configured_rate"]) == (0.512, 2.0)
        assert source["request_rate"] == 0.25
        assert source["listings"] == [
            {
                "type": "t",
                "complete": False,
                "last_complete_at": "2026-03-01T12:00:00.000Z",
                "last_failure": "transient",
                "last_failure_code": "InternalError",
                "last_failure_hint": "wait",
            }
        ]


async def test_the_configuration_is_shown_without_secrets(tmp_path):
    sink = {"type": "webhook", "url": "https://x.example/c4nAry", "headers": {"X": "c4nAry"}}
    live = Live(Settings.model_validate({"sinks": {"ops": sink}}))
    async with open_site(tmp_path, live) as site:
        shown = await site.get("/api/v1/config")
        assert shown["sinks"]["ops"]["url"] == "https://x.example/…"
        assert "c4nAry" not in str(shown)


async def test_the_status_counts(tmp_path):
    async with open_site(tmp_path) as site:
        await site.record(1)
        site.live.follow(snapshot(2, phase=Phase.FAILED), stuck=True)
        site.live.refused = ["watches: bad"]
        status = await site.get("/api/v1/status")
        assert (status["version"], status["jobs"], status["position"]) == ("1.2.3", 2, 1)
        assert (status["phases"]["failed"], status["phases"]["expired"]) == (1, 0)
        assert (status["stuck"], status["config_last_reload_successful"]) == (1, False)


async def test_replicas_are_listed_with_what_they_own(tmp_path):
    async with open_site(tmp_path) as site:
        assert (await site.get("/api/v1/replicas"))["items"] == []
        owned = {"owned_sources": ["panorama/prod/us-east-1"], "owned_sinks": ["ops"]}
        site.live.members = [replica("pod-a", own=True, **owned), replica("pod-b", alive=False)]
        first, second = (await site.get("/api/v1/replicas"))["items"]
        assert (first["name"], first["own"], first["alive"]) == ("pod-a", True, True)
        assert owned.items() <= first.items()
        assert (second["alive"], second["connected"], second["owned_sinks"]) == (False, True, [])


GETS = [
    *("jobs", "transitions", "deliveries", "sinks", "sources", "replicas"),
    *("config", "status", "openapi.json"),
]


@pytest.mark.parametrize("path", [*GETS, f"jobs/{KEY.format(1)}"])
async def test_what_a_client_has_already_is_not_sent_again(tmp_path, path):
    async with open_site(tmp_path) as site:
        await site.record(1)
        async with site.session.get(f"/api/v1/{path}") as response:
            assert response.status == 200
            assert response.headers["Cache-Control"] == "no-cache"
            tag = response.headers["ETag"]
            body = await response.read()
        for known in (tag, f'"other", {tag}', f"W/{tag}"):
            headers = {"If-None-Match": known}
            assert (await site.ask(f"/api/v1/{path}", headers=headers))[0] == 304
        headers = {"If-None-Match": '"other"'}
        assert await site.ask(f"/api/v1/{path}", headers=headers) == (200, orjson.loads(body))
        assert (await site.ask(f"/api/v1/{path}", "HEAD"))[0] == 200


async def test_a_change_changes_the_etag(tmp_path):
    async with open_site(tmp_path) as site:
        await site.record(1)
        async with site.session.get("/api/v1/jobs") as response:
            headers = {"If-None-Match": response.headers["ETag"]}
        await site.record(1, 2, state="DONE", phase=Phase.SUCCEEDED)
        status, value = await site.ask("/api/v1/jobs", headers=headers)
        assert (status, value["items"][0]["state"]) == (200, "DONE")


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v1", "/api/v1/nothing", "/api/v2/jobs"])
async def test_an_unknown_path_of_the_api_is_a_problem(tmp_path, path):
    async with open_site(tmp_path) as site:
        status, problem = await site.ask(path)
        assert (status, problem["title"]) == (404, "Not Found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_another_method_is_a_problem_and_names_those_that_can_be_used(tmp_path, method):
    async with open_site(tmp_path) as site, site.session.request(method, "/api/v1/jobs") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET,HEAD"
        assert (await answer.json(content_type="application/problem+json"))["status"] == 405


async def test_a_failure_of_the_store_is_told_without_its_details(tmp_path, caplog):
    async with open_site(tmp_path) as site:
        site.store._commits.fail("postgresql://u:c4nAry@host is gone")
        status, problem = await site.ask("/api/v1/transitions")
        assert status == 503
        assert "c4nAry" not in str(problem)


async def test_a_failure_of_our_own_is_told_without_its_details(tmp_path, monkeypatch):
    async with open_site(tmp_path) as site:
        monkeypatch.setattr(site.live, "jobs", lambda: [None])
        status, problem = await site.ask("/api/v1/jobs")
        assert status == 500
        assert "NoneType" not in str(problem)


HOSTILE = [
    "*a" * 128,
    "*?" * 128,
    "[" * 256,
    "[!b]*" * 51,
    f"*{'[ab]' * 63}c",
    f"*{'a' * 254}b",
    f"{'*' * 255}b",
]


@pytest.mark.parametrize("glob", HOSTILE)
async def test_a_hostile_glob_of_the_length_that_is_permitted_delays_nobody(tmp_path, glob):
    async with open_site(tmp_path) as site:
        for number in range(2000):
            one = snapshot(number)
            site.live.follow(one.replace(job=replace(one.job, type="a" * 200, id=str(number))))
        late: list[float] = []

        async def watch():
            while True:
                before = time.process_time()  # what other processes take does not count
                await anyio.sleep(0.01)
                late.append(time.process_time() - before)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            asked = {"limit": "1"}
            found = await site.get("/api/v1/jobs", params={"type": glob, **asked})
            await site.get("/api/v1/transitions", params={"kind": [glob] * 9, **asked})
            await anyio.sleep(0.05)  # the watcher tells of the last delay too
            tasks.cancel_scope.cancel()
        assert found["total"] == (2000 if fnmatch.fnmatchcase("a" * 200, glob) else 0)
        assert max(late) < 1.0


async def test_globs_that_are_asked_for_are_not_kept(tmp_path):
    async with open_site(tmp_path) as site:
        await site.record(1)
        kept = fnmatch._compile_pattern.cache_info().currsize  # type: ignore[attr-defined]
        for number in range(20):
            found = await site.get(f"/api/v1/jobs?type=*{number}")
            assert found["total"] == 0
            await site.get(f"/api/v1/transitions?kind=*{number}")
        assert (await site.get("/api/v1/jobs?type=*import"))["total"] == 1
        assert fnmatch._compile_pattern.cache_info().currsize == kept  # type: ignore[attr-defined]


async def test_the_description_says_how_long_a_glob_may_be(tmp_path):
    async with open_site(tmp_path) as site:
        paths = (await site.get("/api/v1/openapi.json"))["paths"]

        def schema(path, name):
            parameters = paths[path]["get"]["parameters"]
            return next(each["schema"] for each in parameters if each["name"] == name)

        assert schema("/api/v1/jobs", "type")["maxLength"] == 256
        for path in ("/api/v1/transitions", "/api/v1/events"):
            assert schema(path, "kind")["maxItems"] == 32
            assert schema(path, "kind")["items"]["maxLength"] == 256


async def test_those_who_ask_for_all_jobs_go_through_them_one_at_a_time(tmp_path, monkeypatch):
    inside, most, calls = [], [], []

    def slowly():
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()
        calls.append(1)
        return []

    async with open_site(tmp_path) as site:
        monkeypatch.setattr(site.live, "jobs", slowly)
        async with anyio.create_task_group() as tasks:
            for path in ("/api/v1/jobs", "/api/v1/status") * 5:
                tasks.start_soon(site.get, path)
    assert len(calls) == 10
    assert max(most) == 1
