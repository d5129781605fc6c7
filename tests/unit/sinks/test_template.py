"""Templates: what they may do, how values are escaped, and what is told of a bad one."""

import json
import time

import pytest

from monitor import config, sinks
from monitor import example_events as examples
from monitor.model import Kind
from monitor.sinks import template

SECRETS = {"routing_key": "planted-key"}
TRIALS = examples.trials()
ODD = TRIALS[-1]
SUCCEEDED = TRIALS[-2]


def hook(url="https://h/", **more):
    return config.WebhookSink(type="webhook", url=url, **more)


def rendered(text, *events, form="json", secrets=SECRETS):
    return template.attempt(template.TemplateSource("t", text, form), events or [ODD], secrets)


def complaint(text, form="json"):
    with pytest.raises(template.TemplateError) as caught:
        template.try_out(template.TemplateSource("t", text, form), ())
    return caught.value.line, caught.value.message


def bodies(name):
    source = template.read(name, "application/json")
    return [json.loads(text) for text in template.attempt(source, TRIALS, SECRETS)]


@pytest.mark.parametrize(
    "text",
    [
        '"{{ data.reason }}"',
        "{{ data.reason | tojson }}",
        '"{% set x %}{{ data.reason }}{% endset %}{{ x }}"',
        '"{% macro m(x) %}{{ x }}{% endmacro %}{{ m(data.reason) }}"',
        '"{{ [data.reason] | join(", ") }}"',
        '"{{ data.reason ~ "" }}"',
        '"{{ "%s" | format(data.reason) }}"',
    ],
)
def test_a_text_is_escaped_once_however_it_comes_into_json(text):
    assert json.loads(rendered(text)[0]) == ODD["data"]["reason"]


def test_a_constant_is_escaped_for_json_and_nothing_else():
    assert json.loads(rendered("""["{{ '<"&' }}", {{ true }}]""")[0]) == ['<"&', True]


def test_a_value_keeps_its_kind_in_json():
    text = "[{{ data.sequence }}, {{ data.replayed }}, {{ none }}, {{ data.fields | tojson }}]"
    assert json.loads(rendered(text)[0]) == [2, False, None, ODD["data"]["fields"]]


@pytest.mark.parametrize("name", ["safe", "e", "escape", "forceescape", "urlize", "xmlattr"])
def test_no_filter_switches_the_escaping_of_json_off(name):
    assert complaint(f"\n{{{{ data.reason | {name} }}}}") == (2, f"No filter named '{name}'.")


def test_html_is_escaped_and_plain_text_is_not():
    assert "&lt;!channel&gt;" in rendered("{{ data.reason }}", form="html")[0]
    assert rendered("{{ data.reason }}", form="text")[0] == ODD["data"]["reason"]


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("application/json", "json"),
        ("Application/Vnd.X+JSON; charset=utf-8", "json"),
        ("text/html", "html"),
        ("application/xml", "html"),
        ("text/plain", "text"),
    ],
)
def test_the_content_type_decides_the_escaping(kind, form):
    assert template.read("slack", kind).form == form


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("\n{{ data.", 2, "expected name or number"),
        ("\n\n{{ data.nope }}", 3, "'dict object' has no attribute 'nope'"),
        ('\n"{{ data.job.id }}"', 2, "'dict object' has no attribute 'job'"),
        ('{{ "".__class__ }}', 1, "access to attribute '__class__' of 'str' object is unsafe."),
        ("{{ data.fields.update({}) }}", 1, "access to attribute 'update' of"),
        ("{{ lipsum() }}", 1, "'lipsum' is undefined"),
        ("{{ 1 / 0 }}", 1, "fails with ZeroDivisionError"),
        ("{% include 'x' %}", 1, "fails with TypeError"),
        ('{"a": }', 0, "renders no JSON: Expecting value in line 1, column 7"),
        ("{% for i in range(99999) %}aaaa{% endfor %}", 0, "renders more than 256 KiB"),
        ("{% for i in range(100001) %}{% endfor %}", 1, "fails with OverflowError"),
    ],
)
def test_what_is_wrong_with_a_template_is_told_with_its_line(text, line, message):
    told_line, told = complaint(text)
    assert told.startswith(message)
    assert told_line == line


@pytest.mark.parametrize(
    "text",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}1",
        (
            '{% set n = namespace(x="a" * 99) %}{% for i in range(60) %}'
            "{% set n.x = n.x ~ n.x %}{% endfor %}1"
        ),
        "{{ (10 ** (10 ** 9)) | string | length }}",
        "{{ 'a' * (10 ** 10) }}",
        "{{ '%99999999999d' | format(1) }}",
    ],
)
def test_a_template_that_wants_too_much_is_ended_in_time(text):
    started = time.monotonic()
    line, message = complaint(text)
    assert any(word in message for word in ("too long", "too much memory", "more than", "Error"))
    assert line in {0, 1}
    assert time.monotonic() - started < 60


def test_no_complaint_repeats_a_value():
    with pytest.raises(template.TemplateError) as caught:
        rendered("{{ data.reason | int | round('planted') ~ (1 / 0) ~ secrets.routing_key }}")
    assert "planted" not in caught.value.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a file, and none of pagerduty, slack, teams"),
        (b"\xff", "is not text in UTF-8"),
        (b"{#" + b"a" * 65536 + b"#}1", "is longer than 64 KiB"),
        (b'\n{"a": {{ data.nope }}}', "'dict object' has no attribute 'nope'"),
    ],
)
def test_a_bad_template_is_a_mistake_in_the_configuration(content, message, tmp_path):
    path = tmp_path / "t.j2"
    if content is not None:
        path.write_bytes(content)
    settings = hook(url="https://h/x", template=str(path))
    (problem,) = sinks.problems("ops", settings)
    where = f"{path}:2" if b"nope" in (content or b"") else str(path)
    where = f"the value ({len(str(path))} characters)" if content is None else where
    assert str(problem) == f"sinks.ops.template: {where}: {message}"


def test_pagerduty_without_its_key_is_told_with_the_remedy(tmp_path):
    settings = hook(url="https://h/x", template="pagerduty")
    (problem,) = sinks.problems("ops", settings)
    assert "'dict object' has no attribute 'routing_key'" in str(problem)
    assert problem.remedy == "it needs template_secrets: {routing_key: FILE}"
    (tmp_path / "key").write_text("planted")
    keyed = settings.model_copy(
        update={"template_secrets": {"routing_key": str(tmp_path / "key")}},
    )
    assert sinks.problems("ops", keyed) == []


def test_slack_gets_blocks_a_fallback_and_escaped_text():
    for body in bodies("slack"):
        assert body["text"]
        assert len(body["blocks"][0]["text"]["text"]) <= 3000
        assert len(body["blocks"][-1]["elements"]) <= 10
    told = json.dumps(bodies("slack")[-1])
    assert "<!channel>" not in told
    assert "&lt;!channel&gt; &amp;" in told


def test_teams_gets_an_adaptive_card_with_escaped_markdown():
    for body in bodies("teams"):
        (attachment,) = body["attachments"]
        assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
        assert attachment["content"]["type"] == "AdaptiveCard"
    reason = bodies("teams")[-1]["attachments"][0]["content"]["body"][1]["text"]
    assert "\\*second\\*" in reason


def test_pagerduty_triggers_on_trouble_and_resolves_after_it():
    actions: dict[str, str] = {}
    for event, body in zip(TRIALS, bodies("pagerduty"), strict=True):
        actions.setdefault(event["data"]["kind"], body["event_action"])
        subject = event["data"].get("job") or event["data"]["source"]
        assert body["dedup_key"] in {subject["key"], event["id"]}
        assert body["routing_key"] == "planted-key"
        assert body["payload"]["severity"] == event["data"]["severity"]
    assert {kind for kind, action in actions.items() if action == "trigger"} == {
        Kind.STATE_CHANGED,
        Kind.MISSING,
        Kind.STUCK,
        Kind.REMINDER,
        Kind.SOURCE_UNAVAILABLE,
    }
    assert bodies("pagerduty")[-2]["event_action"] == "resolve"


@pytest.mark.parametrize(
    ("kind", "severity", "phase", "action", "touches"),
    [
        ("job.state_changed", "error", "failed", "trigger", True),
        ("job.unstuck", "info", "failed", "resolve", False),
        ("job.updated", "info", "failed", "resolve", False),
        ("job.updated", "info", "running", "resolve", False),
        ("job.reappeared", "info", "failed", "resolve", False),
        ("job.reappeared", "info", "running", "resolve", True),
        ("job.unstuck", "info", "running", "resolve", True),
        ("job.state_changed", "info", "succeeded", "resolve", True),
    ],
)
def test_pagerduty_resolves_an_incident_only_when_things_are_better(
    kind, severity, phase, action, touches
):
    data = {**ODD["data"], "kind": kind, "severity": severity}
    data["current"] = {"state": "any", "phase": phase}
    source = template.read("pagerduty", "application/json")
    (text,) = template.attempt(source, [{**ODD, "data": data}], SECRETS)
    body = json.loads(text)
    assert body["event_action"] == action
    assert (body["dedup_key"] == data["job"]["key"]) is touches


def test_a_key_that_is_too_long_for_pagerduty_is_hashed():
    data = {**ODD["data"], "job": {**ODD["data"]["job"], "key": "k" * 256}}
    source = template.read("pagerduty", "application/json")
    (text,) = template.attempt(source, [{**ODD, "data": data}], SECRETS)
    assert len(json.loads(text)["dedup_key"]) == 64


@pytest.mark.parametrize("name", ["slack", "teams", "pagerduty"])
def test_very_long_texts_do_not_make_a_ready_template_fail(name):
    long = "<&\\*" * 20_000
    data = {**ODD["data"], "reason": long, "fields": {"a": long}}
    source = template.read(name, "application/json")
    (text,) = template.attempt(source, [{**ODD, "data": data}], SECRETS)
    assert json.loads(text)
