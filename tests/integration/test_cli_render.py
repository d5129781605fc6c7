"""``job-monitor render``: what would be sent, for each kind of sink, and no secret in it."""

import json

import pytest
import typer.testing

from monitor.cli.main import app
from monitor.errors import ConfigurationError
from monitor.model import Kind
from tests.contracts.sink_kit import check

PLANTED = ("planted-header", "planted-file", "planted-key", "planted-path", "planted-url")
ARN = "arn:aws:{}:us-east-1:123456789012:{}"


pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # the library's own


@pytest.fixture
def render(tmp_path):
    for name in PLANTED:
        (tmp_path / name).write_text(name)
    (tmp_path / "url").write_text(f"json://127.0.0.1/{PLANTED[4]}")
    (tmp_path / "secret").write_text("whsec_cGxhbnRlZC1zZWNyZXQtMDEyMzQ1Njc4OWFi")
    (tmp_path / "bad.j2").write_text("\n{{ nope }}")
    hook = {
        "type": "webhook",
        "url": f"https://hooks.example.com/{PLANTED[3]}",
        "secret_files": [str(tmp_path / "secret")],
        "headers": {"X-Team": PLANTED[0]},
        "header_files": {"Authorization": str(tmp_path / PLANTED[1])},
    }
    keys = {"routing_key": str(tmp_path / PLANTED[2])}
    sinks = {
        "hook": hook,
        "pager": {**hook, "template": "pagerduty", "template_secrets": keys},
        "bad": {**hook, "template": str(tmp_path / "bad.j2")},
        "talk": {"type": "apprise", "url_files": [str(tmp_path / "url")]},
        "audit": {"type": "log"},
        "topic": {"type": "sns", "topic_arn": ARN.format("sns", "jobs")},
    }
    file = tmp_path / "a.yaml"
    file.write_text(json.dumps({"sinks": sinks}))

    def run(*arguments):
        result = typer.testing.CliRunner().invoke(
            app, ["render", "--config", str(file), *arguments]
        )
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert not [secret for secret in (*PLANTED, "cGxhbnRlZC1") if secret in result.output]
        return result.output

    return run


@pytest.mark.parametrize("sink", ["hook", "audit"])
def test_an_event_of_each_kind_is_shown_as_it_would_be_sent(render, sink):
    told = json.loads(render("--sink", sink, "--output", "json"))
    assert [each["kind"] for each in told] == list(Kind)
    for each in told:
        check(json.loads(each["body"]))


def test_headers_are_shown_without_their_secrets(render):
    (told,) = json.loads(render("--sink", "pager", "--kind", "job.stuck", "-o", "json"))
    assert told["headers"] == {
        "POST": "https://hooks.example.com",
        "X-Team": "***",
        "Authorization": "***",
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        "webhook-id": told["headers"]["webhook-id"],
        "webhook-timestamp": "(now)",
        "webhook-signature": "***",
    }
    assert json.loads(told["body"])["routing_key"] == "***"


@pytest.mark.parametrize(
    ("sink", "text"),
    [("talk", "title: panorama.package-import PackageImportJob-7 is stuck"), ("topic", "Message")],
)
def test_other_sinks_are_shown_in_their_own_form(render, sink, text):
    shown = render("--sink", sink, "--kind", "job.stuck")
    assert shown.startswith("# job.stuck\n")
    assert text in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sink", "hok"], '--sink: unknown sink "hok" (did you mean "hook"? known: '),
        (
            ["--sink", "hook", "--kind", "job.stack"],
            '--kind: unknown kind "job.stack" (did you mean "job.stuck"? known: ',
        ),
        (["--sink", "bad"], "bad.j2:2: 'nope' is undefined"),
    ],
)
def test_a_mistake_is_told_in_one_line(render, arguments, message):
    with pytest.raises(ConfigurationError) as caught:
        render(*arguments)
    (problem,) = caught.value.problems
    assert message in str(problem)
