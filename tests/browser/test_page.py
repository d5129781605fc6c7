"""The page in a real browser, over a real ledger, with jobs that a test chooses."""

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import bcrypt
import pytest
from axe_playwright_python.async_playwright import Axe

from monitor import model
from monitor.model import Phase, StoreOutage
from monitor.stores.store import open_store
from monitor.web.auth import Guard
from monitor.web.notifier import News
from monitor.web.page.rendering import POLICY
from monitor.web.web_config import WebConfigFile
from tests.browser.chromium import DESKTOP, PHONE, tab
from tests.page_kit import NOW, FixedClock, Live, entry, followed, replica, showing, sink, source

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("browser"),
]

EVIL = '<script>document.title="pwned";alert(1)</script><img src=x onerror=alert(2)>'

NO_ROUNDS = "() => { for (let timer = setInterval(() => {}); timer; timer--) clearInterval(timer) }"
"""Ends what the page does from time to time, so that events alone move it."""


ROUND = "() => { document.dispatchEvent(new Event('visibilitychange')) }"
"""Lets the page fetch itself again, as it does from time to time."""


class Site:
    """A page, its ledger, and what makes it live."""

    def __init__(self, url, live, ledger, news):
        self.url = url
        self.live = live
        self.ledger = ledger
        self.news = news

    async def change(self, before, after):
        """Let a job change, as the daemon would: first in the ledger, then in what is told."""
        made = entry(after)
        assert await self.ledger.record(
            replace(
                made,
                expected=before.snapshot.sequence,
                transitions=made.transitions[before.snapshot.sequence :],
                sinks=made.sinks[before.snapshot.sequence :],
            )
        )
        at = self.live.followed.index(before)
        self.live.followed[at] = after
        self.news.tell(after.job.key)


@asynccontextmanager
async def site(directory, jobs, *, guard=None, parts=None, **live):
    """Serve a page of ``jobs``, with their history in a ledger."""
    state, news = Live(jobs, **live), News()
    async with open_store(f"sqlite://{directory}/state.db", FixedClock()) as ledger:
        async with anyio.create_task_group() as tasks:
            for job in jobs:
                if job.snapshot:
                    tasks.start_soon(ledger.record, entry(job))
        async with showing(state, ledger, news, guard=guard, **(parts or {})) as url:
            yield Site(url, state, ledger, news)


def mixed():
    """Jobs in every condition."""
    return [
        followed(1, Phase.RUNNING, sequence=3, labels={"team": "vision"}),
        followed(2, Phase.WAITING, changed=7200, stuck=True, labels={"team": "storage"}),
        followed(3, Phase.FAILED, sequence=2, reason="The archive has no descriptor."),
        followed(4, Phase.SUCCEEDED, sequence=4),
        followed(5, Phase.RUNNING, blind=True, failing="transient"),
        followed(6, Phase.RUNNING, missing=True),
        followed(7, Phase.CANCELED, sequence=2),
        followed(8, Phase.EXPIRED, sequence=2),
        replace(followed(9), snapshot=None, polled_at=None),
    ]


def trouble():
    """Sources and sinks with something the matter."""
    return {
        "sources": [
            source(),
            source("importexport", available=False, up=False, last_failure="unavailable", rate=0.2),
        ],
        "sinks": [sink(), sink("chat", last_error="HTTP 410 Gone", last_error_at=NOW)],
        "refused": ["job-monitor.yaml:3: watches: unknown key"],
    }


async def test_a_change_appears_without_reloading(tmp_path):
    before = followed(1)
    after = followed(1, Phase.FAILED, changed=0, sequence=2, reason="It broke.")
    async with site(tmp_path, [before]) as here, tab(here.url) as shown:
        await shown.live()
        await shown.page.evaluate("window.sameDocument = true")
        await shown.page.evaluate(NO_ROUNDS)
        assert "nothing stuck" in await shown.text("#summary")
        await here.change(before, after)
        await shown.until("document.querySelector('.jobs .state').innerText.includes('It broke.')")
        assert (await shown.text("#summary")).startswith("1 failed")
        assert await shown.text(".tile.is-failed .many") == "1"
        verdict = " ".join((await shown.text("#summary")).split())
        title = await shown.page.title()
        assert await shown.text("#said") == verdict == title.split(" \N{EN DASH} ")[0]
        assert await shown.page.evaluate("window.sameDocument")


async def test_a_new_job_appears_at_its_place_and_focus_and_filter_stay(tmp_path):
    jobs = [followed(1, changed=300), followed(2, changed=200)]
    async with site(tmp_path, jobs) as here, tab(f"{here.url}/?q=job") as shown:
        await shown.live()
        await shown.page.focus(".jobs tr[data-key$='job-1'] a")
        new = followed(3, changed=1)
        await here.ledger.record(entry(new))
        here.live.followed.append(new)
        here.news.tell(new.job.key)
        await shown.until("document.querySelectorAll('.jobs tbody tr').length === 3")
        assert await shown.jobs() == ["job-3", "job-2", "job-1"]
        assert await shown.page.evaluate("document.activeElement.innerText") == "job-1"
        await here.change(jobs[0], followed(1, Phase.FAILED, changed=0, sequence=2))
        await shown.until("document.querySelector('.jobs tbody tr.is-failed:first-child')")
        assert await shown.jobs() == ["job-1", "job-3", "job-2"]
        assert await shown.page.evaluate("document.activeElement.innerText") == "job-1"
        assert await shown.page.input_value("[name=q]") == "job"


async def test_the_page_says_when_it_is_live_no_more_and_is_again(tmp_path):
    async with site(tmp_path, [followed(1)]) as here, tab(here.url) as shown:
        await shown.live()
        await shown.page.context.set_offline(True)
        here.news.close()  # what is open ends; nothing new can be opened
        await shown.page.wait_for_selector("#lost", state="visible")
        assert "The live connection is lost" in await shown.text("#lost")
        here.news.closed = False
        await shown.page.context.set_offline(False)
        await shown.live()
        assert await shown.page.is_hidden("#lost")
        shown.complaints.clear()  # a browser says that it was offline


class _Lost:
    """In the place of what connects again: an outage that a test begins and ends."""

    def __init__(self, outage):
        self.outage = outage

    def committed(self):
        """Whoever asks whether the store is there does not end the outage."""


async def test_the_page_says_when_the_store_is_lost_and_shows_itself_again(tmp_path):
    outage = StoreOutage(datetime(2026, 3, 1, 11, 58, tzinfo=UTC), "store postgresql://db/x: gone")
    async with site(tmp_path, [followed(1)]) as here, tab(here.url) as shown:
        await shown.live()
        assert await shown.page.is_hidden("[data-live=store]")
        here.ledger._reconnection = _Lost(outage)
        await shown.page.evaluate(ROUND)
        await shown.page.wait_for_selector("[data-live=store]", state="visible")
        text = await shown.text("[data-live=store]")
        assert "The store cannot be reached since" in text
        assert "store postgresql://db/x: gone" in text
        assert await shown.jobs() == ["job-1"]
        async with tab(here.url) as other:
            assert await other.text("h1") == "The store cannot be reached"
            here.ledger._reconnection = None
            await other.page.wait_for_selector(".jobs tbody tr")
            other.complaints.clear()  # a browser says that it got a 503
        await shown.page.evaluate(ROUND)
        await shown.page.wait_for_selector("[data-live=store]", state="hidden")
        shown.complaints.clear()


async def test_filters_work_while_typing_and_the_address_can_be_shared(tmp_path):
    async with site(tmp_path, mixed()) as here:
        async with tab(here.url) as shown:
            await shown.page.keyboard.press("/")
            await shown.page.keyboard.type("descriptor")
            await shown.until("document.querySelectorAll('.jobs tbody tr').length === 1")
            assert await shown.jobs() == ["job-3"]
            address = shown.page.url
            assert address.endswith("/?q=descriptor")
        async with tab(address) as shown:
            assert await shown.jobs() == ["job-3"]
            await shown.page.click("text=Clear")
            await shown.until("document.querySelectorAll('.jobs tbody tr').length === 9")


async def test_filters_work_without_javascript(tmp_path):
    wanted = {
        "phase=failed": {3},
        "is=stuck": {2},
        "is=blind": {5},
        "is=missing": {6},
        "label=team": {1, 2},
        "label=team%3Dvision": {1},
        "type=importexport.job": set(),
        "type=panorama.package-import&phase=waiting": {2},
        "q=JOB-4": {4},
        "phase=nonsense&is=nonsense&page=-3": set(range(1, 10)),
    }
    async with site(tmp_path, mixed()) as here, tab(java_script_enabled=False) as shown:
        for query, numbers in wanted.items():
            await shown.page.goto(f"{here.url}/?{query}")
            assert set(await shown.jobs()) == {f"job-{number}" for number in numbers}, query


async def test_the_form_filters_without_javascript(tmp_path):
    async with (
        site(tmp_path, mixed()) as here,
        tab(here.url, java_script_enabled=False) as shown,
    ):
        await shown.page.select_option("[name=phase]", "expired")
        await shown.page.click("text=Filter")
        assert await shown.jobs() == ["job-8"]


async def test_what_needs_somebody_stands_first(tmp_path):
    old = followed(20, Phase.FAILED, changed=3 * 86400, sequence=2)
    async with site(tmp_path, [*mixed(), old]) as here, tab(here.url) as shown:
        jobs = await shown.jobs()
    assert set(jobs[:5]) == {"job-2", "job-3", "job-5", "job-6", "job-8"}
    assert jobs[-1] == "job-20"


async def test_many_jobs_come_in_pages(tmp_path):
    jobs = [followed(number, changed=number) for number in range(1, 121)]
    async with site(tmp_path, jobs) as here, tab(here.url) as shown:
        assert len(await shown.jobs()) == 50
        assert "1\N{EN DASH}50 of 120 jobs" in await shown.text(".count")
        for page in (2, 3):
            await shown.page.click("[rel=next]")
            await shown.page.wait_for_url(f"**/?page={page}")
        assert await shown.jobs() == [f"job-{number}" for number in range(101, 121)]
        assert shown.page.url.endswith("/?page=3")


async def test_stuck_missing_and_blind_are_three_things(tmp_path):
    async with site(tmp_path, mixed()) as here, tab(here.url) as shown:
        words = {
            number: await shown.text(f".jobs tr[data-key$='job-{number}'] .state .chip")
            for number in (2, 5, 6)
        }
        icons = await shown.page.eval_on_selector_all(
            ".jobs .state .chip use", "all => new Set(all.map(use => use.href.baseVal)).size"
        )
    assert words == {2: "stuck", 5: "stale", 6: "missing"}
    assert icons == 3


async def test_banners_tell_a_refused_reload_and_a_source_that_cannot_be_seen(tmp_path):
    async with site(tmp_path, mixed(), **trouble()) as here, tab(here.url) as shown:
        await shown.live()
        refused, unseen = await shown.page.locator("[data-live=head] .banner").all_inner_texts()
        assert "The last reload was refused" in refused
        assert "job-monitor.yaml:3: watches: unknown key" in refused
        assert unseen.startswith("importexport/prod/us-east-1 is unreachable.")
        assert "1 of 2 sources is unreachable" in await shown.text("#summary")
        here.live.refused, here.live.seen = (), [source()]
        here.news.tell("anything")
        await shown.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await shown.until("!document.querySelector('[data-live=head] .banner')")


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE])
async def test_replicas_come_and_go_on_an_open_page(tmp_path, viewport):
    jobs, owned = mixed(), [f"batch/prod/eu-central-{n}" for n in range(12)]
    three = [
        replica("job-monitor-6f9c7d5b8-x2x7q", own=True, upkeep=True, owned_sources=owned),
        replica("job-monitor-6f9c7d5b8-k9z4w", owned_sinks=["ops"], generation="0f0f0f0f0f0f"),
        replica("job-monitor-6f9c7d5b8-p3m8n", alive=False, connected=False),
    ]
    async with site(tmp_path, jobs) as here, tab(here.url, viewport=viewport) as shown:
        await shown.live()
        assert await shown.page.locator("#replicas-title").count() == 0
        here.live.members = three
        here.live.told = [sink(replica=three[1].name)]
        await shown.page.evaluate(ROUND)
        await shown.page.wait_for_selector("#replicas-title")
        states = await shown.page.locator(
            "[data-key^='replica:'] td:nth-child(2)"
        ).all_inner_texts()
        assert [one.strip() for one in states] == ["alive", "alive", "gone"]
        (banner,) = await shown.page.locator("[data-live=head] .banner").all_inner_texts()
        assert banner.strip().startswith("The replicas have different configurations: ")
        assert "batch/prod/eu-central-4 and 7 more" in await shown.text("[data-live=replicas]")
        assert f"on {three[1].name}" in await shown.text("[data-key='sink:ops']")
        await sound(shown)
        wide = "document.documentElement.scrollWidth - innerWidth"
        assert await shown.page.evaluate(wide) <= 0
        here.live.members = three[:1]
        await shown.page.evaluate(ROUND)
        await shown.until("document.querySelectorAll('[data-key^=\"replica:\"]').length === 1")
        await shown.until("!document.querySelector('[data-live=head] .banner')")


async def test_a_job_shows_its_transitions_and_who_was_told(tmp_path):
    job = followed(3, Phase.FAILED, sequence=2, reason="It broke.")
    async with site(tmp_path, [job]) as here:
        (due,) = await here.ledger.due("ops", NOW + timedelta(days=1), 10)
        dead = model.DeliveryStatus.DEAD
        await here.ledger.settle(model.Settlement(due, dead, NOW, None, "HTTP 400: bad payload"))
        async with tab(here.url) as shown:
            await shown.page.click("text=job-3")
            await shown.page.wait_for_selector("h1.subject")
            transitions = await shown.page.locator(".transitions > li").all_inner_texts()
            assert "PENDING → FAILED" in transitions[0]
            assert "It broke." in transitions[0]
            assert "pending ops" in transitions[0]
            assert "HTTP 400: bad payload" in transitions[1]
            assert "1 failed attempt" in transitions[1]
            assert "(30s)" in transitions[0]


async def test_a_job_that_nobody_follows_is_not_found(tmp_path):
    async with site(tmp_path, []) as here, tab() as shown:
        answer = await shown.page.goto(f"{here.url}/job?key=a/b/c/<b>x</b>")
        assert answer.status == 404
        assert "<b>x</b>" in await shown.text("main")
        shown.complaints.clear()  # the browser reports the status


async def test_text_from_aws_is_shown_and_never_run(tmp_path):
    job = followed(3, Phase.FAILED, sequence=2, reason=EVIL, labels={'"><b>': EVIL})
    job = replace(job, snapshot=job.snapshot.replace(state=EVIL, fields={EVIL: EVIL}))
    async with site(tmp_path, [job]) as here, tab(here.url) as shown:
        await shown.live()
        assert EVIL[:60] in await shown.text(".jobs .state")
        assert await shown.page.title() != "pwned"
        await shown.page.click("text=job-3")
        await shown.page.click("summary")
        assert EVIL in await shown.text(".fields")
        assert EVIL in await shown.text(".transitions > li:first-child .why")
        assert await shown.page.locator("main script, main img").count() == 0


async def test_the_policy_is_strict_and_holds(tmp_path):
    async with site(tmp_path, mixed(), **trouble()) as here, tab() as shown:
        answer = await shown.page.goto(here.url)
        assert answer.headers["content-security-policy"] == POLICY
        assert "unsafe" not in POLICY
        await shown.live()
        assert await shown.page.locator("[style], style, script:not([src])").count() == 0
        await shown.page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'),"
            "{textContent: 'window.ran = true'}))"
        )
        assert await shown.page.evaluate("window.ran") is None
        assert any("Content Security Policy" in one for one in shown.complaints)
        shown.complaints.clear()


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light")]
)
async def test_everybody_can_use_it(tmp_path, viewport, scheme):
    async with site(tmp_path, mixed(), **trouble()) as here:
        await here.ledger.park(model.Parking("chat", NOW, "gone"))
        async with tab(viewport=viewport, color_scheme=scheme) as shown:
            for path in ("/", "/job?key=panorama.package-import/prod/us-east-1/job-3"):
                await shown.page.goto(here.url + path)
                await shown.live()
                await sound(shown)
                wide = "document.documentElement.scrollWidth - innerWidth"
                assert await shown.page.evaluate(wide) <= 0


async def test_the_dialog_can_be_used_by_everybody(tmp_path):
    async with site(tmp_path, mixed(), guard=token_guard(tmp_path), **trouble()) as here:
        await here.ledger.park(model.Parking("chat", NOW, "gone"))
        async with tab(here.url) as shown:
            await shown.page.click("text=Resume")
            assert await shown.page.evaluate("document.activeElement.id") == "ask-token"
            await sound(shown)
            await shown.page.keyboard.press("Escape")
            assert await shown.page.evaluate("document.activeElement.dataset.act") == "resume"


TOKEN = "a-token-of-more-than-16-characters"


def token_guard(directory):
    """Admit who has the token."""
    file = directory / "token"
    file.write_text(TOKEN)
    return Guard(token_files=[file])


@asynccontextmanager
async def guarded(directory, **live):
    """A page whose ledger has one dead delivery, to be written to with a token."""
    guard = token_guard(directory)
    async with site(directory, [followed(1)], guard=guard, **live) as here:
        (due,) = await here.ledger.due("ops", NOW + timedelta(days=1), 10)
        dead = model.DeliveryStatus.DEAD
        await here.ledger.settle(model.Settlement(due, dead, NOW, None, "HTTP 400"))
        yield here


async def ask(shown, button, token):
    """Press a button of the page, and confirm with a token; return what came of it."""
    await shown.page.click(f"button:text-matches('^{button}')")
    await shown.page.fill("#ask-token", token)
    await shown.page.keyboard.press("Enter")
    await shown.page.wait_for_selector("#ask-outcome.is-good, #ask-outcome.is-bad")
    return await shown.text("#ask-outcome")


async def test_the_dead_are_replayed_with_a_token_and_not_without(tmp_path):
    async with guarded(tmp_path) as here, tab(here.url) as shown:
        await shown.live()
        for wrong in ("", "a-wrong-token-of-some-length"):
            assert (await ask(shown, "Replay", wrong)).startswith("Refused: credentials are")
            assert len(await here.ledger.deliveries(status=model.DeliveryStatus.DEAD)) == 1
            await shown.page.keyboard.press("Escape")
        shown.complaints.clear()  # the browser reports the statuses
        assert await ask(shown, "Replay", TOKEN) == "1 delivery will be sent again."
        (again,) = await here.ledger.deliveries()
        assert (again.status, again.replayed) == (model.DeliveryStatus.PENDING, True)
        await shown.until("document.querySelector('[data-act=replay]').disabled")
        await shown.page.click("#ask-close")
        assert await shown.page.evaluate("sessionStorage.getItem('job-monitor-token')") == TOKEN


async def test_a_parked_sink_is_resumed_with_a_token(tmp_path):
    async with guarded(tmp_path) as here:
        await here.ledger.park(model.Parking("ops", NOW, "the receiver answered 410 Gone"))
        async with tab(here.url) as shown:
            await shown.live()
            assert "ops is parked" in await shown.text("#summary")
            assert await ask(shown, "Resume", TOKEN) == "It is resumed; nothing waits for it."
            assert await here.ledger.parkings() == []
            await shown.until("!document.getElementById('summary').innerText.includes('parked')")


async def test_who_has_signed_in_needs_no_token(tmp_path):
    hashed = bcrypt.hashpw(b"open sesame", bcrypt.gensalt(4)).decode()
    file = tmp_path / "web.yml"
    file.write_text(f"basic_auth_users:\n  ann: {hashed}\n")
    ann = {"username": "ann", "password": "open sesame"}
    async with site(tmp_path, [followed(1)], guard=Guard(WebConfigFile(file))) as here:
        await here.ledger.park(model.Parking("ops", NOW, "gone"))
        async with tab(here.url, http_credentials=ann) as shown:
            await shown.live()
            assert await shown.jobs() == ["job-1"]
            assert (await ask(shown, "Resume", "")).startswith("It is resumed")
        async with tab() as shown:
            assert (await shown.page.request.get(here.url)).status == 401


async def test_where_nobody_may_write_the_page_has_no_buttons_and_says_what_to_configure(tmp_path):
    async with site(tmp_path, [followed(3, Phase.FAILED, sequence=2)]) as here:
        await here.ledger.park(model.Parking("ops", NOW, "gone"))
        async with tab(here.url) as shown:
            assert "server.token_files" in await shown.text("#readonly")
            for path in ("/", "/watches", f"/job?key={here.live.followed[0].job.key}"):
                await shown.page.goto(here.url + path)
                await shown.live()
                assert await shown.page.locator("button[data-act]").count() == 0, path


async def sound(shown):
    found = await Axe().run(shown.page)
    grave = [
        one for one in found.response["violations"] if one["impact"] in {"serious", "critical"}
    ]
    told = [(one["id"], [node["html"][:200] for node in one["nodes"]][:3]) for one in grave]
    assert told == []
    assert len(found.response["passes"]) > 10


async def test_it_can_be_used_by_keyboard_alone(tmp_path):
    async with site(tmp_path, mixed(), **trouble()) as here, tab(here.url) as shown:
        await shown.live()
        reached = set()
        for _ in range(80):
            await shown.page.keyboard.press("Tab")
            reached.add(
                await shown.page.evaluate(
                    "(({tagName, innerText, name, dataset}) =>"
                    "dataset.act || name || innerText.trim())(document.activeElement)"
                )
            )
        wanted = {"Skip to the jobs", "q", "phase", "label", *(f"job-{n}" for n in range(1, 10))}
        assert wanted <= reached
        await shown.page.focus(".jobs tr[data-key$='job-3'] a")
        await shown.page.keyboard.press("Enter")
        await shown.page.wait_for_selector("h1.subject")
