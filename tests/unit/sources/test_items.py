"""Responses about several jobs, rows that show little, and ids of several parts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from monitor.aws import service_models
from monitor.model import PHASE_PART, Job, Observation, Phase
from monitor.sources.loader import load_job_type
from monitor.sources.response_parser import (
    MalformedError,
    MissingJobError,
    PollTimes,
    ResponseParser,
    UnprocessedJobError,
)
from tests.unit.sources.test_lint import BATCH, STEPS

MODELS = service_models.loader({})
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TIMES = PollTimes(NOON, NOON)

GLUE = """
name: my.run
service: glue
id: {job: JobName, run: Id}
describe: {operation: GetJobRun, params: {JobName: "{job}", RunId: "{run}"}, items: JobRun}
list: {operation: GetJobRuns, of: job, params: {JobName: "{job}"}}
of: {job: {operation: ListJobs, items: JobNames}}
state: JobRunState
phases:
  waiting: [STARTING, WAITING]
  running: [RUNNING, STOPPING]
  succeeded: [SUCCEEDED]
  canceled: [STOPPED]
  failed: [FAILED, ERROR, TIMEOUT]
  expired: [EXPIRED]
"""
TASKS = """
name: my.task
service: ecs
id: {task: taskArn, pattern: "arn:[^:]+:ecs:[^:]+:[0-9]+:task/(?P<cluster>[^/]+)/[0-9a-f]+"}
describe:
  operation: DescribeTasks
  params: {cluster: "{cluster}", tasks: ["{task}"]}
  items: tasks
  at_once: 100
list:
  - {operation: ListTasks, of: cluster, params: {cluster: "{cluster}"}}
  - {operation: ListTasks, of: cluster, params: {cluster: "{cluster}", desiredStatus: STOPPED}}
state: lastStatus
phases:
  waiting: [PROVISIONING, PENDING, ACTIVATING]
  running: [RUNNING, DEACTIVATING, STOPPING, DEPROVISIONING]
  failed: [{STOPPED: "containers[?exitCode != `0`]"}]
  succeeded: [STOPPED]
"""
ARN = "arn:aws:ecs:us-east-1:123456789012:task/{}/{}"


@pytest.fixture
def made(tmp_path):
    """Return a function from a text to its job type and parser."""

    def make(text):
        path = tmp_path / "own.yaml"
        path.write_text(text)
        kind = load_job_type(path, MODELS)
        return kind, ResponseParser(kind, "default", "us-east-1", frozenset())

    return make


def job(kind, job_id):
    return Job(kind.name, "default", "us-east-1", job_id)


def answers(kind, parser, ids, response):
    jobs = [job(kind, one) for one in ids]
    return {each.id: found for each, found in parser.observations(jobs, response, TIMES)}


def test_each_job_of_a_batch_gets_its_item_and_an_omitted_one_is_missing(made):
    kind, parser = made(BATCH)
    response = {
        "jobs": [
            {"jobId": "b", "status": "RUNNING"},
            {"jobId": "a", "status": "SUCCEEDED", "container": {"exitCode": 0}},
        ]
    }

    found = answers(kind, parser, ["a", "b", "c"], response)

    assert found["a"].parts == {"status": "SUCCEEDED", PHASE_PART: "succeeded"}
    assert found["b"].parts == {"status": "RUNNING"}
    assert isinstance(found["c"], MissingJobError)


def test_an_item_of_an_unexpected_job_makes_an_omitted_one_malformed(made):
    kind, parser = made(BATCH)

    found = answers(kind, parser, ["a", "b"], {"jobs": [{"jobId": "a", "status": "RUNNING"}, {}]})

    assert isinstance(found["a"], Observation)
    assert isinstance(found["b"], MalformedError)


def test_a_bad_item_costs_only_its_own_job(made):
    kind, parser = made(BATCH)
    response = {"jobs": [{"jobId": "a"}, {"jobId": "b", "status": "RUNNING"}]}

    found = answers(kind, parser, ["a", "b"], response)

    assert isinstance(found["a"], MalformedError)
    assert found["b"].parts["status"] == "RUNNING"


def test_a_condition_decides_the_phase(made):
    kind, parser = made(TASKS)
    arn = ARN.format("c", "0a")

    def phase(*codes):
        item = {
            "taskArn": arn,
            "lastStatus": "STOPPED",
            "containers": [{} if code is None else {"exitCode": code} for code in codes],
        }
        (observed,) = answers(kind, parser, [arn], {"tasks": [item]}).values()
        verdict = kind.judge(observed.parts, Phase.RUNNING)
        assert verdict.state == "STOPPED"
        return verdict.phase

    assert phase(0, 0) is Phase.SUCCEEDED
    assert phase(0, 137) is Phase.FAILED
    # A container that never started has no exit code: the task did not do its work.
    assert phase(None) is Phase.FAILED


def test_jobs_share_a_request_only_where_all_other_parameters_are_the_same(made):
    kind, _ = made(TASKS)
    one, two, other = (ARN.format(*names) for names in (("c", "0a"), ("c", "0b"), ("d", "0c")))

    assert kind.at_once == 100
    assert kind.request_key(one) == kind.request_key(two) != kind.request_key(other)
    assert kind.params(one, two) == {"cluster": "c", "tasks": [one, two]}
    assert kind.params(other) == {"cluster": "d", "tasks": [other]}


def test_an_id_of_parts_fills_parameters_and_is_checked_part_by_part(made):
    kind, parser = made(GLUE)

    assert kind.params("my job/jr_1") == {"JobName": "my job", "RunId": "jr_1"}
    # Only the first part can hold a slash, so that there is one way to split an id.
    assert kind.params("a/b/jr_1") == {"JobName": "a/b", "RunId": "jr_1"}
    assert not kind.accepts_id("jr_1")
    run = {"JobName": "nightly", "Id": "jr_1", "JobRunState": "RUNNING"}
    assert answers(kind, parser, ["nightly/jr_1"], {"JobRun": run})["nightly/jr_1"].parts
    wrong = answers(kind, parser, ["nightly/jr_1"], {"JobRun": {**run, "Id": "jr_2"}})
    assert isinstance(wrong["nightly/jr_1"], MalformedError)


def test_a_row_gets_its_parent_as_a_part_of_its_id(made):
    kind, parser = made(GLUE)
    response = {"JobRuns": [{"Id": "jr_1", "JobRunState": "RUNNING"}, {"Id": ""}]}

    page = parser.page(kind.listings[0], response, TIMES, first=True, parent="nightly")

    assert [row.job.id for row in page.rows] == ["nightly/jr_1"]
    assert len(page.skipped) == 1
    assert kind.polls_by_sweep


def test_a_row_that_is_a_bare_text_is_the_id(made):
    kind, parser = made(TASKS)
    arn = ARN.format("c", "0a")

    page = parser.page(kind.listings[1], {"taskArns": [arn, 7]}, TIMES, first=True, parent="c")

    assert [row.job.id for row in page.rows] == [arn]
    assert page.rows[0].parts == {"lastStatus": None}
    assert not kind.listings[1].lists_states


def test_a_row_without_what_a_condition_needs_does_not_show_the_phase(made):
    kind, parser = made(BATCH.replace("container.exitCode != `0`", "attempts[1]"))
    rows = [{"jobId": "a", "status": "SUCCEEDED"}, {"jobId": "b", "status": "RUNNING"}]

    page = parser.page(kind.listings[0], {"jobSummaryList": rows}, TIMES, first=True, parent="q")

    assert page.rows[0].parts == {"status": "SUCCEEDED", PHASE_PART: None}
    assert page.rows[1].parts == {"status": "RUNNING"}
    assert kind.judge(page.rows[0].parts, None).phase is Phase.UNKNOWN


def test_a_revealed_member_is_kept_and_its_sensitive_neighbour_is_not(made):
    kind, parser = made(STEPS)
    arn = "arn:aws:states:us-east-1:123456789012:execution:m:e"
    item = {
        "executionArn": arn,
        "status": "FAILED",
        "error": "States.TaskFailed",
        "cause": "the password",
    }

    (observed,) = answers(kind, parser, [arn], item).values()

    assert observed.reason == "States.TaskFailed"
    assert kind.revealed == ("error",)
    assert "password" not in str(observed)


def test_the_parents_are_read_and_what_is_no_text_is_left_out(made):
    kind, parser = made(GLUE)

    page = parser.parents(kind.parents, {"JobNames": ["a", None, "b"], "NextToken": "t"})

    assert page.names == ("a", "b")
    assert (page.next_token, page.torn) == ("t", True)


def test_parts_that_another_id_would_split_into_make_no_id(made):
    kind, parser = made(GLUE)

    assert kind.join({"job": "a/b", "run": "jr_1"}) == "a/b/jr_1"
    assert kind.join({"job": "a", "run": "b/jr_1"}) is None
    assert kind.join({"job": "", "run": "jr_1"}) is None
    assert kind.join({"job": "a", "run": True}) is None
    assert kind.join({"job": "a", "run": 7}) is None
    rows = [{"Id": "b/jr_1", "JobRunState": "RUNNING"}, {"Id": "jr_2", "JobRunState": "RUNNING"}]
    page = parser.page(kind.listings[0], {"JobRuns": rows}, TIMES, first=True, parent="a")
    assert [row.job.id for row in page.rows] == ["a/jr_2"]
    assert [row.position for row in page.skipped] == [0]


def test_a_state_is_no_secret_even_where_a_secret_is_the_same_word(made):
    kind, parser = made(STEPS.replace("reason: error\nreveal: [error]", "secret: [input]"))
    arn = "arn:aws:states:us-east-1:123456789012:execution:m:e"
    item = {"executionArn": arn, "status": "SUCCEEDED", "input": "status:\nSUCCEEDED"}

    (observed,) = answers(kind, parser, [arn], item).values()

    assert observed.parts == {"status": "SUCCEEDED"}


def test_an_id_that_is_left_out_for_a_passing_reason_is_not_missing(made):
    failing = "  at_once: 100\n  unprocessed: \"failures[?reason != 'MISSING'].arn\"\n"
    kind, parser = made(TASKS.replace("  at_once: 100\n", failing))
    gone, later, unsaid = (ARN.format("c", name) for name in ("0a", "0b", "0c"))
    response = {
        "tasks": [],
        "failures": [{"arn": gone, "reason": "MISSING"}, {"arn": later, "reason": "BUSY"}],
    }

    found = answers(kind, parser, [gone, later, unsaid], response)

    assert isinstance(found[gone], MissingJobError)
    assert isinstance(found[later], UnprocessedJobError)
    assert isinstance(found[unsaid], MissingJobError)


def listed(content_type, length="2", **body):
    headers = {"content-type": content_type, "content-length": length}
    return {**body, "ResponseMetadata": {"RequestId": "r", "HTTPHeaders": headers}}


@pytest.mark.parametrize(
    "response",
    [
        listed("application/x-amz-json-1.1"),
        listed("text/xml;charset=UTF-8"),
        {"NextToken": "t"},
    ],
)
def test_a_page_whose_list_is_left_out_has_no_rows(made, response):
    kind, parser = made(GLUE)

    page = parser.page(kind.listings[0], response, TIMES, first=True, parent="a")

    assert (page.rows, page.next_token) == ((), response.get("NextToken"))
    assert parser.parents(kind.parents, response).names == ()


@pytest.mark.parametrize(
    "response",
    [
        {},
        listed("text/html"),
        listed("application/json", "0"),
        {"ResponseMetadata": {"HTTPHeaders": {"content-type": "application/json"}}},
        listed("application/json", JobRuns=7),
    ],
)
def test_what_is_no_listing_is_malformed(made, response):
    kind, parser = made(GLUE)

    with pytest.raises(MalformedError):
        parser.page(kind.listings[0], response, TIMES, first=True, parent="a")


def test_a_state_of_which_no_condition_holds_is_not_classified(made):
    only = TASKS.replace("containers[?exitCode != `0`]", "stopCode == 'UserInitiated'")
    kind, parser = made(only.replace("  succeeded: [STOPPED]\n", ""))
    arn = ARN.format("c", "0a")

    def verdict(**item):
        item = {"taskArn": arn, "lastStatus": "STOPPED", **item}
        (observed,) = answers(kind, parser, [arn], {"tasks": [item]}).values()
        return kind.judge(observed.parts, Phase.RUNNING)

    assert verdict(stopCode="UserInitiated").classified
    assert not verdict(stopCode="TaskFailedToStart").classified
    # Where a row does not show it, nothing is known yet.
    assert kind.judge({"lastStatus": "STOPPED", PHASE_PART: None}, None).classified


def test_a_job_that_an_answer_shows_in_two_ways_is_malformed(made):
    kind, parser = made(BATCH)
    items = [
        {"jobId": "a", "status": "RUNNING"},
        {"jobId": "a", "status": "SUCCEEDED"},
        {"jobId": "b", "status": "RUNNING"},
        {"jobId": "b", "status": "RUNNING"},
    ]

    found = answers(kind, parser, ["a", "b"], {"jobs": items})

    assert isinstance(found["a"], MalformedError)
    assert found["b"].parts == {"status": "RUNNING"}


def test_a_member_that_is_secret_in_an_item_is_secret_in_a_row(made):
    kind, parser = made(BATCH + "secret: [jobName, container.logStreamName]\n")
    row = {"jobId": "a", "status": "RUNNING", "jobName": "hunter2-x", "statusReason": "hunter2-x!"}

    page = parser.page(kind.listings[0], {"jobSummaryList": [row]}, TIMES, first=True, parent="q")

    assert page.rows[0].reason == "[removed]!"


@pytest.mark.parametrize("odd", ["\x00", "\ud800", "\x1b[31m", "\u202e"])
def test_what_no_store_or_terminal_can_hold_is_no_id(made, odd):
    kind, parser = made(GLUE)
    rows = [{"Id": f"a{odd}b", "JobRunState": "RUNNING"}, {"Id": "ä😀", "JobRunState": "RUNNING"}]

    page = parser.page(kind.listings[0], {"JobRuns": rows}, TIMES, first=True, parent="nightly run")
    parents = parser.parents(kind.parents, {"JobNames": [f"a{odd}b", "ä 😀"]})

    assert [row.job.id for row in page.rows] == ["nightly run/ä😀"]
    assert (parents.names, parents.torn) == (("ä 😀",), False)
