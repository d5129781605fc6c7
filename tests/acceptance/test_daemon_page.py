"""The page of a daemon that really runs, in a real browser, beside the simulator."""

from contextlib import asynccontextmanager
from datetime import datetime
from signal import SIGTERM

import pytest

from monitor import simulator
from tests.acceptance import ledger
from tests.acceptance.program import SECRET, configure, packages, running
from tests.browser.chromium import tab
from tests.browser.test_actions import press

pytestmark = pytest.mark.timeout(600)

SOON = 10.0
"""Seconds after it was seen within which a change must stand on the page, on a busy machine."""
EVIL = '<script>document.title="pwned"</script>'
TOKEN = "a-token-of-more-than-16-characters"
SCENARIO = {
    "jobs": [
        {"id": "EX1", "service": "importexport"},
        {"id": "pkg", "service": "panorama"},
    ],
    "receivers": {
        "hook": {"secrets": [SECRET], "faults": [{"kind": "status", "status": 400, "times": 1}]}
    },
}
WALK = (
    ("AtAWS/Pending", {"LocationCode": "AtAWS"}),
    ("AtAWS/InProgress", {"ProgressCode": "InProgress"}),
    ("AtAWS/Complete", {"ProgressCode": "Complete"}),
)
# Notes, by the clock of this machine, when a row first showed a state.
WATCH = """() => {
  window.noted = {};
  const note = () => {
    for (const row of document.querySelectorAll(".jobs tr[data-key]")) {
      const key = row.querySelector("a").innerText;
      window.noted[`${key} ${row.querySelector(".state .name").textContent}`] ??= Date.now() / 1000;
    }
  };
  const changes = {subtree: true, childList: true, characterData: true};
  new MutationObserver(note).observe(document.body, changes);
  note();
}"""


@asynccontextmanager
async def daemon(directory):
    """Run a daemon beside a simulator, to be written to with a token; yield both, and the URL."""
    token = directory / "token"
    token.write_text(TOKEN)
    server = {"listen": "127.0.0.1:0", "token_files": [str(token)]}
    async with simulator.running(SCENARIO) as sim:
        file = configure(directory, sim, server=server)
        async with running("run", "-c", file, directory=directory) as program:
            yield sim, program, await program.started()


async def test_changes_stand_on_the_page_soon_after_they_were_seen(tmp_path):
    async with daemon(tmp_path) as (sim, program, url), tab() as shown:
        # Without the rounds of the page, only the stream brings changes.
        await shown.page.add_init_script("window.setInterval = () => 0")
        await shown.page.goto(url)
        await shown.live()
        await shown.page.evaluate(WATCH)
        await shown.until("'EX1 NotReceived/Pending' in window.noted")
        for state, change in WALK:
            sim.change("EX1", **change)
            await shown.until(f"'EX1 {state}' in window.noted")
        noted = await shown.page.evaluate("window.noted")
        await shown.page.close()
        await program.stop(SIGTERM)
    seen = {
        row.data["current"]["state"]: datetime.fromisoformat(row.event["time"]).timestamp()
        for row in ledger.transitions(tmp_path / "state.db")
        if row.event["subject"] == "EX1"
    }
    took = [noted[f"EX1 {state}"] - seen[state] for state, _ in WALK]
    assert min(took) < SOON, took  # a busy machine may be late, but not each time
    assert min(took) > -0.1, took


async def test_what_aws_says_is_escaped_told_and_replayed(tmp_path):
    async with daemon(tmp_path) as (sim, _, url), tab(url) as shown:
        await shown.page.wait_for_selector(".jobs tr[data-key$='/pkg']")
        sim.change("pkg", Status="FAILED", StatusMessage=EVIL)
        await shown.until("document.querySelector('.jobs').innerText.includes('<script>')")
        assert (await shown.text("#summary")).startswith("1 failed")
        await shown.page.wait_for_selector("[data-act=replay]:enabled")
        await shown.page.click("[data-act=replay]")
        await shown.page.fill("#ask-token", TOKEN)
        await shown.page.keyboard.press("Enter")
        await shown.page.wait_for_selector("#ask-outcome.is-good")
        await shown.page.click("#ask-close")
        await shown.until(
            "document.getElementById('summary').innerText.includes('everything is delivered')"
        )
        await shown.page.click("text=pkg")
        await shown.page.wait_for_selector(".transitions")
        newest = await shown.text(".transitions > li:first-child")
        assert EVIL in newest
        assert "delivered hook again" in newest
        assert "pwned" not in (await shown.page.title()).split(":")[0]
        # One delivery that the sink refused was all that there was to replay.
        assert [one.answer for one in sim.truth.received] == [400, 204]


async def test_a_reader_polls_acknowledges_silences_and_watches_on_the_page(tmp_path):
    token = tmp_path / "token"
    token.write_text(TOKEN)
    server = {"listen": "127.0.0.1:0", "token_files": [str(token)]}
    jobs = [{"id": "pkg", "service": "panorama"}, {"id": "EX1", "service": "importexport"}]
    async with simulator.running({"jobs": jobs}) as sim:
        # So rarely that no poll but one that is asked for can see the change.
        file = configure(tmp_path, sim, watches=[packages(interval="1h")], sinks={}, server=server)
        async with running("run", "-c", file, directory=tmp_path) as program:
            url = await program.started()
            async with tab(f"{url}/?q=PENDING") as shown:
                await shown.live()
                await shown.until("document.querySelectorAll('.jobs tbody tr').length === 1")
                sim.change("pkg", Status="FAILED", StatusMessage="no descriptor")
                await shown.page.click("text=pkg")
                await shown.page.wait_for_selector("h1.subject")
                await shown.live()
                assert await press(shown, "poll") == "AWS has answered: FAILED."
                await shown.page.keyboard.press("Escape")
                await shown.page.wait_for_selector("button[data-act=acknowledge]")
                said = await press(shown, "acknowledge", author="ann", comment="known")
                assert said == "pkg is acknowledged."
                await shown.page.keyboard.press("Escape")
                said = await press(shown, "silence", author="ann", duration="1h")
                assert said.startswith("It lasts until")
                await shown.page.goto(f"{url}/?is=silenced")
                row = await shown.text(".jobs tr.calm")
                assert "acknowledged by ann: known" in row
                assert "silenced" in row
                await shown.page.goto(f"{url}/watches")
                await shown.live()
                disks = {"name": "disks", "type": "importexport.job", "account": "sim"}
                said = await press(shown, "add-watch", **disks, jobs="EX1", interval="1s")
                assert said == "disks is watched."
                await shown.page.goto(f"{url}/watch?name=disks&span=1h")
                await shown.live()
                await shown.until("document.querySelector('svg.strip .is-waiting title')")
                await shown.page.goto(f"{url}/watches")
                await shown.live()
                assert await press(shown, "remove-watch") == "disks is removed."
                await shown.page.keyboard.press("Escape")
                assert await press(shown, "reload") == "The configuration is reloaded."
