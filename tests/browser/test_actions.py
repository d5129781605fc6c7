"""What a reader does on the page, in a real browser: watches, polls, silences, acknowledgements."""

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote

import pytest
from prometheus_client import CollectorRegistry

from monitor import config, model
from monitor.errors import ConfigurationError, Problem
from monitor.metrics import Metrics
from monitor.model import Phase
from monitor.recording.quiet import Quiet
from monitor.runtime.quiet_keeper import QuietKeeper
from monitor.stores.store import open_store
from monitor.web.notifier import News
from tests.browser.chromium import DESKTOP, PHONE, tab
from tests.browser.test_page import TOKEN, mixed, sound, token_guard, trouble
from tests.page_kit import NOW, FixedClock, Live, entry, followed, showing

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("browser"),
]


class QuietLive(Live):
    """What a daemon would know, with the acknowledgements and silences of a real keeper."""

    quiet: Quiet

    def jobs(self):
        return (self._quiet(each) for each in super().jobs())

    def job(self, key):
        found = super().job(key)
        return found and self._quiet(found)

    def _quiet(self, one):
        return replace(one, acknowledged=self.quiet.acknowledgement(one.job.key))


class Watches:
    """Run-time watches that are kept in memory, and refused as the daemon refuses them."""

    def __init__(self):
        self.added = {}

    def own(self):
        watch = {"name": "packages", "type": "panorama.package-import", "account": "prod"}
        return [config.Watch.model_validate(watch | {"regions": ["us-east-1"], "discover": True})]

    async def all(self):
        return list(self.added.values())

    async def add(self, value):
        if value["type"] == "nonsense":
            raise ConfigurationError([Problem("", "type", "is not a job type", "write panorama.…")])
        if value["name"] in self.added:
            return None
        made = self.added[value["name"]] = model.RuntimeWatch(value["name"], value, NOW)
        return made

    async def remove(self, name):
        return self.added.pop(name, None) is not None

    def waited(self, name):
        pass


class Site:
    """A page with everything that one can do on it."""

    def __init__(self, live, watches, ledger, keeper):
        self.url = ""
        self.keeper = keeper
        self.live = live
        self.watches = watches
        self.ledger = ledger
        self.reloads = []
        self.refuses = False

    async def reload(self):
        self.reloads.append(NOW)
        if self.refuses:
            problem = Problem("a.yaml:3", "watches", "is not a list", "write a list")
            raise ConfigurationError([problem])


@asynccontextmanager
async def working(directory, jobs, **live):
    """Serve a page on which one may write with the token."""
    clock, news, watches = FixedClock(), News(), Watches()
    state = QuietLive(jobs, **live)
    state.quiet = Quiet(clock.now)
    async with open_store(f"sqlite://{directory}/state.db", clock) as ledger:
        for job in jobs:
            if job.snapshot:
                await ledger.record(entry(job))
        metrics = Metrics(CollectorRegistry(), "0")
        calls = (lambda *_: None, lambda: None, lambda: 86400.0)
        keeper = QuietKeeper(ledger, state.quiet, metrics, clock, *calls)
        made = Site(state, watches, ledger, keeper)
        parts = {"quiet": keeper, "watches": watches, "reload": made.reload}
        guard = token_guard(directory)
        async with showing(state, ledger, news, guard=guard, **parts) as made.url:
            yield made


async def press(shown, act, token=TOKEN, **fields):
    """Press a button of the page, fill in what it asks for, and return the outcome."""
    await shown.page.click(f"button[data-act={act}]")
    return await confirm(shown, token, **fields)


async def confirm(shown, token=TOKEN, **fields):
    for name, value in fields.items():
        await shown.page.fill(f"#ask-{name}", value)
    await shown.page.fill("#ask-token", token)
    await shown.page.click("#ask-do")
    await shown.page.wait_for_selector("#ask-outcome.is-good, #ask-outcome.is-bad")
    said = await shown.text("#ask-outcome")
    return " ".join(said.split())


KEY = "panorama.package-import/prod/us-east-1/job-{}"


async def test_a_failure_is_acknowledged_shown_to_all_filtered_and_withdrawn(tmp_path):
    jobs = [followed(3, Phase.FAILED, sequence=2), followed(4, Phase.FAILED, sequence=2)]
    async with working(tmp_path, jobs) as here:
        async with tab(f"{here.url}/job?key={KEY.format(3)}") as shown:
            await shown.live()
            said = await press(shown, "acknowledge", author="ann", comment="the disk is swapped")
            assert said == "job-3 is acknowledged."
            await shown.page.keyboard.press("Escape")
            await shown.page.wait_for_selector("button[data-act=withdraw]")
            assert "by ann" in await shown.text("main")
        async with tab(here.url) as other:
            await other.live()
            assert await other.jobs() == ["job-4", "job-3"]
            row = await other.text(f".jobs tr[data-key='{KEY.format(3)}'].calm")
            assert "acknowledged by ann: the disk is swapped" in row
            assert (await other.text("#summary")).startswith("1 failed, 1 acknowledged")
            for mark, job in (("acknowledged", "job-3"), ("unacknowledged", "job-4")):
                await other.page.goto(f"{here.url}/?is={mark}")
                assert await other.jobs() == [job]
            await other.page.goto(f"{here.url}/job?key={KEY.format(3)}")
            await other.live()
            assert await press(other, "withdraw") == "It is withdrawn."
            await other.page.keyboard.press("Escape")
            await other.page.wait_for_selector("button[data-act=acknowledge]")


async def test_a_silence_is_added_listed_and_expired(tmp_path):
    async with working(tmp_path, mixed()) as here, tab(f"{here.url}/silences") as shown:
        await shown.live()
        said = await press(shown, "silence", author="", labels="team=vision", duration="2h")
        assert said == "Refused: author is needed, as a token names no user"
        shown.complaints.clear()  # the browser reports the status
        assert await confirm(shown, author="ann", comment="move") == (
            "It lasts until 2026-03-01 14:00 UTC."
        )
        await shown.page.keyboard.press("Escape")
        await shown.until("document.querySelector('.ends tbody tr')")
        row = " ".join((await shown.text(".ends tbody tr")).split())
        assert "active team=vision" in row
        assert "ann move" in row
        assert await press(shown, "expire") == "The silence has ended."
        await shown.until("document.querySelector('.ends .chip').innerText.includes('expired')")


async def test_the_job_that_is_silenced_is_named_as_it_is_and_not_as_a_glob(tmp_path):
    plain = followed(1)
    job = replace(plain.job, id="a[1]*?")
    odd = replace(plain, job=job, snapshot=plain.snapshot.replace(job=job))
    async with (
        working(tmp_path, [odd]) as here,
        tab(f"{here.url}/job?key={quote(odd.job.key)}") as shown,
    ):
        await shown.live()
        await shown.page.click("button[data-act=silence]")
        assert (await shown.page.input_value("#ask-job")).endswith("/a[[]1][*][?]")


async def test_a_watch_is_added_and_removed_and_mistakes_are_named(tmp_path):
    async with working(tmp_path, mixed()) as here, tab(f"{here.url}/watches") as shown:
        await shown.live()
        said = await press(shown, "add-watch", name="tonight", type="nonsense")
        assert said == "Refused: this cannot be watched type: is not a job type; write panorama.…"
        shown.complaints.clear()
        said = await confirm(
            *(shown, TOKEN),
            type="importexport.job",
            jobs="EX1\nEX2",
            labels="team=x",
            interval="1m",
        )
        assert said == "tonight is watched."
        assert here.watches.added["tonight"].settings == {
            "name": "tonight",
            "type": "importexport.job",
            "jobs": ["EX1", "EX2"],
            "interval": "1m",
            "labels": {"team": "x"},
        }
        await shown.page.keyboard.press("Escape")
        await shown.page.wait_for_selector("tr[data-key='watch:tonight'] button")
        assert await shown.page.locator("button[data-act=remove-watch]").count() == 1
        assert await press(shown, "remove-watch") == "tonight is removed."
        await shown.until("!document.querySelector('[data-key=\"watch:tonight\"]')")


async def test_a_reload_says_whether_it_took_effect(tmp_path):
    async with working(tmp_path, []) as here, tab(f"{here.url}/watches") as shown:
        await shown.live()
        assert await press(shown, "reload") == "The configuration is reloaded."
        await shown.page.keyboard.press("Escape")
        here.refuses = True
        said = await press(shown, "reload")
        assert said.startswith("Refused: the configuration cannot be used")
        assert "watches: is not a list; write a list" in said
        shown.complaints.clear()
        assert len(here.reloads) == 2


async def test_a_job_is_polled_now(tmp_path):
    async with (
        working(tmp_path, mixed()) as here,
        tab(f"{here.url}/job?key={KEY.format(1)}") as shown,
    ):
        await shown.live()
        assert await press(shown, "poll") == "AWS has answered: RUNNING."
        assert here.live.polled == [KEY.format(1)]
        await shown.page.goto(f"{here.url}/job?key={KEY.format(4)}")
        assert await shown.page.locator("button[data-act=poll]").count() == 0


async def test_columns_sort_upwards_downwards_and_not_at_all_by_keyboard(tmp_path):
    jobs = [followed(1, changed=30), followed(2, Phase.FAILED, changed=90, sequence=2)]
    jobs.append(followed(3, Phase.WAITING, changed=60))
    async with working(tmp_path, jobs) as here, tab(f"{here.url}/?q=job") as shown:
        await shown.live()
        assert await shown.jobs() == ["job-2", "job-1", "job-3"]
        for sort, order, expected in [
            ("ascending", "asc", ["job-1", "job-3", "job-2"]),
            ("descending", "desc", ["job-2", "job-3", "job-1"]),
            (None, None, ["job-2", "job-1", "job-3"]),
        ]:
            await shown.page.focus("thead th:nth-child(4) a")
            await shown.page.keyboard.press("Enter")
            order_of = f"&sort=age&order={order}" if order else ""
            await shown.at(f"{here.url}/?q=job{order_of}")
            await shown.page.wait_for_load_state()
            assert await shown.jobs() == expected
            heads = "all => all.map(one => one.getAttribute('aria-sort'))"
            marked = await shown.page.eval_on_selector_all("thead th", heads)
            assert [each for each in marked if each] == ([sort] if sort else [])
        await shown.page.goto(f"{here.url}/?sort=id&order=desc")
        await shown.live()
        await shown.page.fill("[name=q]", "job-")
        await shown.at(f"{here.url}/?q=job-&sort=id&order=desc")
        assert await shown.jobs() == ["job-3", "job-2", "job-1"]


async def test_account_region_and_watch_filter_and_stay_in_the_address(tmp_path):
    async with working(tmp_path, mixed()) as here, tab(here.url) as shown:
        await shown.live()
        await shown.page.select_option("[name=account]", "prod")
        await shown.page.select_option("[name=region]", "us-east-1")
        await shown.page.fill("[name=watch]", "packages")
        await shown.at(f"{here.url}/?account=prod&region=us-east-1&watch=packages")
        assert len(await shown.jobs()) == 9
        await shown.page.goto(f"{here.url}/?account=dev")
        assert await shown.jobs() == []
        assert await shown.page.input_value("[name=account]") == "dev"


async def test_what_has_a_problem_stands_above_the_jobs(tmp_path):
    async with working(tmp_path, mixed(), **trouble()) as here:
        await here.ledger.park(model.Parking("chat", NOW, "gone"))
        async with tab(here.url) as shown:
            titles = await shown.page.locator("main h2").all_inner_texts()
            assert [each.split("\n")[0].split("  ")[0] for each in titles[:3]] == [
                *("Sinks with a problem", "Sources with a problem", "Jobs"),
            ]
            assert "chat" in await shown.text("#bad-sinks-title + table")
            assert "importexport" in await shown.text("#bad-sources-title + table")
            assert await shown.page.get_attribute("#summary .part:last-child a", "href") == (
                "#bad-sinks-title"
            )


async def test_a_watch_shows_the_states_of_its_jobs_over_time_in_pages(tmp_path):
    jobs = [followed(n, changed=3600 + n) for n in range(1, 29)]
    jobs.append(followed(30, Phase.FAILED, changed=1800, sequence=4))
    async with working(tmp_path, jobs) as here, tab(f"{here.url}/watches") as shown:
        await shown.page.click("tr[data-key='watch:packages'] th a")
        await shown.page.wait_for_selector(".strips")
        ids = "all => all.map(one => one.innerText)"
        first = await shown.page.eval_on_selector_all(".strips th.job > a", ids)
        assert (len(first), first[0]) == (25, "job-30")
        strip = f".strips tr[data-key='{KEY.format(30)}'] svg.strip"
        said = await shown.page.get_attribute(strip, "aria-label")
        assert "PENDING (waiting)" in said
        assert said.endswith("FAILED (failed) from 2026-03-01 11:30:00 UTC, for 30m 0s")
        assert await shown.page.locator(f"{strip} .is-failed title").count() == 1
        await shown.page.click("[rel=next]")
        await shown.page.wait_for_selector("text=First page")
        rest = await shown.page.eval_on_selector_all(".strips th.job > a", ids)
        assert sorted(first + rest) == sorted(job.job.id for job in jobs)
        await shown.page.click("text=1h")
        assert "span=1h" in shown.page.url


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light")]
)
async def test_everybody_can_use_the_other_pages_too(tmp_path, viewport, scheme):
    jobs = mixed()
    async with working(tmp_path, jobs, **trouble()) as here:
        await here.ledger.park(model.Parking("chat", NOW, "gone"))
        await here.watches.add({"name": "tonight", "type": "importexport.job", "jobs": ["EX1"]})
        silence = ("1", ({"phase": ["failed"]},), NOW, NOW + timedelta(hours=2), "ann", "move")
        await here.keeper.add(model.Silence(*silence))
        async with tab(viewport=viewport, color_scheme=scheme) as shown:
            paths = ("/", "/?sort=id", "/watches", "/watch?name=packages&span=1h", "/silences")
            acts = {"/watches": "add-watch", "/silences": "silence"}
            for path in (*paths, f"/job?key={KEY.format(3)}"):
                await shown.page.goto(here.url + path)
                await shown.live()
                await sound(shown)
                wide = "document.documentElement.scrollWidth - innerWidth"
                assert await shown.page.evaluate(wide) <= 0, path
                if act := acts.get(path):
                    await shown.page.focus(f"button[data-act={act}]")
                    await shown.page.keyboard.press("Enter")
                    await shown.page.wait_for_selector("#ask[open]")
                    await sound(shown)
                    await shown.page.keyboard.press("Escape")
                    focused = await shown.page.evaluate("document.activeElement.dataset.act")
                    assert focused == act
