"""What Slack, Teams and PagerDuty get: as the golden files say, and within their limits."""

import json
import os
from pathlib import Path

import pytest

from monitor import example_events, sinks
from monitor.config import WebhookSink
from monitor.model import Kind
from monitor.web.links import EventLinks, PageLinks

HERE = Path(__file__).parent / "payloads"
ODD = "\"quoted\" 'and' \\back\\ <!channel> & <https://e.test|x> *b* _i_ `c` {{ x }}\n\tnext ☃ 🚀"
LABELS = {f"label-{n}": "v&" * 120 for n in range(12)}
LONG_ID = "a/b " * 500


class ConsoleType:
    def console_link(self, job_id, region, account_id, fields):
        return f"https://{region}.console.aws.amazon.com/x?region={region}#job/{account_id}"


def event(kind=Kind.STATE_CHANGED, job=(), *, links=True, **data):
    made = example_events.event(kind)
    if "job" in made["data"]:
        data["job"] = made["data"]["job"] | dict(job)
    made["data"] |= data
    if not links:
        return made
    types = {"panorama.package-import": ConsoleType()}
    page = PageLinks("https://tools.example.com/jobs")
    return EventLinks(page, types).added_to(made, "123456789012")


CASES = {
    "a failure": event(),
    "no links at all": event(links=False),
    "a source": event(Kind.SOURCE_UNAVAILABLE),
    "the longest reason": event(reason="Stopped: disk full. " * 26),
    "odd characters": event(reason=ODD, job={"labels": {"owner & co": ODD}}),
    "no reason and no labels": event(Kind.STUCK, job={"labels": {}}),
}
HUGE = {
    "ampersands": event(reason="&" * 90_000, job={"labels": LABELS, "id": "&" * 3000}),
    "emoji": event(reason="🚀" * 90_000, job={"labels": {"x": "🚀" * 9000}, "id": "🚀" * 3000}),
    "markdown": event(reason="*" * 90_000, job={"labels": dict.fromkeys("abcdefghi", "_" * 900)}),
    "characters of six bytes": event(
        reason="中" * 90_000,
        job={"labels": {"中" * 300 + str(n): "中" * 900 for n in range(9)}, "id": "中" * 3000},
    ),
    "quotes": event(reason='"\\' * 45_000, job={"id": '"' * 3000}),
    "a long id": event(job={"id": LONG_ID, "key": f"t/a/r/{LONG_ID}"}),
}


def payloads(name, events, tmp_path):
    (tmp_path / "key").write_text("planted")
    settings = {"type": "webhook", "url": "https://h.example.com/x", "template": name}
    if name == "pagerduty":
        settings["template_secrets"] = {"routing_key": str(tmp_path / "key")}
    sink = WebhookSink.model_validate(settings)
    return [json.loads(one.body) for one in sinks.previews("ops", sink, events)]


def units(text):
    return len(text.encode("utf-16-le")) // 2


def within_slack(body):
    assert units(body["text"]) <= 4000
    assert len(body["blocks"]) <= 50
    for block in body["blocks"]:
        if block["type"] == "context":
            assert 1 <= len(block["elements"]) <= 10
        for text in block.get("elements") or [block["text"]]:
            assert text["type"] == "mrkdwn"
            assert 1 <= units(text["text"]) <= 3000


def within_teams(body):
    assert len(json.dumps(body)) <= 28_000  # in the longest form that it may be sent on in
    assert len(body["attachments"][0]["content"].get("actions", [])) <= 6


def within_pagerduty(body):
    payload = body["payload"]
    assert len(payload["summary"]) <= 1024
    assert len(body["dedup_key"]) <= 255
    assert payload["severity"] in {"critical", "error", "warning", "info"}
    assert len(json.dumps(body)) <= 512 * 1024
    assert all(one["href"].startswith("https://") and one["text"] for one in body["links"])


LIMITS = {"slack": within_slack, "teams": within_teams, "pagerduty": within_pagerduty}


@pytest.mark.parametrize("name", LIMITS)
def test_payloads_are_as_the_golden_files_say(name, tmp_path):
    made = dict(zip(CASES, payloads(name, CASES.values(), tmp_path), strict=True))
    text = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
    file = HERE / f"{name}.json"
    if os.environ.get("GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, "utf-8")
    assert file.read_text("utf-8") == text
    for body in made.values():
        LIMITS[name](body)


@pytest.mark.parametrize("name", LIMITS)
def test_no_event_makes_a_payload_that_the_service_refuses_for_its_size(name, tmp_path):
    for body in payloads(name, HUGE.values(), tmp_path):
        LIMITS[name](body)


def test_a_text_that_is_cut_ends_at_a_whole_sign(tmp_path):
    slack = payloads("slack", HUGE.values(), tmp_path)
    first = slack[0]["blocks"][0]["text"]["text"]
    assert first.endswith("&amp;…")
    assert "&am…" not in first
    teams = payloads("teams", HUGE.values(), tmp_path)
    reason = teams[2]["attachments"][0]["content"]["body"][1]["text"]
    assert reason.endswith("\\*…")
    assert reason.count("\\") == reason.count("*")
