"""The policies of ``deploy/iam`` against parliament, and against what the monitor really asks."""

import json
import re
from pathlib import Path
from typing import get_args

import anyio
import pytest

from monitor import config
from monitor.sources.loader import load_job_types
from tests import once
from tests.acceptance.program import run
from tests.deploy import shipped, tools

IAM = shipped.ROOT / "deploy" / "iam"
POLICIES = sorted(path for path in IAM.glob("*.json") if not path.name.startswith("trust-"))
TRUSTS = sorted(IAM.glob("trust-*.json"))
# PublishBatch and SendMessageBatch are permitted by the action of the single message.
SINK_ACTIONS = {
    "sns": {"sns:Publish"},
    "sqs": {"sqs:SendMessage"},
    "eventbridge": {"events:PutEvents"},
}
# A trust policy is about the role that it stands on, and so names no resource. parliament knows no
# provider of EKS, only those of SAML and of the public identity services.
OF_EVERY_TRUST = "Statement contains neither Resource nor NotResource"
NOT_KNOWN = "UNKNOWN_FEDERATION_SOURCE"

VALID = {"Version": "2012-10-17"}
MISTAKES = [
    ("panorama:ListPackageImportJobs", "panorama:ListPackageImports", "UNKNOWN_ACTION"),
    ('"Effect": "Allow"', '"Effect": "Permit"', "MALFORMED"),
]
"""What stands in a policy, what is put there in its place, and what parliament calls that."""

each_policy = pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
each_trust = pytest.mark.parametrize("path", TRUSTS, ids=lambda path: path.stem)


def statements(path):
    return json.loads(path.read_text("utf-8"))["Statement"]


def actions(path):
    return {each for statement in statements(path) for each in listed(statement["Action"])}


def listed(value):
    return [value] if isinstance(value, str) else value


def findings(texts, directory):
    """Return what parliament finds in each text by its name; the exit code does not always tell.

    One run reads all: to start takes longer than to read. A text that is wrong is always there.
    """
    canary = "canary"
    written = {**texts, canary: json.dumps({**VALID, "Statement": [{"Effect": "Permit"}]})}
    for name, text in written.items():
        (directory / f"{name}.json").write_text(text, "utf-8")  # no other file is read
    result = tools.run(tools.tool("parliament"), "--json", "--directory", directory)
    assert result.stderr == ""
    found: dict[str, list[dict[str, str]]] = {name: [] for name in written}
    for finding in map(json.loads, result.stdout.splitlines()):
        found[Path(finding["location"]["filepath"]).stem].append(finding)
    assert found.pop(canary), "parliament noticed nothing"
    return found


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """Return what parliament finds in every policy, and in one with each of the mistakes."""
    texts = {path.stem: path.read_text("utf-8") for path in (*POLICIES, *TRUSTS)}
    right = texts["watch-panorama"]
    wrong = {issue: right.replace(before, after, 1) for before, after, issue in MISTAKES}
    assert right not in wrong.values()
    return once.found(tmp_path_factory, "policies", lambda at: findings(texts | wrong, at))


@each_policy
def test_parliament_finds_nothing_in_a_policy(checked, path):
    assert checked[path.stem] == []


@each_trust
def test_parliament_finds_in_a_trust_policy_only_what_is_so_by_nature(checked, path):
    odd = [each for each in checked[path.stem] if each["issue"] != NOT_KNOWN]
    assert {each["detail"] for each in odd} == {OF_EVERY_TRUST}


@pytest.mark.parametrize("issue", [issue for *_, issue in MISTAKES])
def test_parliament_finds_a_mistake(checked, issue):
    assert issue in {each["issue"] for each in checked[issue]}


def test_each_first_class_service_gets_the_operations_of_its_job_type_and_no_other():
    needed: dict[str, set[str]] = {}
    types = load_job_types(None)
    for kind in (types["panorama.package-import"], types["importexport.job"]):
        operations = {kind.describe_operation, *kind.list_operations}
        of_service = needed.setdefault(kind.service, set())
        of_service.update(f"{kind.service}:{operation}" for operation in operations)
    given = {path.stem.removeprefix("watch-"): actions(path) for path in IAM.glob("watch-*.json")}
    assert given == needed
    assert len(given) >= 2


def test_each_kind_of_sink_in_aws_has_a_policy():
    sinks = get_args(get_args(config.BuiltInSink)[0])
    kinds = {
        get_args(each.model_fields["type"].annotation)[0]
        for each in sinks
        if issubclass(each, config.AwsSinkSettings)
    }
    assert {kind: actions(IAM / f"sink-{kind}.json") for kind in kinds} == SINK_ACTIONS


@each_policy
def test_a_policy_has_no_wildcard_but_where_the_service_offers_nothing_narrower(path):
    for statement in statements(path):
        assert not any("*" in action for action in listed(statement["Action"]))
        wide = path.name.startswith("watch-")
        assert ("*" in "".join(listed(statement["Resource"]))) == wide


@each_trust
def test_whoever_takes_a_role_is_named(path):
    assert "*" not in path.read_text("utf-8")
    assert "Condition" in statements(path)[0]


@pytest.mark.parametrize("name", ["trust-irsa.json", "trust-pod-identity.json"])
def test_a_pod_is_trusted_by_namespace_and_service_account(name):
    [statement] = statements(IAM / name)
    asked = "\n".join(statement["Condition"]["StringEquals"].values())
    assert re.search(r"^(system:serviceaccount:job-monitor:)?job-monitor$", asked, re.MULTILINE)
    assert set(statement["Condition"]) == {"StringEquals"}


def test_the_readme_names_every_policy_with_its_actions():
    rows = re.findall(r"^\| \[(\S+)\]\(\1\) \| .* \| (.*) \|$", readme(), re.MULTILINE)
    told = {name: set(re.findall(r"`([^`]+)`", cell)) for name, cell in rows}
    assert told == {path.name: actions(path) for path in POLICIES}
    assert all(f"]({path.name})" in readme() for path in TRUSTS)


def test_the_readme_says_that_import_export_takes_no_temporary_credentials():
    assert "does not take temporary credentials of STS" in readme()


def readme():
    return (IAM / "README.md").read_text("utf-8")


# --- what the command iam-policy makes of a configuration

EXAMPLES = sorted(path for path in (shipped.ROOT / "config").glob("*.yaml") if path.stem != "web")


async def made(directory, *arguments):
    code, out, err = await run("iam-policy", *arguments, directory=directory)
    assert (code, err) == (0, "")
    return json.loads(out)


async def test_parliament_finds_nothing_in_what_is_made_of_the_examples(tmp_path):
    texts, policies = {}, tmp_path / "policies"
    policies.mkdir()
    for path in EXAMPLES:
        of_example = await made(tmp_path, "--config", path)
        assert of_example, path
        for number, policy in enumerate(of_example.values()):
            assert policy["Statement"], path
            texts[f"{path.stem}-{number}"] = json.dumps(policy)
    found = await anyio.to_thread.run_sync(findings, texts, policies)
    # A watch that discovers asks for every job of the account, so no resource can be named.
    odd = {
        name: [one for one in issues if one["issue"] != "RESOURCE_STAR"]
        for name, issues in found.items()
    }
    assert odd == {name: [] for name in texts}


async def test_a_login_to_rds_by_iam_is_permitted_for_its_user_alone(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        """
watches: [{name: a, type: importexport.job, jobs: [EX1ID], account: other}]
accounts: {other: {profile: other}, prod: {role_arn: "arn:aws-cn:iam::123456789012:role/db"}}
sinks: {a: {type: log}}
store:
  url: postgresql://ops@jobs.c1.cn-north-1.rds.amazonaws.com.cn/d?sslmode=verify-full&sslrootcert=system
  iam_auth: true
  account: prod
""",
        "utf-8",
    )
    policies = await made(tmp_path, "--config", path)
    role = "arn:aws-cn:iam::123456789012:role/db"
    user = "arn:aws-cn:rds-db:cn-north-1:*:dbuser:*/ops"
    assert permitted(policies[role]) == {("rds-db:connect", user)}
    assert permitted(policies["ambient"]) == {("sts:AssumeRole", role)}


HINTS = "arn:aws:sqs:us-east-1:123456789012:job-hints"


async def test_each_identity_is_allowed_what_is_asked_with_it_and_no_more(tmp_path):
    policies = await made(tmp_path, "--config", shipped.ROOT / "config" / "full.yaml")
    role = "arn:aws:iam::123456789012:role/job-monitor"
    assert {name: permitted(policy) for name, policy in policies.items()} == {
        "ambient": {
            ("importexport:GetStatus", "*"),
            ("importexport:ListJobs", "*"),
            ("sqs:SendMessage", "arn:aws:sqs:us-east-1:123456789012:jobs"),
            ("sqs:SendMessage", "arn:aws:sqs:us-east-1:123456789012:jobs.fifo"),
            ("events:PutEvents", "arn:aws:events:us-east-1:123456789012:event-bus/jobs"),
            ("sts:AssumeRole", role),
        },
        role: {
            ("panorama:DescribePackageImportJob", "*"),
            ("panorama:ListPackageImportJobs", "*"),
            ("glue:GetJobRun", "*"),
            ("glue:GetJobRuns", "*"),
            ("glue:ListJobs", "*"),
            ("sns:Publish", "arn:aws:sns:us-east-1:123456789012:jobs"),
            ("sqs:ChangeMessageVisibility", HINTS),
            ("sqs:DeleteMessage", HINTS),
            ("sqs:GetQueueAttributes", HINTS),
            ("sqs:ReceiveMessage", HINTS),
        },
    }
    alone = await made(
        tmp_path, "--config", shipped.ROOT / "config" / "full.yaml", "--for", "ambient"
    )
    assert alone == policies["ambient"]


def permitted(policy):
    return {
        (action, resource)
        for statement in policy["Statement"]
        for action in statement["Action"]
        for resource in statement["Resource"]
    }


async def test_a_queue_by_its_url_and_a_role_taken_by_a_profile(tmp_path):
    role = "arn:aws-cn:iam::111122223333:role/tell"
    file = tmp_path / "own.yaml"
    settings = {
        "accounts": {"china": {"profile": "base", "role_arn": role}},
        "sinks": {
            "queue": {
                "type": "sqs",
                "account": "china",
                "queue_url": "https://sqs.cn-north-1.amazonaws.com.cn/111122223333/jobs",
            }
        },
    }
    file.write_text(json.dumps(settings))
    policies = await made(tmp_path, "--config", file)
    assert {name: permitted(policy) for name, policy in policies.items()} == {
        "profile base": {("sts:AssumeRole", role)},
        role: {("sqs:SendMessage", "arn:aws-cn:sqs:cn-north-1:111122223333:jobs")},
    }


async def test_a_job_type_of_ones_own_goes_by_the_name_that_iam_has_for_its_service(tmp_path):
    types = tmp_path / "types"
    types.mkdir()
    (types / "execution.yaml").write_text(EXECUTION)
    watch = {"name": "w", "type": "states.execution", "regions": ["us-east-1"], "jobs": [ARN]}
    file = tmp_path / "own.yaml"
    file.write_text(json.dumps({"job_types_dir": str(types), "watches": [watch]}))
    policies = await made(tmp_path, "--config", file)
    assert permitted(policies["ambient"]) == {("states:DescribeExecution", "*")}


ARN = "arn:aws:states:us-east-1:111122223333:execution:machine:one"
EXECUTION = """
name: states.execution
service: stepfunctions
description: Step Functions execution
interval: 1m
id: {pattern: "[a-zA-Z0-9:_-]+", max_length: 256, path: executionArn}
describe: {operation: DescribeExecution, params: {executionArn: "{id}"}}
missing: [ExecutionDoesNotExist]
state: status
phases:
  running: [RUNNING, PENDING_REDRIVE]
  succeeded: [SUCCEEDED]
  failed: [FAILED, TIMED_OUT]
  canceled: [ABORTED]
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "panorama.package"}, 'watches[0].type: unknown job type "panorama.package"'),
        ({"account": "prd"}, 'watches[0].account: unknown account "prd" (known: default)'),
    ],
)
async def test_what_it_cannot_know_is_a_mistake(tmp_path, change, message):
    watch = {"name": "w", "type": "panorama.package-import", "regions": ["us-east-1"]}
    file = tmp_path / "own.yaml"
    file.write_text(json.dumps({"watches": [{**watch, "discover": True, **change}]}))
    code, out, err = await run("iam-policy", "--config", file, directory=tmp_path)
    assert (code, out) == (2, "")
    assert message in err


async def test_an_identity_that_asks_for_nothing_is_told_with_those_that_do(tmp_path):
    minimal = shipped.ROOT / "config" / "minimal.yaml"
    arguments = ("iam-policy", "--config", minimal, "--for", "profile x")
    code, out, err = await run(*arguments, directory=tmp_path)
    assert (code, out) == (2, "")
    assert "ambient" in err
