"""``job-monitor test``: the examples pass, a wrong expectation shows, and so does a wrong file."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import typer.testing
import yaml

from monitor.cli.main import app
from monitor.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "config/tests"
PENDING = {
    "JobId": "JOB-1",
    "JobType": "NODE_PACKAGE_VERSION",
    "Status": "PENDING",
    "CreatedTime": "2026-01-01T00:00:00+00:00",
    "LastUpdatedTime": "2026-01-01T00:00:00+00:00",
}
FAILED = {
    **PENDING,
    "Status": "FAILED",
    "StatusMessage": "The archive is damaged.",
    "LastUpdatedTime": "2026-01-01T00:09:00+00:00",
}
CONFIG: dict[str, Any] = {
    "accounts": {
        "prod": {
            "role_arn": "arn:aws:iam::123456789012:role/job-monitor",
            "external_id_file": "/run/secrets/external-id",
        }
    },
    "watches": [
        {
            "name": "packages",
            "type": "panorama.package-import",
            "account": "prod",
            "regions": ["us-east-1", "eu-west-1"],
            "jobs": ["JOB-1"],
            "stuck_after": "2h",
        },
        {
            "name": "all",
            "type": "panorama.package-import",
            "account": "prod",
            "regions": ["us-east-1"],
            "discover": {"include": ["JOB-*"]},
        },
    ],
    "sinks": {
        "ops": {
            "type": "webhook",
            "url_file": "/run/secrets/url",
            "secret_files": ["/run/secrets/hook"],
            "header_files": {"Authorization": "/run/secrets/authorization"},
            "template": "pagerduty",
            "template_secrets": {"routing_key": "/run/secrets/key"},
            "proxy": "http://proxy.example.com:3128",
            "proxy_auth_file": "/run/secrets/proxy",
            "tls": {"cert_file": "/run/secrets/cert.pem", "key_file": "/run/secrets/key.pem"},
        },
        "talk": {"type": "apprise", "url_files": ["/run/secrets/talk"]},
        "audit": {"type": "log", "path": "/no/such/directory/audit.log"},
        "topic": {"type": "sns", "topic_arn": "arn:aws:sns:us-east-1:123456789012:jobs"},
    },
    "routes": [
        {"match": {"severity": "error"}, "sinks": ["ops", "talk", "topic"], "continue": True},
        {"sinks": ["audit"]},
    ],
    "server": {"token_files": ["/run/secrets/token"]},
}
CASE = {
    "name": "a failed import is sent",
    "watch": "packages",
    "job": "JOB-1",
    "answers": [
        {"at": "0s", "response": PENDING},
        {"at": "5m", "error": {"code": "ThrottlingException"}},
        {"at": "10m", "response": FAILED},
    ],
    "expect": [{"at": "10m", "kind": "job.state_changed", "phase": "failed"}],
}


LIGHT = {
    **CONFIG,
    "sinks": {"ops": {"type": "log"}, "audit": {"type": "log"}, "topic": CONFIG["sinks"]["topic"]},
    "routes": [],
}
"""As ``CONFIG``, without what takes time: templates and a library."""


class Plain(yaml.SafeDumper):
    def ignore_aliases(self, _data):
        return True


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("JOB_MONITOR_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def test(tmp_path):
    """Run tests, given as data, of ``CONFIG``; return the exit code and what is printed."""
    (tmp_path / "monitor.yaml").write_text(json.dumps(CONFIG))
    (tmp_path / "light.yaml").write_text(json.dumps(LIGHT))

    def run(*cases, arguments=(), **top):
        file = tmp_path / "t.yaml"
        whole = {"config": "monitor.yaml", "tests": list(cases), **top}
        file.write_text(yaml.dump(whole, Dumper=Plain, sort_keys=False, width=500))
        return invoke(str(file), *arguments)

    return run


def invoke(*arguments):
    result = typer.testing.CliRunner().invoke(app, ["test", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def expecting(*rows, **changed):
    return {**CASE, "expect": list(rows), **changed}


def test_the_examples_pass():
    code, output = invoke(str(EXAMPLES))
    assert code == 0, output
    assert output.splitlines()[-1] == "12 passed, 0 failed"


def test_each_example_fails_where_its_expectation_is_another(tmp_path):
    for file in sorted(EXAMPLES.glob("*.yaml")):
        text = file.read_text().replace("config: [", f"config: [{EXAMPLES}/")
        text = text.replace("paths: {/etc/job-monitor: ", f"paths: {{/etc/job-monitor: {EXAMPLES}/")
        copy = tmp_path / file.name
        copy.write_text(text.replace("phase: succeeded", "phase: running"))
        code, output = invoke(str(copy))
        assert code == 1, file
        assert 'expected "running", got "succeeded"' in output


def test_no_secret_and_no_directory_of_the_daemon_is_needed(test):
    body = {"event_action": "trigger", "payload": {"severity": "error"}, "routing_key": "***"}
    row = {
        "sinks": ["audit", "ops", "talk", "topic"],
        "payloads": {
            "ops": {"contains": [body, "damaged"]},
            "talk": {"contains": "The archive is damaged."},
            "topic": {"contains": {"MessageAttributes": {"phase": {"StringValue": "failed"}}}},
            "audit": {"contains": {"data": {"reason": "The archive is damaged."}}},
        },
    }
    code, output = test(expecting(row))
    assert (code, output.splitlines()[-1]) == (0, "1 passed, 0 failed"), output


def test_a_wrong_expectation_shows_what_was_expected_and_what_came(test):
    rows = [
        {"at": "10m", "kind": "job.state_changed", "severity": "warning", "sinks": ["audit"]},
        {"at": "10m", "kind": "job.stuck"},
    ]
    code, output = test(expecting(*rows), {**CASE, "name": "another"})
    assert code == 1
    file = output.split()[1].removesuffix(":3:")
    assert output.splitlines() == [
        f"FAIL  {file}:3: a failed import is sent",
        "  at 10m: job.state_changed: PENDING -> FAILED [failed] -> ops, talk, topic, audit",
        '    severity (line 28): expected "warning", got "error"',
        '    sinks (line 29): expected ["audit"], got ["audit","ops","talk","topic"]',
        "  at 10m: expected, but did not happen: job.stuck (line 31)",
        "  polls:",
        "    0s   PENDING",
        "    5m   failed, so not a state: throttle: ThrottlingException",
        "    10m  FAILED",
        f"ok    {file}:33: another",
        "1 passed, 1 failed",
    ]


def test_a_transition_that_is_not_listed_fails_a_test(test):
    code, output = test(expecting())
    assert code == 1
    assert "at 10m: happened, but is not expected: job.state_changed: PENDING" in output
    assert "job.discovered" not in output  # it goes to no sink, so it need not be listed


def test_an_unexpected_transition_does_not_hide_the_expected_one(test):
    first = {**PENDING, "StatusMessage": "Half of it is done."}
    answers = [CASE["answers"][0], {"at": "1m", "response": first}, CASE["answers"][2]]
    code, output = test(expecting(*CASE["expect"], answers=answers))
    assert code == 1
    assert [line for line in output.splitlines() if line.startswith("  at")] == [
        "  at 1m: happened, but is not expected: job.updated: PENDING -> PENDING [running] -> audit"
    ]


def test_a_first_sight_that_is_listed_must_be_as_it_is_listed(test):
    seen: dict[str, Any] = {"at": "0s", "kind": "job.discovered", "previous": None, "sinks": []}
    assert test(expecting(seen, *CASE["expect"]))[0] == 0
    code, output = test(expecting({**seen, "phase": "waiting"}, *CASE["expect"]))
    assert code == 1
    assert 'phase (line 30): expected "waiting", got "running"' in output


def test_a_whole_payload_that_differs_is_shown_as_a_diff(test):
    row = {"at": "10m", "payloads": {"ops": {"json": {"event_action": "resolve", "a": [1, 2]}}}}
    code, output = test(expecting(row))
    assert code == 1
    assert "    payloads.ops.json (line 29):\n" in output
    assert "      --- expected\n      +++ got\n" in output
    assert '      -  "event_action": "resolve"\n' in output
    assert '      +  "event_action": "trigger",\n' in output


def test_a_payload_of_a_sink_that_gets_nothing_fails(test):
    row = {"phase": "failed", "payloads": {"ops": {"contains": "x"}, "audit": {"text": "{}"}}}
    code, output = test(expecting(row))
    assert code == 1
    assert "payloads.ops.contains.0 (line 29):\n      expected:\n" in output
    stuck = [{"at": "0s", "response": PENDING}, {"at": "2h", "response": PENDING}]
    row = {"kind": "job.stuck", "payloads": {"ops": {"contains": "x"}}}
    assert "not routed to it" in test(expecting(row, answers=stuck))[1]


def test_json_holds_differences_polls_and_events(test):
    code, output = test(expecting({"severity": "info"}), arguments=["-o", "json"])
    found = json.loads(output)
    assert (code, found["passed"], found["failed"]) == (1, 0, 1)
    (one,) = found["tests"]
    assert one["passed"] is False
    assert one["place"].endswith("t.yaml:3")
    (difference,) = one["differences"]
    assert (difference["path"], difference["expected"], difference["got"]) == (
        "severity",
        "info",
        "error",
    )
    assert [each["event"]["data"]["kind"] for each in one["transitions"]] == [
        "job.discovered",
        "job.state_changed",
    ]
    assert [each["at"] for each in one["polls"]] == [0, 300, 600]


def test_a_source_that_stays_unreachable_is_an_event_as_well(test):
    denied = {"code": "AccessDeniedException", "status": 403}
    answers = [
        {"at": "0s", "response": PENDING},
        *({"at": f"{minute}m", "error": denied} for minute in (1, 4, 7)),
        {"at": "8m", "response": PENDING},
    ]
    rows = [
        {"at": "7m", "kind": "source.unavailable", "source": {"service": "panorama"}},
        {"at": "8m", "kind": "source.recovered"},
    ]
    code, output = test(expecting(*rows, answers=answers))
    assert code == 0, output


def test_an_answer_that_is_stale_or_misdated_is_no_change(test):
    old = {**PENDING, "Status": "SUCCEEDED", "LastUpdatedTime": "2025-12-31T00:00:00Z"}
    ahead = {**FAILED, "LastUpdatedTime": "2027-01-01T00:00:00Z"}
    answers = [
        {"at": "0s", "response": PENDING},
        {"at": "1m", "response": old},
        {"at": "2m", "response": ahead},
        {"at": "3m", "response": ahead},
    ]
    code, output = test(expecting(answers=answers))
    assert code == 1
    assert output.splitlines()[2:-1] == [
        "  polls:",
        "    0s  PENDING",
        "    1m  stale: the service dates it before what is known",
        "    2m  FAILED; its update time is ahead of this poll, and ignored",
        "    3m  not polled, as the job is final",
    ]


def test_a_configuration_that_is_named_replaces_that_of_the_file(test, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(json.dumps({**CONFIG, "routes": [{"sinks": ["topic"]}]}))
    row = {"phase": "failed", "sinks": ["topic"]}
    assert test(expecting(row), arguments=["--config", str(other)])[0] == 0
    assert test(expecting(row))[0] == 1
    # The first sight is sent to nobody either way.
    assert test(expecting(row), arguments=["--config", str(other)], config=[])[0] == 0


def wrong(**changed):
    return {**CASE, **changed}


def answer(response):
    return wrong(answers=[{"at": "0s", "response": response}], expect=[])


WRONG = {
    "an unknown key": (
        wrong(wach="packages"),
        '29: tests[0].wach: unknown key (did you mean "watch"?)',
    ),
    "an unknown key of an expectation": (
        expecting({"fase": "failed"}),
        '26: tests[0].expect[0].fase: unknown key (did you mean "phase"?)',
    ),
    "a phase": (
        expecting({"phase": "faild"}),
        '26: tests[0].expect[0].phase: unknown phase "faild" (did you mean "failed"?)',
    ),
    "a kind": (
        expecting({"kind": "job.lost"}),
        '26: tests[0].expect[0].kind: unknown kind "job.lost" (did you mean "job.stuck"?)',
    ),
    "a sink": (
        expecting({"sinks": ["opps"]}),
        '27: tests[0].expect[0].sinks[0]: unknown sink "opps" (did you mean "ops"?)',
    ),
    "a sink of a payload": (
        expecting({"payloads": {"tpoic": {"text": "a"}}}),
        '27: tests[0].expect[0].payloads.tpoic: unknown sink "tpoic" (did you mean "topic"?)',
    ),
    "an empty payload": (
        expecting({"payloads": {"ops": {}}}),
        "27: tests[0].expect[0].payloads.ops: expects nothing (add contains, text or json)",
    ),
    "a part of a payload": (
        expecting({"payloads": {"ops": {"contains": [5]}}}),
        (
            "29: tests[0].expect[0].payloads.ops.contains[0]: must be text or a map"
            " (put it in quotes if it is text)"
        ),
    ),
    "a time without a poll": (
        expecting({"at": "20m"}),
        (
            "26: tests[0].expect[0].at: no answer has this time, and only a poll can see a change"
            " (times of answers: 0s, 5m, 10m)"
        ),
    ),
    "a duration": (
        wrong(answers=[{"at": "soon", "response": PENDING}]),
        "7: tests[0].answers[0].at: is not a duration (write 30s, 5m, 2h or 3d)",
    ),
    "a watch": (
        wrong(watch="package"),
        '4: tests[0].watch: unknown watch "package" (did you mean "packages"?)',
    ),
    "no watch": (
        {key: value for key, value in CASE.items() if key != "watch"},
        "3: tests[0]: has neither watch nor type (add watch: NAME)",
    ),
    "a watch and a type": (
        wrong(type="importexport.job"),
        "29: tests[0].type: has no effect beside watch (remove it)",
    ),
    "a job of no watch": (
        wrong(job="OTHER"),
        (
            '5: tests[0].job: watch "packages" neither names this job nor discovers it'
            " (name a job that it watches)"
        ),
    ),
    "a job of an earlier watch": (
        wrong(watch="all"),
        (
            '5: tests[0].job: this job belongs to watch "packages", the first that wants it'
            " (name that watch, or another job)"
        ),
    ),
    "an id": (
        {**wrong(job="a b", type="panorama.package-import"), "watch": None},
        "5: tests[0].job: cannot be the id of a job of type panorama.package-import",
    ),
    "a region": (
        wrong(region="eu-west-2"),
        '29: tests[0].region: "eu-west-2" is not a region of the watch (did you mean "eu-west-1"?)',
    ),
    "an order": (
        wrong(
            answers=[{"at": "5m", "response": PENDING}, {"at": "1m", "response": FAILED}],
            expect=[],
        ),
        "14: tests[0].answers[1].at: is not later than the answer before (sort the answers)",
    ),
    "an empty answer": (
        wrong(answers=[{"at": "0s"}], expect=[]),
        "7: tests[0].answers[0]: needs either response or error (write what one poll returns)",
    ),
    "no answers": (
        wrong(answers=[], expect=[]),
        "6: tests[0].answers: is empty (add what AWS answers: - {at: 0s, response: {…}})",
    ),
    "a member": (
        answer({**PENDING, "Statuss": "x"}),
        (
            "14: tests[0].answers[0].response.Statuss: the response of AWS has no such member"
            ' (did you mean "Status"?)'
        ),
    ),
    "a kind of member": (
        answer({**PENDING, "JobId": 7}),
        (
            "9: tests[0].answers[0].response.JobId: must be text in a response of AWS"
            " (put it in quotes)"
        ),
    ),
    "a time": (
        answer({**PENDING, "CreatedTime": "yesterday"}),
        (
            "12: tests[0].answers[0].response.CreatedTime: is not a time"
            " (write it as 2026-01-01T00:00:00Z)"
        ),
    ),
    "a start": (
        wrong(starts="noon"),
        "29: tests[0].starts: is not a time (write it as 2026-01-01T00:00:00Z)",
    ),
    "nothing expected": (
        {key: value for key, value in CASE.items() if key != "expect"},
        "3: tests[0].expect: is missing (add `expect: …`)",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_file_is_one_line_with_its_place_and_what_to_write(test, what):
    case, message = WRONG[what]
    with pytest.raises(ConfigurationError) as found:
        test(case, config="light.yaml")
    (problem,) = found.value.problems
    assert str(problem).rpartition("/")[2].removeprefix("t.yaml:") == message


def test_a_test_of_another_name_and_file_is_reported_at_once(test, tmp_path):
    with pytest.raises(ConfigurationError) as found:
        test(CASE, CASE, arguments=[str(tmp_path / "none.yaml")])
    lines = [str(problem).replace(f"{tmp_path}/", "") for problem in found.value.problems]
    assert lines == [
        "t.yaml:29: tests[1].name: is given twice (it was first given at t.yaml:3)",
        "none.yaml: cannot be read: no such file or directory (check the path and its permissions)",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1: must be a map of keys to values (add `tests:`)"),
        ("tests: []\n", "1: tests: is empty (add a test)"),
        ("tests: [\n", "2: is not YAML: "),
        ("tets: []\n", '1: tets: unknown key (did you mean "tests"?)'),
        ("tests: [{name: yes}]\n", "1: tests[0].name: yes, no, on and off are true or false"),
    ],
)
def test_a_file_that_is_no_test_is_refused(tmp_path, text, message):
    file = tmp_path / "t.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as found:
        invoke(str(file), "--config", "x")
    lines = [str(problem).replace(f"{file}:", "") for problem in found.value.problems]
    assert any(line.startswith(message) for line in lines), lines


def test_without_a_configuration_there_is_nothing_to_test(test):
    with pytest.raises(ConfigurationError, match="no configuration is named"):
        test(CASE, config=[])


def test_a_wrong_configuration_is_reported_with_its_own_lines(test, tmp_path):
    watches = [{**CONFIG["watches"][0], "type": "panorama.package"}]
    sinks = {**CONFIG["sinks"], "ops": {**CONFIG["sinks"]["ops"], "template": "slak"}}
    (tmp_path / "bad.yaml").write_text(
        json.dumps({**CONFIG, "watches": watches, "sinks": sinks}, indent=1)
    )
    with pytest.raises(ConfigurationError) as found:
        test(CASE, config=["bad.yaml"])
    lines = [str(problem).replace(f"{tmp_path}/", "") for problem in found.value.problems]
    assert len(lines) == 2
    assert lines[0].startswith('bad.yaml:11: watches[0].type: unknown job type "panorama.package"')
    assert lines[1].startswith("bad.yaml:33: sinks.ops.template: the value (4 characters)")
