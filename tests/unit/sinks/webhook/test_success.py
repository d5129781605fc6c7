"""An expression says what a yes looks like, and never breaks anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import sinks
from monitor.sinks import template
from monitor.sinks.webhook.success import READY, SuccessError, compiled
from tests.contracts.sink_kit import webhook


def holds(text, status=200, body=b"", **headers):
    return compiled(text).holds(status, headers, body)


@pytest.mark.parametrize(
    ("text", "status", "body", "is_yes"),
    [
        ("json.ok", 200, b'{"ok": true}', True),
        ("json.ok", 200, b'{"ok": false}', False),
        ("json.ok", 200, b"{}", False),
        ("json.ok", 200, b"[1, 2]", False),
        ("json.ok", 200, b"<html>", False),
        ("json.ok", 200, b"", False),
        ("json.ok", 200, b'{"ok": true', False),
        ("json.ok", 200, b'{"ok": tru\xff}', False),
        ("json.ok == `true`", 200, b'{"ok": "true"}', False),
        ("status == `202`", 202, b"", True),
        ("status == `202`", 200, b"", False),
        ("status < `202`", 201, b"", True),
        ("text == 'ok'", 200, b" ok\r\n", True),
        ("contains(text, 'ok')", 200, b"all is ok", True),
        ("contains(json.list, 'ok')", 200, b"{}", False),
        ("contains(json.list, 'ok')", 200, b"no", False),
        ("length(json.errors) == `0`", 200, b'{"errors": []}', True),
        ("length(json.errors) == `0`", 200, b'{"errors": null}', False),
        ("json.code", 200, b'{"code": 0}', True),
        ("json.list", 200, b'{"list": []}', False),
        ("sum(json.list)", 200, b'{"list": ["a"]}', False),
        ("!(json.error)", 200, b'{"done": 1}', True),
        ("json.errors[?fatal] | [0]", 200, b'{"errors": [{"fatal": true}]}', True),
    ],
)
def test_a_reply_is_judged(text, status, body, is_yes):
    assert holds(text, status, body) is is_yes


def test_headers_are_read_by_their_lower_case_names():
    assert holds("headers.\"x-result\" == 'done'", **{"x-result": "done"})
    assert not holds("headers.\"x-result\" == 'done'")


@given(st.binary(max_size=300), st.integers(200, 299))
def test_no_reply_breaks_a_shipped_condition(body, status):
    for text in READY.values():
        assert holds(text, status, body) in {True, False}


@pytest.mark.parametrize(
    ("text", "problem", "remedy"),
    [
        ("status == 200", "is not a JMESPath expression: ", "backticks"),
        ("", "is not a JMESPath expression", "backticks"),
        ("json.ok ==", "is not a JMESPath expression", "backticks"),
        ("json.ok == true", "reads a member true of the reply", "write `true`"),
        ("body.ok", 'reads "body", which a reply does not have', "a reply has status, headers"),
        ("ok", 'reads "ok", which a reply does not have', "a reply has status, headers"),
        ("@.ok", 'reads "ok", which a reply does not have', "a reply has"),
        ("json || tetx", 'reads "tetx", which', "a reply has"),
        ("contain(text, 'ok')", "calls the unknown function contain()", "function of JMESPath"),
        ("contains(text)", "calls contains() with 1 arguments", "it takes 2"),
        ("!json.failed", "negates less than it seems to", "in brackets"),
        ("(" * 5000 + "text" + ")" * 5000, "is nested too deeply", "shorter"),
    ],
)
def test_a_condition_that_cannot_be_meant_is_refused(text, problem, remedy):
    with pytest.raises(SuccessError) as caught:
        compiled(text)
    assert problem in caught.value.message
    assert remedy in caught.value.remedy


def test_each_ready_template_knows_its_services_yes():
    assert set(READY) == set(template.ready())


@pytest.mark.parametrize(
    ("name", "status", "body", "is_yes"),
    [
        ("slack", 200, b"ok", True),
        ("slack", 200, b'{"ok":true,"ts":"1503435956.000247"}', True),
        ("slack", 200, b'{"ok":false,"error":"channel_not_found"}', False),
        ("slack", 200, b"<html>Sign in</html>", False),
        ("slack", 200, b"", False),
        ("teams", 202, b"", True),
        ("teams", 202, b"accepted", True),
        ("teams", 200, b"1", True),
        ("teams", 200, b"Webhook message delivery failed with error: HTTP error 429", False),
        ("teams", 200, b"Bad payload received by generic incoming webhook.", False),
        ("pagerduty", 202, b'{"status":"success","dedup_key":"k"}', True),
        ("pagerduty", 202, b'{"status":"invalid event"}', False),
        ("pagerduty", 200, b'{"status":"success"}', False),
    ],
)
def test_the_shipped_conditions(name, status, body, is_yes):
    assert holds(READY[name], status, body) is is_yes


def test_a_mistake_is_found_with_the_configuration():
    settings = webhook("https://h/x", success="json.ok == true")
    (problem,) = sinks.problems("ops", settings)
    assert str(problem) == (
        "sinks.ops.success: reads a member true of the reply (write `true`, with the backticks)"
    )
