"""Job types with one mistake each: every one is refused, with its line, its key and a remedy."""

from __future__ import annotations

import pytest

from monitor.aws import service_models
from monitor.errors import ConfigurationError
from monitor.sources.loader import load_job_type

MODELS = service_models.loader({})

BATCH = """\
name: my.batch-job
service: batch
id: {job: jobId}
describe:
  operation: DescribeJobs
  params: {jobs: ["{job}"]}
  items: jobs
  at_once: 100
list:
  operation: ListJobs
  of: queue
  params: {jobQueue: "{queue}", filters: [{name: AFTER_CREATED_AT, values: ["{since_ms}"]}]}
of:
  queue:
    operation: DescribeJobQueues
    items: "jobQueues[].jobQueueName"
state: status
phases:
  waiting: [SUBMITTED, PENDING, RUNNABLE]
  running: [STARTING, RUNNING]
  failed: [FAILED, {SUCCEEDED: "container.exitCode != `0`"}]
  succeeded: [SUCCEEDED]
created_at: createdAt
reason: statusReason
fields:
  Queue: jobQueue
  Attempts: {path: attempts, as: count}
missing: [ClientException]
events: {source: aws.batch, detail_type: Batch Job State Change, id: detail.jobId}
"""

STEPS = """\
name: my.execution
service: stepfunctions
id: {execution: executionArn}
describe: {operation: DescribeExecution, params: {executionArn: "{execution}"}}
state: status
phases:
  running: [RUNNING, PENDING_REDRIVE]
  succeeded: [SUCCEEDED]
  failed: [FAILED, TIMED_OUT]
  canceled: [ABORTED]
missing: [ExecutionDoesNotExist]
reason: error
reveal: [error]
"""

COPIES = """\
name: my.copy-job
service: backup
id: {job: CopyJobId}
describe: {operation: DescribeCopyJob, params: {CopyJobId: "{job}"}, items: CopyJob}
state: State
phases: {waiting: [CREATED], running: [RUNNING], succeeded: [COMPLETED, PARTIAL], failed: [FAILED]}
list:
  params: {ByCreatedAfter: "{since}"}
  operation: ListCopyJobs
"""
QUERIES = """\
name: my.query
service: athena
id: {query: QueryExecutionId}
describe:
  operation: BatchGetQueryExecution
  params: {QueryExecutionIds: ["{query}"]}
  items: QueryExecutions
  at_once: 50
state: Status.State
phases:
  waiting: [QUEUED]
  running: [RUNNING]
  succeeded: [SUCCEEDED]
  failed: [FAILED]
  canceled: [CANCELLED]
"""
INFERENCES = """\
name: my.inference
service: bedrock
id: {job: jobArn}
describe: {operation: GetModelInvocationJob, params: {jobIdentifier: "{job}"}}
state: status
phases:
  waiting: [Submitted, Validating, Scheduled]
  running: [InProgress, Stopping]
  succeeded: [Completed]
  failed: [Failed, PartiallyCompleted]
  canceled: [Stopped]
  expired: [Expired]
list: {operation: ListModelInvocationJobs, row: {reason: jobName}}
"""
CONDITION = """\
  failed: [FAILED, {SUCCEEDED: "container.exitCode != `0`"}]
  succeeded: [SUCCEEDED]
"""
UNREACHED = """\
  succeeded: [SUCCEEDED]
  failed: [FAILED, {SUCCEEDED: "container.exitCode != `0`"}]
"""

MISTAKES = [
    # (text, what is replaced, by what, line, key, what the message says)
    (BATCH, "service: batch\n", "service: bach\n", 2, "service", 'did you mean "batch"?'),
    (BATCH, "{job: jobId}", "{job: jobid}", 3, "id.job", 'did you mean "jobId"?'),
    (BATCH, "{job: jobId}", "{job: null}", 3, "id", "none shows whose it is"),
    (BATCH, "{job: jobId}", "{job-id: jobId}", 3, "id", "cannot be the name of a part"),
    (BATCH, "{job: jobId}", "{state: jobId}", 3, "id", "cannot be the name of a part"),
    (BATCH, "{job: jobId}", "{job: jobId, path: jobId}", 3, "id", "either path, or the parts"),
    (BATCH, "{job: jobId}", '{job: jobId, q: null, pattern: "(?P<job>x)"}', 3, "id",
     "the pattern has no group for the part q"),
    (BATCH, "{job: jobId}", '{job: jobId, pattern: "(?P<job>x)y"}', 3, "id",
     "give the group another name"),
    (BATCH, "  at_once: 100\n", '  unprocessed: "jobs[0].jobId"\n', 8, "describe.unprocessed",
     "a string instead of a list"),
    (STEPS, 'params: {executionArn: "{execution}"}',
     'params: {executionArn: "{execution}"}, unprocessed: "@.*"', 4, "describe.unprocessed",
     "the items are not a list"),
    (BATCH, "{job: jobId}", '{job: "jobId["}', 3, "id.job", "not a JMESPath expression"),
    (BATCH, "{job: jobId}", "{job: container}", 3, "id.job", "a structure instead of a string"),
    (BATCH, "DescribeJobs", "DescribeJob", 5, "describe.operation", 'did you mean "DescribeJobs"?'),
    (BATCH, 'params: {jobs: ["{job}"]}', 'params: {jobs: "{job}"}', 6, "describe.params",
     "jobs must be a list"),
    (BATCH, 'params: {jobs: ["{job}"]}', 'params: {jobs: [["{job}"]]}', 6, "describe.params",
     "must be a str"),
    (BATCH, 'params: {jobs: ["{job}"]}', 'params: {job: ["{job}"]}', 6, "describe.params",
     'did you mean "jobs"?'),
    (BATCH, 'params: {jobs: ["{job}"]}', 'params: {jobs: ["{jobs}"]}', 6, "describe.params",
     'did you mean "job"?'),
    (BATCH, 'params: {jobs: ["{job}"]}', "params: {jobs: [all]}", 6, "describe.params",
     'write "{id}" where it goes'),
    (BATCH, "items: jobs\n", "items: job\n", 7, "describe.items", 'did you mean "jobs"?'),
    (BATCH, "items: jobs\n", "items: jobs[0]\n", 8, "describe.at_once",
     "it needs items that are a list"),
    (BATCH, "items: jobs\n", 'items: "jobs[0].jobId"\n', 7, "describe.items",
     "name a structure or a list"),
    (BATCH, "at_once: 100", "at_once: 0", 8, "describe.at_once", "greater than or equal to 1"),
    (BATCH, "at_once: 100", "at_one: 100", 8, "describe.at_one", "no such key"),
    (BATCH, "operation: ListJobs", "operation: ListJob", 10, "list.operation",
     'did you mean "ListJobs"?'),
    (BATCH, "of: queue\n", "of: jobQueue\n", 12, "list.params", '"queue" is not declared'),
    (BATCH, 'jobQueue: "{queue}", ', "jobQueue: nightly, ", 12, "list.params",
     'write "{queue}" where it goes'),
    (BATCH, "name: AFTER_CREATED_AT", "nam: AFTER_CREATED_AT", 12, "list.params",
     'did you mean "name"?'),
    (BATCH, 'values: ["{since_ms}"]', 'values: "{since_ms}"', 12, "list.params",
     "filters[0].values must be a list"),
    (BATCH, "{since_ms}", "{since_s}", 12, "list.params", 'did you mean "since_ms"?'),
    (BATCH, 'params: {jobQueue: "{queue}", ', 'params: {jobQueue: "{queue}", jobStatus: DONE, ', 12,
     "list.params", 'jobStatus cannot be "DONE"'),
    (BATCH, "  of: queue\n", "  of: queue\n  items: nextToken\n", 12, "list.items",
     "a string instead of a list"),
    (BATCH, "  of: queue\n", "  of: queue\n  row: {state: jobStatus}\n", 12,
     "list.row.state.status", "has no member"),
    (BATCH, "  of: queue\n", "  of: queue\n  row: {job: container}\n", 12, "list.row.job",
     "a structure instead of a string"),
    (BATCH, "  of: queue\n", "  of: queue\n  row: {job: null}\n", 12, "list.row",
     "write row: {job: PATH}"),
    (BATCH, "  of: queue\n", "  of: queue\n  row: {jobs: jobId}\n", 12, "list.row",
     'did you mean "job"?'),
    (BATCH, "  of: queue\n", "  of: queue\n  state: status\n", 9, "list", "put these into row:"),
    (BATCH, "  of: queue\n", "  of: queue\n  next: {param: token, path: nextToken}\n", 13,
     "list.params", '"token" is not declared'),
    (BATCH, "operation: DescribeJobQueues", "operation: ListJobQueues", 15, "of.queue.operation",
     "there is no operation"),
    (BATCH, '"jobQueues[].jobQueueName"', "jobQueues", 16, "of.queue.items",
     "give the path to their names"),
    (BATCH, "  queue:\n", "  cluster:\n", 14, "of.cluster", "no listing is sent for it"),
    (BATCH, "state: status", "state: stauts", 17, "state", 'did you mean "status"?'),
    (BATCH, "state: status", "state: container.exitCode", 17, "state",
     "a integer instead of a string"),
    (BATCH, "RUNNABLE]", "RUNABLE]", 18, "phases", 'did you mean "RUNNABLE"?'),
    (BATCH, "RUNNABLE]", "RUNNABLE, PAUSED]", 18, "phases", 'the model has no state "PAUSED"'),
    (BATCH, "waiting: [SUBMITTED, ", "waiting: [", 18, "phases",
     "no phase is given for SUBMITTED"),
    (BATCH, "waiting:", "queued:", 19, "phases.queued", "Input should be 'waiting'"),
    (BATCH, "running: [STARTING, RUNNING]", "running: [STARTING, RUNNING, PENDING]", 18, "phases",
     '"PENDING" is in more than one phase'),
    (BATCH, '{SUCCEEDED: "container.exitCode', '{SUCCEEDED: "container.exitcode', 18, "phases",
     'did you mean "exitCode"?'),
    (BATCH, '"container.exitCode != `0`"', "\"status == 'DONE'\"", 18, "phases",
     'the model has no value "DONE"'),
    (BATCH, CONDITION, UNREACHED, 18, "phases", "put conditions before"),
    (BATCH, "created_at: createdAt", "created_at: jobName.x", 23, "created_at", "a single value"),
    (BATCH, "reason: statusReason", "reason: attempts", 24, "reason", "a list instead of a string"),
    (BATCH, "path: attempts, as: count", "path: jobName, as: count", 27, "fields.Attempts",
     "cannot be counted"),
    (BATCH, "missing: [ClientException]", "missing: [ClientExeption]", 28, "missing",
     'did you mean "ClientException"?'),
    (BATCH, "id: detail.jobId}", "id: {jobs: detail.jobId}}", 29, "events.id",
     'did you mean "job"?'),
    (BATCH, "id: {job: jobId}", "id: {queue: null, job: jobId}", 29, "events.id",
     "no path for the part job"),
    (BATCH, "id: detail.jobId}", 'id: "detail["}', 29, "events.id", "not a JMESPath expression"),
    (STEPS, "ExecutionDoesNotExist", "ExecutionDoesNotExists", 11, "missing",
     'did you mean "ExecutionDoesNotExist"?'),
    (STEPS, "reveal: [error]\n", "", 12, "reason", "this would keep a secret"),
    (STEPS, "reveal: [error]", "reveal: [errors]", 13, "reveal[0]", 'did you mean "error"?'),
    (INFERENCES, "reason: jobName", "reason: message", 13, "list.row.reason",
     "this would keep a secret"),
    (QUERIES, "at_once: 50", "at_once: 51", 8, "describe.at_once", "takes at most 50 ids"),
    (COPIES, "{since}", "{since_ms}", 8, "list.params", "a time cannot be read"),
    (COPIES, "{since}", "1767225600000", 8, "list.params", "a time cannot be read"),
    (STEPS, "reason: error", "reason: cause", 12, "reason", "this would keep a secret"),
]  # fmt: skip


@pytest.mark.parametrize("text", [BATCH, STEPS, COPIES, QUERIES, INFERENCES])
def test_the_types_without_a_mistake_are_valid(tmp_path, text):
    path = tmp_path / "own.yaml"
    path.write_text(text)

    assert not load_job_type(path, MODELS).warnings


def test_there_are_enough_mistakes():
    assert len(MISTAKES) >= 45


@pytest.mark.parametrize(
    ("text", "given", "wrong", "line", "key", "said"),
    MISTAKES,
    ids=[f"{number}-{one[4]}" for number, one in enumerate(MISTAKES)],
)
def test_a_mistake_is_refused_with_its_line_key_and_remedy(
    tmp_path, text, given, wrong, line, key, said
):
    assert text.count(given) == 1
    path = tmp_path / "own.yaml"
    path.write_text(text.replace(given, wrong))

    with pytest.raises(ConfigurationError) as caught:
        load_job_type(path, MODELS)

    found = [(one.place, one.path, str(one)) for one in caught.value.problems]
    place = f"{path}:{line}"
    assert any(
        where == place and named.startswith(key) and said in message
        for where, named, message in found
    ), found
