"""Drafts of job types: what the model says is taken, and what it does not say is not invented."""

import json
import re

import pytest
import yaml

from monitor.aws import service_models
from monitor.errors import ConfigurationError
from monitor.model import Phase
from monitor.sources.declaration import Declaration
from monitor.sources.drafts import draft, waiters, yaml_text
from monitor.sources.drafts.words import guess, likeness, singular, words
from monitor.sources.loader import BUILT_IN, load_job_type

MODELS = service_models.loader({})

OUTSIDE = [
    ("ssm", "GetCommandInvocation"),
    ("timestream-write", "DescribeBatchLoadTask"),
    ("braket", "GetQuantumTask"),
    ("macie2", "DescribeClassificationJob"),
    ("cloudtrail", "GetImport"),
    ("codebuild", "BatchGetBuildBatches"),
    ("bedrock", "GetEvaluationJob"),
    ("comprehend", "DescribeSentimentDetectionJob"),
    ("transcribe", "GetMedicalTranscriptionJob"),
    ("sagemaker", "DescribeHyperParameterTuningJob"),
    ("deadline", "GetJob"),
    ("eks", "DescribeUpdate"),
    ("amplify", "GetJob"),
    ("ec2", "DescribeSnapshots"),
    ("dynamodb", "DescribeBackup"),
]
"""Operations that no shipped job type polls."""

GOLDEN = """\
# Draft made by: job-monitor types generate emr-serverless GetJobRun
# Check every line marked "confirm" against the documentation of the service,
# then run: job-monitor types lint FILE
name: emr-serverless.job-run
service: emr-serverless
description: EMR Serverless job run
id: {application: applicationId, job_run: jobRunId}
# optional parameters: attempt
describe:
  operation: GetJobRun
  params: {applicationId: "{application}", jobRunId: "{job_run}"}
  items: jobRun
# optional parameters: createdAtBefore, states, mode
list:
  operation: ListJobRuns
  of: application
  params: {applicationId: "{application}", createdAtAfter: "{since}"}
  row: {job_run: id}
of:
  application:
    operation: ListApplications
    items: "applications[].id"
state: state
phases:
  waiting:
    - SUBMITTED  # confirm: by its name
    - PENDING  # confirm: by its name
    - SCHEDULED  # confirm: by its name
    - QUEUED  # confirm: by its name
  running:
    - RUNNING  # confirm: by its name
    - CANCELLING  # confirm: by its name
  succeeded:
    - SUCCESS  # confirm: by its name
  failed:
    - FAILED  # confirm: by its name
  canceled:
    - CANCELLED  # confirm: by its name
created_at: createdAt
reason: stateDetails
fields:
  Name: name
  StartedAt: startedAt
  EndedAt: endedAt
missing: [ResourceNotFoundException]
"""


def made(service, operation):
    """Return the draft of an operation."""
    return draft.draft(MODELS, draft.service_model(MODELS, service), operation)


def imported(service, waiter, known=None):
    """Return the draft of a waiter, of the SDK or of those given."""
    found = (known or waiters.of_service(MODELS, service)).find(waiter)
    model = draft.service_model(MODELS, service)
    return draft.draft(MODELS, model, found.operation, waiters.verdicts(found))


def loaded(one, tmp_path):
    """Return the job type that a draft is, once it is written to a file."""
    file = tmp_path / "draft.yaml"
    file.write_text(yaml_text.text(one, "test"))
    return load_job_type(file, MODELS)


def phase_of(one, state):
    return one.values["phases"][state]


@pytest.mark.parametrize(("service", "operation"), OUTSIDE)
def test_a_draft_is_valid_once_its_marks_are_confirmed(service, operation, tmp_path):
    one = made(service, operation)
    kept = loaded(one, tmp_path)
    assert kept.warnings == ()
    assert {phase.terminal for phase in kept.phases.values()} == {True, False}
    text = yaml_text.text(one, "test")
    for state in kept.phases:
        assert re.search(rf"^    - \S*{re.escape(state)}\S*  # confirm: .+$", text, re.MULTILINE)
    bare = re.sub(r"(?m)^#.*\n|  # .*$", "", text)
    (tmp_path / "draft.yaml").write_text(bare)
    assert "#" not in bare
    assert load_job_type(tmp_path / "draft.yaml", MODELS).phases == kept.phases


AGREEING = [
    "athena.query",
    "backup.backup-job",
    "batch.job",
    "bedrock.batch-inference",
    "codebuild.build",
    "comprehend.entities",
    "dms.task",
    "ec2.import-image",
    "ecs.task",
    "emr.step",
    "glue.job-run",
    "iotsitewise.bulk-import",
    "logs.export",
    "medical-imaging.dicom-import",
    "panorama.package-import",
    "redshift.cluster",
    "sagemaker.pipeline",
    "stepfunctions.execution",
    "textract.analysis",
]


@pytest.mark.parametrize("name", AGREEING)
def test_a_draft_agrees_with_the_type_that_was_written_by_hand(name):
    by_hand = Declaration.model_validate(yaml.safe_load((BUILT_IN / f"{name}.yaml").read_text()))
    values = made(by_hand.service, by_hand.describe.operation).values
    assert values["describe"].get("items") == by_hand.describe.items
    assert list(values["id"].values()) == list(by_hand.id.parts.values())
    assert [values["state"]] == list(by_hand.state.values())
    if by_hand.listings:
        assert values["list"]["operation"] == by_hand.listings[0].operation


def test_as_many_ids_as_the_model_or_its_prose_says_share_a_request():
    assert made("athena", "BatchGetQueryExecution").values["describe"]["at_once"] == 50
    one = made("batch", "DescribeJobs")
    assert one.values["describe"]["at_once"] == 100
    assert one.notes["describe"][0].startswith("confirm: at_once")
    assert made("glue", "GetJobRun").values["describe"].get("at_once") is None


def test_a_draft_as_it_is_written():
    text = yaml_text.text(
        made("emr-serverless", "GetJobRun"),
        "job-monitor types generate emr-serverless GetJobRun",
    )
    assert text == GOLDEN


def test_a_job_of_a_parent_is_listed_for_each_of_them():
    values = made("glue", "GetJobRun").values
    assert values["list"] == {
        "operation": "GetJobRuns",
        "of": "job",
        "params": {"JobName": "{job}"},
    }
    assert values["of"] == {"job": {"operation": "ListJobs", "items": "JobNames"}}


def test_where_a_row_differs_from_an_item_the_draft_says_so(tmp_path):
    one = made("iotsitewise", "DescribeBulkImportJob")
    assert one.values["list"]["row"] == {"job": "id", "state": "status"}
    assert loaded(one, tmp_path).listings[0].lists_states


def test_only_a_filter_of_creation_takes_the_time_of_the_last_sweep():
    listing = made("comprehend", "DescribeEntitiesDetectionJob").values["list"]
    assert listing["params"] == {"Filter": {"SubmitTimeAfter": "{since}"}}
    # It lists by the time of completion, so it would leave open jobs out.
    assert "params" not in made("mediaconvert", "GetJob").values["list"]


def test_a_listing_that_cannot_be_written_is_said_with_its_reason():
    one = made("deadline", "GetJob")
    assert "list" not in one.values
    assert one.notes["list"][0] == "ListJobs cannot list them: it requires farmId, queueId"
    one = made("textract", "GetDocumentAnalysis")
    assert one.notes["list"][0] == "the model has no operation that lists these jobs"


def test_a_filter_with_names_selects_the_job():
    values = made("dms", "DescribeReplicationTasks").values
    name = "replication-task-arn"
    assert values["describe"]["params"] == {
        "Filters": [{"Name": name, "Values": ["{replication_task}"]}]
    }


def test_a_row_that_is_a_text_alone_must_be_confirmed():
    one = made("codebuild", "BatchGetBuilds")
    assert one.values["list"] == {"operation": "ListBuilds"}
    assert one.notes["list"][-1] == "confirm: each row is a text alone, which must be the id"


def test_what_the_model_does_not_say_is_not_invented():
    one = made("batch", "DescribeJobs")
    assert "missing" not in one.values  # the answer leaves unknown ids out
    assert any("jobQueue" in note for note in one.notes["list"])
    assert any("RUNNING jobs" in note for note in one.notes["list"])
    one = made("glue", "GetCatalogImportStatus")
    assert "state" not in one.values
    assert "write state: PATH" in one.notes["state"][1]


def test_a_sensitive_member_is_never_drafted(tmp_path):
    one = made("stepfunctions", "DescribeExecution")
    drafted = yaml_text._flow(one.values | {"phases": None})
    for hidden in ("error", "cause", "input", "output"):
        assert not re.search(rf"\b{hidden}\b", drafted)
    assert "reveal: [" in one.notes["reason"][1]
    assert loaded(one, tmp_path).fields


@pytest.mark.parametrize("service", ["sagemaker", "bedrock", "stepfunctions", "omics"])
def test_no_draft_of_a_service_keeps_a_secret(service):
    model = draft.service_model(MODELS, service)
    for name in model.operation_names:
        if re.match("(Describe|Get)[A-Z]", name):
            one = draft.draft(MODELS, model, name)
            assert "would keep a secret" not in str(one.notes)


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("QUEUED", Phase.WAITING),
        ("Pending", Phase.WAITING),
        ("SUBMITTED", Phase.WAITING),
        ("NOT_STARTED", Phase.WAITING),
        ("InProgress", Phase.RUNNING),
        ("IN_PROGRESS", Phase.RUNNING),
        ("CANCEL_PENDING", Phase.RUNNING),
        ("PENDING_CANCEL", Phase.RUNNING),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", Phase.RUNNING),
        ("STOPPING", Phase.RUNNING),
        ("COMPLETED", Phase.SUCCEEDED),
        ("PARTIAL_SUCCESS", Phase.SUCCEEDED),
        ("available", Phase.SUCCEEDED),
        ("FAILED", Phase.FAILED),
        ("TIMED_OUT", Phase.FAILED),
        ("COMPLETED_WITH_FAILURES", Phase.SUCCEEDED),
        ("TERMINATED_WITH_ERRORS", Phase.FAILED),
        ("PARTIALLY_FAILED", Phase.FAILED),
        ("CANCEL_SUBMITTED", Phase.RUNNING),
        ("UPDATE_ROLLBACK_COMPLETE", Phase.FAILED),
        ("ERROR", Phase.FAILED),
        ("Stopped", Phase.CANCELED),
        ("CANCELLED", Phase.CANCELED),
        ("EXPIRED", Phase.EXPIRED),
    ],
)
def test_the_words_of_a_state_speak_for_a_phase(state, phase):
    assert guess(state) == (phase, True)


@pytest.mark.parametrize("state", ["PICKED", "NOT_READY", "UNAVAILABLE", "X"])
def test_a_word_that_is_not_known_is_running(state):
    assert guess(state) == (Phase.RUNNING, False)


def test_names_are_split_into_words():
    assert words("FHIRImportJob") == ("fhir", "import", "job")
    assert singular(words("QueryExecutionIds")) == ("query", "execution", "id")
    assert singular(words("batches")) == ("batch",)
    assert singular(words("jobStatus")) == ("job", "status")


def test_an_id_is_known_again_by_its_words():
    run = frozenset({"run"})
    assert likeness("JobName", "JobName", run) > likeness("RunId", "Id", run) > 0
    assert likeness("jobs", "jobId", frozenset({"job"})) > 6
    assert likeness("jobs", "jobId", frozenset()) > likeness("jobs", "jobName", frozenset())
    assert likeness("ClusterId", "ClusterName", frozenset({"cluster"})) == 0
    assert likeness("ClusterId", "Id", frozenset({"step"})) == 0


def test_names_of_the_cli_are_understood():
    assert made("batch", "describe-jobs").values == made("batch", "DescribeJobs").values


@pytest.mark.parametrize(
    ("service", "operation", "message"),
    [
        ("bach", "DescribeJobs", 'SERVICE: unknown service "bach" (did you mean "batch"?)'),
        ("../x", "DescribeJobs", 'SERVICE: unknown service "../x"'),
        (
            "batch",
            "DescribeJob",
            'OPERATION: unknown operation of batch "DescribeJob" (did you mean "DescribeJobs"?)',
        ),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(service, operation, message):
    with pytest.raises(ConfigurationError) as caught:
        made(service, operation)
    assert [str(one) for one in caught.value.problems] == [message]


def test_the_phases_that_a_waiter_knows_are_not_marked(tmp_path):
    one = imported("emr", "ClusterTerminated")
    assert phase_of(one, "TERMINATED") == (Phase.SUCCEEDED, "")
    assert phase_of(one, "TERMINATED_WITH_ERRORS") == (Phase.FAILED, "")
    assert phase_of(one, "RUNNING") == (Phase.RUNNING, "confirm: by its name")
    assert loaded(one, tmp_path).phases["TERMINATED"] is Phase.SUCCEEDED
    text = yaml_text.text(one, "test")
    assert "    - TERMINATED\n" in text
    assert "    - RUNNING  # confirm" in text


def test_a_waiter_names_states_that_the_model_does_not_list(tmp_path):
    one = imported("ecs", "TasksStopped")
    assert one.values["phases"] == {"STOPPED": (Phase.SUCCEEDED, "")}
    assert loaded(one, tmp_path).phases == {"STOPPED": Phase.SUCCEEDED}


def test_a_verdict_that_a_name_contradicts_must_be_confirmed():
    # Of the wait for a stop, a task that is being created is a failure.
    one = imported("dms", "ReplicationTaskStopped")
    assert phase_of(one, "stopped") == (Phase.SUCCEEDED, "")
    assert phase_of(one, "failed") == (Phase.FAILED, "")
    marked = (Phase.RUNNING, "confirm: the waiter counts it as failure")
    assert phase_of(one, "creating") == marked


def test_an_error_that_may_mean_more_is_only_noted():
    one = imported("cloudformation", "StackDeleteComplete")
    assert "missing" not in one.values
    assert any("ValidationError → success" in note for note in one.notes["phases"])


FILE = {
    "version": 2,
    "waiters": {
        "job_run_done": {
            "operation": "GetJobRun",
            "delay": 60,
            "maxAttempts": 75,
            "acceptors": [
                {
                    "matcher": "path",
                    "argument": "JobRun.JobRunState",
                    "expected": one,
                    "state": verdict,
                }
                for one, verdict in [
                    ("SUCCEEDED", "success"),
                    ("FAILED", "failure"),
                    ("STOPPED", "failure"),
                    ("STARTING", "retry"),
                    ("GONE", "failure"),
                ]
            ]
            + [
                {
                    "matcher": "error",
                    "argument": None,
                    "expected": "RunNotFoundException",
                    "state": "failure",
                },
                {
                    "matcher": "path",
                    "argument": "length(JobRun.Arguments) > `0`",
                    "expected": True,
                    "state": "retry",
                },
                {"matcher": "status", "expected": 404, "state": "success"},
            ],
        }
    },
}


def test_a_file_of_waiters_is_read_like_the_sdks(tmp_path):
    file = tmp_path / "glue.json"
    file.write_text(json.dumps(FILE))
    known = waiters.of_file(file, "glue")
    assert {name: one.operation for name, one in known.known.items()} == {
        "job_run_done": "GetJobRun"
    }
    one = imported("glue", "job-run-done", known)
    assert phase_of(one, "SUCCEEDED") == (Phase.SUCCEEDED, "")
    assert phase_of(one, "STARTING") == (Phase.RUNNING, "")
    assert phase_of(one, "STOPPED") == (
        Phase.CANCELED,
        "confirm: the waiter counts it as failure",
    )
    assert "GONE" not in one.values["phases"]
    assert any('"GONE"' in note for note in one.notes["phases"])
    assert any("length(JobRun.Arguments)" in note for note in one.notes["phases"])
    # Linting would refuse it, as the model has errors that are nearly the same.
    assert one.values["missing"] == ["EntityNotFoundException"]
    assert any("RunNotFoundException" in note for note in one.notes["missing"])
    loaded(one, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Invalid JSON"),
        ('{"waiters": {"x": {"acceptors": []}}}', "waiters.x.operation: Field required"),
        ("[]", "a file of waiters is"),
    ],
)
def test_a_file_that_holds_no_waiters_is_refused(tmp_path, content, message):
    file = tmp_path / "waiters.json"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        waiters.of_file(file, "glue")


def test_an_unknown_waiter_is_refused_with_the_nearest():
    with pytest.raises(ConfigurationError, match=r'"StepComplet".*did you mean "StepComplete"'):
        waiters.of_service(MODELS, "emr").find("StepComplet")
    with pytest.raises(ConfigurationError, match="types import-waiter batch"):
        waiters.of_service(MODELS, "batch").find("X")


@pytest.mark.parametrize("state", ["NO", "on", "null", "1", "a: b", "#x", "{x}", "Über", 'a"b'])
def test_any_state_is_quoted_as_yaml_needs_it(state):
    one = draft.Draft({"phases": {state: (Phase.RUNNING, "confirm: by its name")}})
    assert yaml.safe_load(yaml_text.text(one, "x\ny")) == {"phases": {"running": [state]}}
