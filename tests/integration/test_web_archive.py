"""Lists and pages of jobs of which most are in the store alone."""

import html
import re
from base64 import urlsafe_b64encode
from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote

import pytest

from monitor import config
from monitor.model import Ending, Phase
from monitor.stores import archive as archives
from monitor.stores import text_index
from monitor.tools.api_client import open_client
from monitor.web.api import archived_jobs
from monitor.web.page import filters
from tests.contracts.store_examples import T0, job, snapshot
from tests.web_kit import open_site

SORTS = ("key", "changed_at", "first_seen_at", "last_look_at", "state", "phase")
MINUTE = timedelta(minutes=1)


def ended(number, phase=Phase.SUCCEEDED, region="us-east-1", **changed):
    at = T0 + number // 3 * MINUTE
    values = {
        "job": replace(job(number), region=region),
        "state": phase.upper(),
        "parts": {"Status": phase.upper()},
        "phase": phase,
        "ending": Ending.FINAL,
        "ended_at": at,
        "changed_at": at,
        "first_seen_at": at,
        "looked_at": at,
    }
    return snapshot(number, **(values | changed))


def everything():
    """Jobs in two regions: some in memory, most in the store alone."""
    phases = [Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELED]
    for number in range(1, 25):
        region = "eu-west-1" if number % 4 == 0 else "us-east-1"
        reason = "out of disk" if number % 4 == 1 else None
        yield number % 5 == 0, ended(number, phases[number % 3], region, reason=reason)


async def lists(site, query):
    """Return the ids of all pages of a list, and the totals that they told."""
    found, totals, cursor = [], [], ""
    while True:
        page = await site.get(f"/api/v1/jobs?{query}{cursor}")
        found += [one["id"] for one in page["items"]]
        totals.append(page["total"])
        if page["next_cursor"] is None:
            return found, totals
        cursor = f"&cursor={page['next_cursor']}"


async def filled(site):
    """Put jobs into memory and store; return the ids that each query lists if all are in memory."""
    every = list(everything())
    for _, one in every:
        site.live.follow(one, finished=True, polled_at=one.looked_at)
    wanted = {}
    for sort in SORTS:
        for dash in ("", "-"):
            for more in ("", "&phase=failed", "&region=eu-west-1", "&region=x", "&phase=expired"):
                query = f"sort={dash}{sort}&limit=4{more}"
                wanted[query] = (await lists(site, query))[0]
    site.live.followed.clear()
    for live, one in every:
        if live:
            site.live.follow(one, finished=True, polled_at=one.looked_at)
    await site.live.archive(site.store, *(one for live, one in every if not live))
    return wanted


async def test_a_list_is_the_same_wherever_its_jobs_are(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "PLACES_SCANNED", 3)
    async with open_site(tmp_path) as site:
        for query, wanted in (await filled(site)).items():
            found, totals = await lists(site, query)
            assert found == wanted, query
            assert set(totals) == {len(wanted)}, query


async def test_text_is_found_on_some_page_and_a_whole_id_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "TEXTS_SCANNED", 3)
    async with open_site(tmp_path) as site:
        await filled(site)
        found, totals = await lists(site, "q=JOB-1&limit=4&sort=-changed_at")
        assert len(found) == len(set(found))
        assert set(found) == {"job-1", *(f"job-{number}" for number in range(10, 20))}
        assert len(totals) > 3
        first = await site.get("/api/v1/jobs?q=job-7&limit=4&sort=-changed_at")
        assert [one["id"] for one in first["items"]] == ["job-7"]
        labelled, _ = await lists(site, "q=vision&limit=100")
        assert len(labelled) == 24
        assert await lists(site, "q=nothing&limit=4") == ([], [0] * 7)


@pytest.mark.parametrize("most", [text_index.MOST_FOUND, -1])
async def test_every_filter_finds_the_same_wherever_the_jobs_are(tmp_path, monkeypatch, most):
    monkeypatch.setattr(archives, "TEXTS_SCANNED", 5)
    monkeypatch.setattr(text_index, "MOST_FOUND", most)
    middle, last = (T0 + minutes * MINUTE for minutes in (4, 60))
    filters = [
        *("state=FAILED", "state=*ED", "state=FAILED&state=C*", "state=nothing", "state=*&q=ob-2"),
        *(f"changed_since={at:%Y-%m-%dT%H:%M:%SZ}" for at in (T0, middle, last)),
        *(f"changed_before={at:%Y-%m-%dT%H:%M:%SZ}" for at in (T0, middle, last)),
        f"state=FAILED&changed_since={middle:%Y-%m-%dT%H:%M:%SZ}&phase=failed&region=us-east-1",
        *("watch=cameras", "watch=nothing", "reason=DISK", "reason=nothing", "reason=disk&q=ob-1"),
        *("stuck=false", "missing=false&state=CANCELED"),
    ]
    async with open_site(tmp_path) as site:
        await filled(site)
        while await site.store.archive.index_texts():
            pass
        known = {one.job.id: one for one in await site.store.snapshots()}
        known |= {one.job.id: one for _, one in everything()}
        every = [known[name] for name in sorted(known)]
        remembered, live = site.live.remote, dict(site.live.followed)
        for query in (
            f"{each}&sort={sort}&limit=4" for each in filters for sort in ("key", "-state")
        ):
            site.live.remote, site.live.followed = {}, {}
            for one in every:
                site.live.follow(one, finished=True, polled_at=one.looked_at)
            wanted = (await lists(site, query))[0]
            site.live.remote, site.live.followed = remembered, live
            found, totals = await lists(site, query)
            assert found == wanted, query
            if query.startswith("watch"):
                assert set(totals) == {len(wanted)}, query


@pytest.mark.parametrize("indexed", [False, True])
async def test_text_of_any_language_is_found_with_an_index_and_without(tmp_path, indexed):
    async with open_site(tmp_path) as site:
        while indexed and await site.store.archive.index_texts():
            pass
        reasons = ["Überlauf auf der Straße", '100% of "disk" used', None]
        await site.live.archive(
            site.store, *(ended(number, reason=each) for number, each in enumerate(reasons))
        )
        for text, wanted in {
            "ÜBERLAUF": {"job-0"},
            "strasse": set(),
            "STRAßE": {"job-0"},
            "100% OF": {"job-1"},
            '"Disk"': {"job-1"},
            "100_": set(),
            "job-": {"job-0", "job-1", "job-2"},
            "sUcCeEdEd": {"job-0", "job-1", "job-2"},
            "e:vis": set(),
            "team=vis": {"job-0", "job-1", "job-2"},
        }.items():
            found, _ = await lists(site, f"q={quote(text)}")
            assert set(found) == wanted, text
            shown = re.findall(
                r'data-key="[^"]*/(job-\d+)"', await _text(site, f"/?q={quote(text)}")
            )
            assert set(shown) == wanted, text


async def test_the_page_finds_archived_jobs_by_the_name_of_their_watch(tmp_path):
    async with open_site(tmp_path) as site:
        await site.live.archive(site.store, *(ended(number) for number in range(3)))
        page = await _text(site, "/?q=camera")
        assert len(set(re.findall(r'data-key="[^"]*/(job-\d+)"', page))) == 3


async def test_filters_that_no_archived_job_matches_do_not_search_for_them(tmp_path):
    async with open_site(tmp_path) as site:
        await filled(site)
        for query in ("stuck=true", "blind=true", "label=team=other", "type=other.*"):
            assert await lists(site, query) == ([], [0])
        assert len((await lists(site, "label=team=vision"))[0]) == 24


@pytest.mark.parametrize(
    "rank",
    ["1", "[]", '"x", 1', '"x", "y", "z"', "0.5", '1e300, "x"', '-1e15, "x"', '"\\u0000", "x"'],
)
async def test_a_cursor_that_no_page_gave_is_refused(tmp_path, rank):
    async with open_site(tmp_path) as site:
        await filled(site)
        for sort in ("key", "state", "changed_at"):
            made = urlsafe_b64encode(f'["{sort}", {rank}]'.encode()).decode()
            status, problem = await site.ask(f"/api/v1/jobs?sort={sort}&cursor={made}")
            assert status == 400
            assert "cursor" in problem["detail"]


async def test_the_client_reads_on_behind_a_page_without_jobs(tmp_path, monkeypatch):
    monkeypatch.setattr(archived_jobs, "COMPARED", 2)
    async with open_site(tmp_path) as site:
        await site.live.archive(
            site.store,
            *(ended(number) for number in range(8)),
            ended(9, Phase.FAILED),
            ended(10, Phase.FAILED),
        )
        async with open_client(site.url) as client:
            for most in (1, 2, 100):
                found, total = await client.jobs([("state", "FAILED")], most)
                assert [one.id for one in found] == ["job-10", "job-9"][:most]
                assert total >= len(found)


async def test_a_job_that_is_archived_meanwhile_is_listed_once(tmp_path):
    async with open_site(tmp_path) as site:
        for number in range(4):
            site.live.follow(ended(number), finished=True)
        await site.live.archive(site.store, *(ended(number) for number in range(2)))
        for query in ("limit=100", "limit=2", "q=job-1", "state=SUCCEEDED"):
            found, _ = await lists(site, query)
            assert len(found) == len(set(found)), query
        page = await _text(site, "/")
        assert page.count('data-key="panorama') == 4


async def test_odd_text_in_the_address_of_the_page_does_no_harm(tmp_path):
    async with open_site(tmp_path) as site:
        await site.live.archive(site.store, ended(1))
        for text in ("a%00b", "%ED%A0%80", "%ff", "a%0Ab"):
            assert "0 that match" in await _text(site, f"/?q={text}")
            for path in ("watch?name=", "watches?after=", "silences?"):
                async with site.session.get(f"/{path}{text}") as response:
                    assert response.status < 500


async def test_an_archived_job_is_shown_like_any_other(tmp_path):
    async with open_site(tmp_path) as site:
        await filled(site)
        shown = await site.get(f"/api/v1/jobs/{job(1).key}")
        assert (shown["watch"], shown["labels"]) == ("cameras", {"team": "vision"})
        assert (shown["phase"], shown["finished"]) == ("failed", True)
        waited = await site.get(f"/api/v1/jobs/{job(1).key}/wait?timeout=1s")
        assert waited["done"]
        status = await site.get("/api/v1/status")
        assert (status["jobs"], status["phases"]["failed"]) == (24, 8)


async def test_a_job_that_no_watch_follows_is_not_listed(tmp_path):
    async with open_site(tmp_path) as site:
        await site.live.archive(site.store, *(ended(number) for number in range(4)))
        del site.live.remote[job(2)]
        assert (await lists(site, "limit=2"))[0] == ["job-0", "job-1", "job-3"]
        gone = await site.get(f"/api/v1/jobs/{job(2).key}")
        assert gone["watch"] is None


async def test_the_page_shows_archived_jobs_behind_all_others(tmp_path):
    async with open_site(tmp_path) as site:
        site.live.follow(snapshot(99, phase=Phase.RUNNING))
        await site.live.archive(site.store, *(ended(number) for number in range(60)))
        page = await _text(site, "/")
        assert "1-50 of 61" in page
        assert page.index("job-99") < page.index("job-59") < page.index("job-20")
        assert "job-5<" not in page
        second = await _text(site, "/?page=2")
        assert "51-61 of 61" in second
        assert "1-50 of 60 that match, of 61 jobs" in await _text(site, "/?phase=succeeded")
        assert "0 that match, of 61 jobs" in await _text(site, "/?phase=expired")
        assert "0 that match, of 61 jobs" in await _text(site, "/?is=stuck")
        assert "1-1 of 1 that match" in await _text(site, "/?q=job-42")
        assert "SUCCEEDED" in await _text(site, f"/job?key={job(3).key}")


@pytest.mark.parametrize(
    "query", ["", "sort=age&order=desc", "phase=succeeded", "q=job", "sort=phase"]
)
async def test_the_page_leads_to_every_archived_job_once(tmp_path, monkeypatch, query):
    monkeypatch.setattr(filters, "MOST_ARCHIVED", 100)
    async with open_site(tmp_path) as site:
        site.live.follow(snapshot(999, phase=Phase.RUNNING))
        await site.live.archive(site.store, *(ended(number) for number in range(231)))
        pages, address = [], f"/?{query}"
        while address:
            page = await _text(site, address)
            pages.append(re.findall(r'data-key="[^"]*/(job-\d+)"', page))
            onward = re.search(r'rel="next" href="([^"]+)"', page)
            address = html.unescape(onward[1]) if onward else ""
            assert len(pages) < 10
        found = [one for page in pages for one in page if one != "job-999"]
        assert len(found) == len(set(found)) == 231
        assert max(map(len, pages)) == 50
        if query != "sort=phase":
            newest_first = sorted(found, key=lambda one: -(int(one[4:]) // 3))
            down = query.startswith("sort=age")
            assert [int(one[4:]) // 3 for one in found] == [
                int(one[4:]) // 3 for one in (reversed(newest_first) if down else newest_first)
            ]


async def test_a_cursor_that_the_page_did_not_give_leads_to_its_first_jobs(tmp_path):
    async with open_site(tmp_path) as site:
        await site.live.archive(site.store, *(ended(number) for number in range(3)))
        for cursor in ("x", "WyJ4Il0", "-1"):
            assert "3 older, of 3 ended jobs</p>" in await _text(site, f"/?after={cursor}")


async def test_the_page_of_a_watch_counts_and_shows_its_archived_jobs(tmp_path):
    cameras = config.Watch(
        name="cameras", type=job(1).type, account="prod", regions=["us-east-1"], discover=True
    )
    async with open_site(tmp_path, parts={"watches": lambda _: Watches(cameras)}) as site:
        site.live.follow(snapshot(999, phase=Phase.RUNNING))
        await site.live.archive(site.store, *(ended(number) for number in range(60)))
        assert re.search(r">61<span[^<]*> jobs of cameras", await _text(site, "/watches"))
        shown, address = [], "/watch?name=cameras&span=7d"
        while address:
            page = await _text(site, address)
            assert ">61 jobs<" in page
            shown.append(re.findall(r'data-key="[^"]*/(job-\d+)"', page))
            onward = re.search(r'rel="next" href="([^"]+)"', page)
            address = html.unescape(onward[1]) if onward else ""
        assert [len(page) for page in shown] == [25, 25, 11]
        assert len({one for page in shown for one in page}) == 61
        assert ">SUCCEEDED" in page


class Watches:
    """The watches of a configuration."""

    def __init__(self, *watches):
        self._own = watches

    def own(self):
        return self._own

    async def all(self):
        return ()

    def waited(self, watch):
        pass


async def _text(site, path):
    async with site.session.get(path) as response:
        assert response.status == 200
        return (await response.text()).replace("\N{EN DASH}", "-")
