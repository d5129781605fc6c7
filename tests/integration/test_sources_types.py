"""Job types of users, over a real socket: conditions that meet null, ids alone, odd times."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from monitor.aws.clients import Clients
from monitor.config import Account
from monitor.errors import PollError, PollReason
from monitor.model import Job, Phase, SkippedRow
from monitor.sources.aws_source import AwsSource
from monitor.sources.loader import load_job_type
from tests.integration.sources_server import (
    MODELS,
    FixedClock,
    aws,
    clean_environment,
    raw_server,
)

TRAINING = """
name: sagemaker.training-job
service: sagemaker
id: {pattern: "[a-zA-Z0-9](-*[a-zA-Z0-9])*", max_length: 63, path: TrainingJobName}
describe: {operation: DescribeTrainingJob, params: {TrainingJobName: "{id}"}}
state: TrainingJobStatus
phases:
  running: [InProgress, Stopping, Deleting]
  succeeded: [Completed]
  failed: [Failed]
  canceled: [Stopped]
missing: MISSING
"""
TEXTRACT = """
name: textract.analysis
service: textract
id: {pattern: "[a-zA-Z0-9_-]+", max_length: 64}
describe: {operation: GetDocumentAnalysis, params: {JobId: "{id}", MaxResults: 1}}
state: JobStatus
phases: {running: [IN_PROGRESS], succeeded: [SUCCEEDED, PARTIAL_SUCCESS], failed: [FAILED]}
reason: StatusMessage
fields: {Pages: "DocumentMetadata.Pages", Words: "length(StatusMessage)", First: "Blocks[0].Text"}
"""
BATCH = """
name: batch.job
service: batch
id: {pattern: "[a-f0-9-]+", path: "jobs[0].jobId"}
describe:
  operation: DescribeJobs
  params: {jobs: ["{id}"]}
  missing_if: "length(jobs) == `0`"
state: {status: "jobs[0].status"}
phases:
  waiting: [SUBMITTED, PENDING, RUNNABLE]
  running: [STARTING, RUNNING]
  succeeded: [SUCCEEDED]
  failed: [FAILED]
created_at: "jobs[0].createdAt"
updated_at: "jobs[0].startedAt"
"""
ATHENA = """
name: athena.query
service: athena
id: {pattern: "[a-zA-Z0-9-]+", max_length: 128, path: QueryExecution.QueryExecutionId}
describe: {operation: GetQueryExecution, params: {QueryExecutionId: "{id}"}}
state: QueryExecution.Status.State
phases:
  waiting: [QUEUED]
  running: [RUNNING]
  succeeded: [SUCCEEDED]
  failed: [FAILED]
  canceled: [CANCELLED]
list:
  operation: ListQueryExecutions
  items: QueryExecutionIds
  id: "@"
  next: {param: NextToken, path: NextToken}
"""
ECS = """
name: ecs.task
service: ecs
id:
  pattern: "arn:aws:ecs:[^:]+:[0-9]+:task/(?P<cluster>[^/]+)/[a-f0-9]+"
  path: "tasks[0].taskArn"
describe:
  operation: DescribeTasks
  params: {cluster: "{cluster}", tasks: ["{id}"]}
  missing_if: "length(tasks) == `0`"
state:
  Outcome: >-
    (tasks[0].lastStatus != 'STOPPED' && tasks[0].lastStatus)
    || (length(tasks[0].containers[?exitCode != `0`]) == `0` && 'SUCCEEDED')
    || 'FAILED'
phases: {running: [RUNNING], succeeded: [SUCCEEDED], failed: [FAILED]}
list:
  operation: ListTasks
  params: {cluster: main}
  items: taskArns
  id: "@"
  next: {param: nextToken, path: nextToken}
"""
CODEBUILD = """
name: codebuild.build
service: codebuild
id: {pattern: "[A-Za-z0-9_-]+:[0-9a-f-]+", path: "builds[0].id"}
describe: {operation: BatchGetBuilds, params: {ids: ["{id}"]}, missing_if: "length(builds) == `0`"}
state: builds[0].buildStatus
phases:
  running: [IN_PROGRESS]
  succeeded: [SUCCEEDED]
  failed: [FAILED, FAULT, TIMED_OUT]
  canceled: [STOPPED]
reason: "builds[0].phases[?phaseStatus == 'FAILED'].contexts[].message | [0]"
list: {operation: ListBuilds, items: ids, id: "@", next: {param: nextToken, path: nextToken}}
"""
REDSHIFT = """
name: redshift.cluster
service: redshift
id: {pattern: "[a-z][a-z0-9-]*", max_length: 63, path: "Clusters[0].ClusterIdentifier"}
describe: {operation: DescribeClusters, params: {ClusterIdentifier: "{id}"}}
state: Clusters[0].ClusterStatus
phases: {running: [resizing], succeeded: [available]}
reopens: true
"""
EITHER = "\"contains(Message, 'x') || contains(Error.Message, 'not found')\""
GONE = "{code: ValidationException, where: \"contains(Error.Message, 'not found')\"}"


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch, tmp_path):
    clean_environment(monkeypatch, tmp_path)


@asynccontextmanager
async def source_of(tmp_path, text, answer):
    (tmp_path / "own.yaml").write_text(text)
    kind = load_job_type(tmp_path / "own.yaml", MODELS)
    async with raw_server() as server:
        server.answer = answer if isinstance(answer, bytes) else aws(json.dumps(answer))
        account = Account(endpoint_urls={kind.service: server.url})
        async with Clients({"a": account}, models=MODELS) as clients:
            with anyio.fail_after(90):
                yield AwsSource(kind, "a", "us-east-1", clients, FixedClock())


async def describe(tmp_path, text, job_id, answer):
    async with source_of(tmp_path, text, answer) as source:
        return await source.describe(Job(source.job_type.name, "a", "us-east-1", job_id))


async def refusal(tmp_path, text, job_id, answer):
    with pytest.raises(PollError) as caught:
        await describe(tmp_path, text, job_id, answer)
    return caught.value


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("[{code: ValidationException, where: \"contains(Message, 'x')\"}]", PollReason.CONFIG),
        ("[{code: ValidationException, where: \"!contains(Message, 'x')\"}]", PollReason.CONFIG),
        ("[{code: ValidationException, where: 'length(Message) < `9`'}]", PollReason.CONFIG),
        ("[{code: ValidationException, where: 'length(Message) != `9`'}]", PollReason.CONFIG),
        ("[{code: ValidationException, where: \"starts_with(Error, 'x')\"}]", PollReason.CONFIG),
        ("[{code: ValidationException, where: 'sort_by(Error, &x)[0].y'}]", PollReason.CONFIG),
        ('[{code: ValidationException, where: "Error.Message < `3`"}]', PollReason.CONFIG),
        (
            "[{code: ValidationException, where: EITHER}]".replace("EITHER", EITHER),
            PollReason.MISSING,
        ),
        (
            f"[{{code: ValidationException, where: \"contains(Message, 'x')\"}}, {GONE}]",
            PollReason.MISSING,
        ),
    ],
)
async def test_a_condition_that_cannot_be_evaluated_does_not_hold(tmp_path, missing, reason):
    body = {"__type": "ValidationException", "message": "Requested resource not found."}
    answer = aws(json.dumps(body), "400 Bad Request")

    found = await refusal(tmp_path, TRAINING.replace("MISSING", missing), "nope", answer)

    assert (found.reason, found.code) == (reason, "ValidationException")


@pytest.mark.parametrize(
    "body", ["[]", "null", "5", '"x"', "[[]]", '{"__type": 5}', '{"message": {"a": []}}', ""]
)
@pytest.mark.parametrize("status", ["400 Bad Request", "500 Internal Server Error"])
async def test_an_error_that_is_not_a_mapping_is_judged_by_its_status(tmp_path, body, status):
    answer = aws(body, status)

    found = await refusal(tmp_path, TRAINING.replace("MISSING", f"[{GONE}]"), "nope", answer)

    expected = PollReason.TRANSIENT if status.startswith("5") else PollReason.CONFIG
    assert (found.reason, found.where) == (expected, "")


@pytest.mark.parametrize(
    "body",
    [
        "<ErrorResponse><Error>text</Error></ErrorResponse>",
        "<ErrorResponse><Error><Code><a>1</a></Code></Error></ErrorResponse>",
        "<ErrorResponse><Error/><Error/></ErrorResponse>",
        "<ErrorResponse/>",
        "<x>text</x>",
    ],
)
async def test_an_error_in_odd_xml_is_judged_by_its_status(tmp_path, body):
    found = await refusal(tmp_path, REDSHIFT, "main", aws(body, "400 Bad Request"))

    assert (found.reason, found.where) == (PollReason.CONFIG, "")


@pytest.mark.parametrize(
    ("answer", "fields", "unreadable"),
    [
        ({"DocumentMetadata": {"Pages": 2}}, {"Pages": 2, "Words": None, "First": None}, ()),
        ({"DocumentMetadata": {"Pages": {}}}, {"Words": None, "First": None}, ("Pages",)),
        ({"DocumentMetadata": {"Pages": 2**64}}, {"Words": None, "First": None}, ("Pages",)),
        ({"DocumentMetadata": 5}, {"Words": None, "First": None}, ("Pages",)),
        ({"Blocks": "text"}, {"Pages": None, "Words": None}, ("First",)),
        ({"StatusMessage": 5}, {"Pages": None, "First": None}, ("Words", "reason")),
    ],
)
async def test_a_field_is_null_where_it_is_absent_and_left_out_where_it_is_odd(
    tmp_path, answer, fields, unreadable
):
    seen = await describe(tmp_path, TEXTRACT, "j-1", {"JobStatus": "IN_PROGRESS", **answer})

    assert (seen.parts, seen.fields) == ({"JobStatus": "IN_PROGRESS"}, fields)
    assert set(seen.unreadable) == set(unreadable)


async def test_a_field_that_is_a_structure_is_left_out(tmp_path):
    # "types lint" says so as well; a model that grows may come to it later.
    whole = TEXTRACT.replace("DocumentMetadata.Pages", "not_null(DocumentMetadata, JobStatus)")

    seen = await describe(
        tmp_path, whole, "j-1", {"JobStatus": "FAILED", "DocumentMetadata": {"Pages": 3}}
    )

    assert (seen.parts, seen.unreadable) == ({"JobStatus": "FAILED"}, ("Pages",))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (1764201600123, datetime(2025, 11, 27, 0, 0, 0, 123000, tzinfo=UTC)),
        (1764201600123.0, datetime(2025, 11, 27, 0, 0, 0, 123000, tzinfo=UTC)),
        ("1764201600123", datetime(2025, 11, 27, 0, 0, 0, 123000, tzinfo=UTC)),
        (1764201600, datetime(2025, 11, 27, tzinfo=UTC)),
        ("1764201600", datetime(2025, 11, 27, tzinfo=UTC)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
async def test_a_number_may_be_a_time(tmp_path, told, expected):
    job = {"jobId": "ab-1", "status": "RUNNING", "createdAt": told, "startedAt": 10**30}

    seen = await describe(tmp_path, BATCH, "ab-1", {"jobs": [job]})

    assert (seen.created_at, seen.updated_at) == (expected, None)
    assert seen.unreadable == ("updated_at",)


async def test_an_id_that_the_answer_omits_is_missing(tmp_path):
    found = await refusal(tmp_path, BATCH, "ab-1", {"jobs": []})
    assert (found.reason, found.code) == (PollReason.MISSING, "Absent")

    found = await refusal(tmp_path, BATCH, "ab-1", {})
    assert (found.reason, found.code) == (PollReason.MALFORMED, "WrongId")


ARN = "arn:aws:ecs:us-east-1:123456789012:task/main/"
BARE: list[tuple[str, dict[str, Any], list[str], str | None]] = [
    (ATHENA, {"QueryExecutionIds": ["q-1", "q-2"], "NextToken": "t"}, ["q-1", "q-2"], "t"),
    (ECS, {"taskArns": [f"{ARN}a1", f"{ARN}b2"]}, [f"{ARN}a1", f"{ARN}b2"], None),
    (CODEBUILD, {"ids": ["p:1-a", "p:2-b"], "nextToken": "t"}, ["p:1-a", "p:2-b"], "t"),
]


@pytest.mark.parametrize(("text", "answer", "ids", "token"), BARE)
async def test_rows_may_be_ids_and_nothing_else(tmp_path, text, answer, ids, token):
    async with source_of(tmp_path, text, answer) as source:
        page = await source.page(None)

    assert [row.job.id for row in page.rows] == ids
    assert {value for row in page.rows for value in row.parts.values()} == {None}
    assert (page.next_token, page.skipped) == (token, ())
    assert not source.job_type.polls_by_sweep


async def test_an_odd_row_among_ids_is_skipped(tmp_path):
    answer: dict[str, Any] = {"ids": ["p:1-a", None, 5, "no id", {}, "p:2-b"]}
    async with source_of(tmp_path, CODEBUILD, answer) as source:
        page = await source.page(None)

    assert [row.job.id for row in page.rows] == ["p:1-a", "p:2-b"]
    assert page.skipped == tuple(SkippedRow(position, "BadRow") for position in range(1, 5))


async def test_a_reason_that_meets_null_is_no_reason(tmp_path):
    build = {"id": "p:1-a", "buildStatus": "FAILED"}

    seen = await describe(tmp_path, CODEBUILD, "p:1-a", {"builds": [build]})

    assert (seen.parts, seen.reason, seen.unreadable) == ({"buildStatus": "FAILED"}, None, ())


@pytest.mark.parametrize(
    ("task", "outcome"),
    [
        ({"lastStatus": "RUNNING"}, "RUNNING"),
        ({"lastStatus": "STOPPED", "containers": [{"exitCode": 0}]}, "SUCCEEDED"),
        ({"lastStatus": "STOPPED", "containers": [{"exitCode": 1}]}, "FAILED"),
        ({"lastStatus": "STOPPED", "containers": [{}]}, "FAILED"),
        ({"lastStatus": "STOPPED"}, "FAILED"),
    ],
)
async def test_a_state_that_meets_null_takes_its_other_way(tmp_path, task, outcome):
    answer = {"tasks": [{"taskArn": f"{ARN}a1", **task}]}

    assert (await describe(tmp_path, ECS, f"{ARN}a1", answer)).parts == {"Outcome": outcome}


async def test_a_cluster_that_is_available_has_not_ended_for_good(tmp_path):
    async with source_of(tmp_path, REDSHIFT, b"") as source:
        kind = source.job_type

    verdict = kind.judge({"ClusterStatus": "available"}, Phase.RUNNING)
    assert (verdict.phase, verdict.ending) == (Phase.SUCCEEDED, "open")
    assert kind.judge({"ClusterStatus": "resizing"}, Phase.SUCCEEDED).phase is Phase.RUNNING
