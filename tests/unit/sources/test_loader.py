from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from monitor.aws import service_models
from monitor.errors import ConfigurationError
from monitor.sources.loader import BUILT_IN, load_job_type, load_job_types

MODELS = service_models.loader({})
DOCS = Path(__file__).parents[3] / "docs" / "job-types.md"

BATCH = """
name: batch.job
service: batch
description: AWS Batch job
interval: 1m
id: {pattern: "[a-f0-9-]+(:[0-9]+)?", max_length: 64, path: "jobs[0].jobId"}
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
reason: "jobs[0].statusReason"
fields:
  Queue: "jobs[0].jobQueue"
  Attempts: {path: "jobs[0].attempts", as: count}
"""


def declared(tmp_path, text=BATCH, **changes):
    form = yaml.safe_load(text)
    for key, value in changes.items():
        form[key] = value
    form = {key: value for key, value in form.items() if value is not None}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(form, sort_keys=False))
    return tmp_path


def problems(directory):
    with pytest.raises(ConfigurationError) as caught:
        load_job_types(directory, MODELS)
    return [str(problem) for problem in caught.value.problems]


def problem(tmp_path, **changes):
    found = problems(declared(tmp_path, **changes))
    assert len(found) == 1, found
    place, _, words = found[0].partition(": ")
    assert re.fullmatch(rf"{tmp_path}/own\.yaml:\d+", place)
    return words


def test_a_users_type_stands_beside_the_built_in_ones(tmp_path):
    found = load_job_types(declared(tmp_path), MODELS)

    assert set(found) == {"batch.job", *load_job_types(None, MODELS)}
    assert found["batch.job"].params("ab-1") == {"jobs": ["ab-1"]}
    assert not found["batch.job"].polls_by_sweep


def test_the_example_of_the_documentation_is_a_good_type(tmp_path):
    blocks = re.findall(r"```yaml\n(name: .+?)```", DOCS.read_text(), re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block)
        found = load_job_type(path, MODELS)
        assert found.name
        assert found.warnings == ()


def test_groups_of_the_id_fill_parameters(tmp_path):
    form = {
        "name": "glue.job-run",
        "service": "glue",
        "id": {
            "pattern": "(?P<job>[^/]+)/(?P<run>[^/]+)",
            "path": "join('/', [JobRun.JobName, JobRun.Id])",
        },
        "describe": {"operation": "GetJobRun", "params": {"JobName": "{job}", "RunId": "{run}"}},
        "state": "JobRun.JobRunState",
        "phases": {
            "waiting": ["STARTING", "WAITING"],
            "running": ["RUNNING", "STOPPING"],
            "succeeded": ["SUCCEEDED"],
            "canceled": ["STOPPED"],
            "failed": ["FAILED", "TIMEOUT", "ERROR"],
            "expired": ["EXPIRED"],
        },
    }
    (tmp_path / "glue.yml").write_text(yaml.safe_dump(form))

    found = load_job_types(tmp_path, MODELS)["glue.job-run"]

    assert found.params("nightly/jr_1") == {"JobName": "nightly", "RunId": "jr_1"}
    assert list(found.describe.item.state) == ["JobRunState"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"service": "batsch"},
            'service: the SDK has no service model for "batsch" (did you mean "batch"?)',
        ),
        (
            {"describe": {"operation": "DescribeJob", "params": {"jobs": ["{id}"]}}},
            'operation: there is no operation "DescribeJob" (did you mean "DescribeJobs"?)',
        ),
        ({"state": {"status": "jobs[0].statsu"}}, 'did you mean "status"?'),
        ({"state": {"status": "jobs.status"}}, "write [] after it"),
        ({"state": {"status": "jobs[].status"}}, "state.status: a list instead of a string"),
        ({"state": {"status": "jobs[0].container"}}, "a structure instead of a string"),
        ({"state": "jobs[0].status || 'x'"}, "state: not a plain path; give the part"),
        ({"state": "jobs[0"}, "state: not a plain path"),
        ({"reason": "jobs[0]."}, "reason: not a JMESPath expression: "),
        (
            {"phases": {"running": ["RUNNING"], "succeeded": ["SUCCEEDED"], "failed": ["FAILED"]}},
            "phases: no phase is given for SUBMITTED, PENDING, RUNNABLE, STARTING",
        ),
        (
            {"aliases": {"DONE": "SUCEEDED"}},
            'aliases: "SUCEEDED" is not declared (did you mean "SUCCEEDED"?)',
        ),
        (
            {"severity": {"FAILD": "info"}},
            'severity: "FAILD" is not declared (did you mean "FAILED"?)',
        ),
        ({"severity": {"FAILED": "loud"}}, "severity.FAILED: Input should be 'info'"),
        ({"errors": {"X": {"Status": "FAILED"}}}, 'errors.X: "Status" is not declared'),
        ({"errors": {"X": {"status": "GONE"}}}, 'errors.X: "GONE" is not declared'),
        (
            {"final": [{"status": ["FAILD"]}]},
            'final[0]: "FAILD" is not declared (did you mean "FAILED"?)',
        ),
        ({"irrevocable": ["running"]}, 'irrevocable: "running" is not a final phase'),
        ({"phase_from": "stat"}, 'phase_from: "stat" is not declared (did you mean "status"?)'),
        (
            {"console_url": "https://{console}/{regio}"},
            'console_url: "regio" is not declared (did you mean "region"?)',
        ),
        ({"console_url": "http://h.test/{id}"}, "console_url: is not an https URL with a fixed"),
        ({"descripe": "x"}, 'descripe: no such key (did you mean "describe"?)'),
        ({"interval": "often"}, "not a duration"),
        ({"name": None}, "name: this key is required"),
        ({"id": {"pattern": "("}}, "id.pattern: not a regular expression"),
        (
            {"region": "us-east-1", "regions": ["us-east-1"]},
            "region and regions exclude each other",
        ),
        (
            {"fields": {"Q": "jobs[0].jobQueu"}},
            'fields.Q: the response has no member "jobQueu" here',
        ),
        ({"fields": {"Q": "jobs[0].container"}}, "fields.Q: a structure (name one of its members)"),
        ({"fields": {"Q": "jobs[].jobQueue"}}, "fields.Q: a list"),
        ({"fields": {"Q": {"path": "jobs[0].jobQueue", "as": "texts"}}}, "fields.Q: not a list"),
        (
            {"fields": {"Q": {"path": "jobs[0].jobQueue", "as": "count"}}},
            "not a list, so it cannot be counted",
        ),
        (
            {"fields": {"Q": {"path": "jobs[0].jobQueue", "as": "hash"}}},
            "fields.Q.as: Input should be",
        ),
        ({"secret": ["jobs[].jobQueue"]}, "fields.Queue: this would keep a secret"),
        ({"secret": ["jobs[].jobQueu"]}, 'secret[0]: the response has no member "jobQueu"'),
        (
            {"describe": {"operation": "DescribeJobs", "params": {"jobs": ["x"]}}},
            "no parameter takes the id",
        ),
        (
            {"describe": {"operation": "DescribeJobs", "params": {"jobs": ["{id}"], "job": 1}}},
            'describe.params: "job" is not declared (did you mean "jobs"?)',
        ),
        (
            {"describe": {"operation": "DescribeJobs", "params": {"jobs": ["{ident}"]}}},
            'describe.params: "ident" is not declared',
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_remedy(tmp_path, changes, told):
    assert told in problem(tmp_path, **changes)


def test_a_required_parameter_must_be_given(tmp_path):
    form = {"operation": "CancelJob", "params": {"jobId": "{id}"}}

    assert any('"reason" is required' in one for one in problems(declared(tmp_path, describe=form)))


LISTING = {
    "operation": "ListJobs",
    "items": "jobSummaryList",
    "id": "jobId",
    "state": "status",
    "next": {"param": "nextToken", "path": "nextToken"},
}


def test_a_listing_that_tells_the_whole_state_is_known_to(tmp_path):
    found = load_job_types(declared(tmp_path, list=LISTING), MODELS)

    assert found["batch.job"].polls_by_sweep


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"items": "jobSummary"}, 'list.items: the response has no member "jobSummary" here'),
        (
            {"id": "jobID"},
            'list.id: the response has no member "jobID" here; did you mean "jobId"?',
        ),
        ({"state": {"state": "status"}}, 'list.state: "state" is not declared'),
        ({"next": {"param": "token", "path": "nextToken"}}, 'list.params: "token" is not declared'),
        ({"next": {"param": "nextToken"}}, "list.next: give either path, or both last_id and more"),
        ({"operation": "ListJob"}, 'did you mean "ListJobs"?'),
    ],
)
def test_a_mistake_in_a_listing_is_told(tmp_path, changes, told):
    assert told in problem(tmp_path, list={**LISTING, **changes})


@pytest.mark.parametrize("path", ["ClientToken", "to_string(@)", "InputConfig || ClientToken"])
def test_a_field_that_the_model_marks_as_sensitive_is_refused(tmp_path, path):
    form = {
        "name": "my.import",
        "service": "panorama",
        "id": {"path": "JobId"},
        "describe": {"operation": "DescribePackageImportJob", "params": {"JobId": "{id}"}},
        "state": "Status",
        "phases": {"running": ["PENDING"], "succeeded": ["SUCCEEDED"], "failed": ["FAILED"]},
        "fields": {"Leak": path},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(form))

    assert "fields.Leak: this would keep a secret" in " ".join(problems(tmp_path))


def test_all_mistakes_of_all_files_are_told_at_once(tmp_path):
    declared(tmp_path, irrevocable=["running"], reason="jobs[0].statusReson")
    (tmp_path / "zz.yaml").write_text("name: x.y\nname: x.z\n")
    (tmp_path / "empty.yaml").write_text("")

    found = problems(tmp_path)

    assert len(found) == 4
    first = f"{tmp_path}/zz.yaml:1"
    assert f"{tmp_path}/zz.yaml:2: name: is given twice (it was first given at {first})" in found


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xfe", "is not text in UTF-8 (save it as UTF-8)"),
        (b"? [a, b]\n: 1\n", "own.yaml:1: has a list or map as a key"),
        (b"a: [", "own.yaml:2: is not YAML"),
        (b"- a\n", "own.yaml:1: not a map of keys to values (start with name: …)"),
        (b"a: !!python/object:os.system {}", "own.yaml:1: a: has a YAML tag"),
    ],
)
def test_a_file_that_is_no_declaration_is_told(tmp_path, content, told):
    (tmp_path / "own.yaml").write_bytes(content)

    assert told in problems(tmp_path)[0]


def test_a_type_of_the_user_replaces_the_built_in_one_of_its_name(tmp_path):
    built_in = BUILT_IN / "importexport.job.yaml"
    own = built_in.read_text().replace("interval: 5m", "interval: 7m")
    (tmp_path / "own.yaml").write_text(own)

    types = load_job_types(tmp_path, MODELS)

    assert types["importexport.job"].interval == 7 * 60
    assert "in place of the built-in type" in str(types["importexport.job"].warnings[0])
    assert list(types).count("importexport.job") == 1


def test_two_files_of_the_user_cannot_have_one_name(tmp_path):
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text(BATCH)

    assert '"batch.job" exists already (choose another name)' in problems(tmp_path)[0]


def test_a_directory_that_is_not_there_is_told(tmp_path):
    assert problems(tmp_path / "none")[0].startswith("job_types_dir: ")


def test_hidden_files_and_others_are_left_alone(tmp_path):
    (tmp_path / ".own.yaml").write_text("x: [")
    (tmp_path / "notes.txt").write_text("x: [")
    (tmp_path / "..data").mkdir()

    assert set(load_job_types(tmp_path, MODELS)) == set(load_job_types(None, MODELS))


LISTS = {"operation": "ListJobs", "items": "jobSummaryList", "id": "jobId", "state": "status"}
ECS_LISTS = {"operation": "ListTasks", "items": "taskArns", "id": "@"}
ECS = """
name: ecs.task
service: ecs
id: {path: "tasks[0].taskArn"}
describe: {operation: DescribeTasks, params: {tasks: ["{id}"]}}
state: "tasks[0].lastStatus"
phases: {running: [RUNNING], succeeded: [STOPPED]}
"""


@pytest.mark.parametrize(
    ("text", "listing", "params", "warned"),
    [
        (BATCH, LISTS, {"jobQueue": "q"}, ["ListJobs lists only RUNNING jobs", "jobStatus"]),
        (BATCH, LISTS, {"jobQueue": "q", "jobStatus": "FAILED"}, []),
        (BATCH, LISTS, {"jobQueue": "q", "filters": [{"name": "JOB_NAME", "values": ["*"]}]}, []),
        (ECS, ECS_LISTS, {"cluster": "c"}, ["ListTasks lists only RUNNING jobs", "desiredStatus"]),
        (ECS, ECS_LISTS, {"cluster": "c", "desiredStatus": "STOPPED"}, []),
    ],
)
def test_a_listing_that_leaves_jobs_out_by_itself_is_warned_of(
    tmp_path, text, listing, params, warned
):
    declared(tmp_path, text, list={**listing, "params": params})

    found = load_job_type(tmp_path / "own.yaml", MODELS)

    told = [str(warning) for warning in found.warnings]
    assert len(told) == bool(warned)
    assert all(part in told[0] for part in warned)


@pytest.mark.parametrize("key", ["createdAt", "startedAt"])
def test_a_number_of_the_model_can_be_a_time(tmp_path, key):
    path = f"jobs[0].{key}"

    found = load_job_types(declared(tmp_path, created_at=path, updated_at=path), MODELS)

    created_at = found["batch.job"].describe.item.created_at
    assert created_at is not None
    assert created_at({"jobs": [{key: 5}]}) == 5


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"created_at": "jobs[0].attempts"},
            "created_at: a list instead of a time",
        ),
        (
            {"reopens": True, "irrevocable": ["failed"]},
            "reopens and irrevocable exclude each other: no end is for good",
        ),
        (
            {"reopens": True, "final": [{"status": ["FAILED"]}]},
            "reopens and final exclude each other: no end is for good",
        ),
        (
            {"reason": "lenght(jobs)"},
            "reason: there is no function lenght()",
        ),
        (
            {"reason": "contains(jobs)"},
            "reason: contains() takes 2 arguments instead of 1",
        ),
    ],
)
def test_what_cannot_be_meant_is_told(tmp_path, changes, told):
    assert problem(tmp_path, **changes) == told


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        (
            "service: batch",
            f"service: {'x' * 300}",
            ': service: the SDK has no service model for "',
        ),
        ("service: batch", 'service: "a\\0b"', ': service: the SDK has no service model for "a?b"'),
        ("state: {status: ", 'state: "1" # ', ": state: not a plain path"),
        ("AWS Batch job", "!!bool x", ":4: description: has a YAML tag (!…), which is not"),
        ("AWS Batch job", "012", ":4: description: is a number to some YAML readers"),
        ("AWS Batch job", "5", ":4: description: not a text (put it in quotes)"),
        ("AWS Batch job", "!!map x", ":4: description: has a YAML tag"),
        ("{status: ", "{status: !!timestamp x, other: ", ":11: state.status: has a YAML tag"),
        ("[FAILED]", "[FAILED, !!bool x]", ":16: phases.failed[1]: has a YAML tag"),
        ("[FAILED]", "[FAILED, no]", ":16: phases.failed[1]: yes, no, on and off are true or"),
        ("\nfields:", "\n2001-01-01: x\nfields:", ": 2001-01-01: no such key"),
    ],
)
def test_a_value_that_nothing_can_read_is_told_with_its_place(tmp_path, was, becomes, told):
    (tmp_path / "own.yaml").write_text(BATCH.replace(was, becomes, 1))
    (line,) = problems(tmp_path)
    assert line.startswith(f"{tmp_path}/own.yaml:")
    assert told in line
    assert "please report" not in line
