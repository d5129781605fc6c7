import pytest
from yarl import URL

from monitor.sources import console_url
from monitor.sources.loader import load_job_types

TYPES = load_job_types(None)
AWS = "https://us-east-1.console.aws.amazon.com/"


def arn(service, name):
    return f"arn:aws:{service}:us-east-1:123456789012:{name}"


EXECUTION = arn("states", "execution:etl:run-1")
AUTOMATION = "0a1b2c3d-0000-1111-2222-0a1b2c3d4e5f"
STACK = arn("cloudformation", "stack/shop/0a1b")
QUOTED = "arn:aws:cloudformation:us-east-1:123456789012:stack%2Fshop%2F0a1b"
DMS = arn("dms", "task:ABC")
CODE = "codesuite"
LINKS = {
    "athena.query": ("0a-1b", "athena/home?region=us-east-1#/query-editor/history/0a-1b"),
    "batch.job": ("0a1b:7", "batch/home?region=us-east-1#jobs/detail/0a1b:7"),
    "cloudformation.stack": (
        STACK,
        f"cloudformation/home?region=us-east-1#/stacks/stackinfo?stackId={QUOTED}",
    ),
    "codebuild.build": ("web:0a1b", "codebuild/home?region=us-east-1#/builds/web:0a1b/view/new"),
    "codedeploy.deployment": ("d-ABC1", f"{CODE}/codedeploy/deployments/d-ABC1?region=us-east-1"),
    "codepipeline.execution": (
        "release/0a1b",
        f"{CODE}/codepipeline/pipelines/release/executions/0a1b/timeline?region=us-east-1",
    ),
    "datasync.task-execution": (
        arn("datasync", "task/task-0a/execution/exec-1b"),
        "datasync/home?region=us-east-1#/history/task-0a/exec-1b",
    ),
    "dms.task": (DMS, "dms/v2/home?region=us-east-1#taskDetails/copy%20it"),
    "ecs.task": (arn("ecs", "task/main/0a1b"), "ecs/v2/clusters/main/tasks/0a1b?region=us-east-1"),
    "emr.cluster": ("j-ABC1", "emr/home?region=us-east-1#/clusterDetails/j-ABC1"),
    "emr.step": ("j-ABC1/s-XYZ2", "emr/home?region=us-east-1#/clusterDetails/j-ABC1"),
    "glue.job-run": (
        "etl night/jr_1",
        "gluestudio/home?region=us-east-1#/job/etl%20night/run/jr_1",
    ),
    "mediaconvert.job": ("17-a", "mediaconvert/home?region=us-east-1#/jobs/summary/17-a"),
    "omics.run": ("12345", "omics/home?region=us-east-1#/runs/12345"),
    "rds.snapshot": ("rds:shop-1", "rds/home?region=us-east-1#db-snapshot:id=rds:shop-1"),
    "redshift.cluster": ("dwh", "redshiftv2/home?region=us-east-1#cluster-details?cluster=dwh"),
    "s3control.batch-job": ("123456789012/0a-1b", "s3/jobs/0a-1b?region=us-east-1"),
    "sagemaker.processing": ("clean-1", "sagemaker/home?region=us-east-1#/processing-jobs/clean-1"),
    "sagemaker.training": ("train-1", "sagemaker/home?region=us-east-1#/jobs/train-1"),
    "sagemaker.transform": ("apply-1", "sagemaker/home?region=us-east-1#/transform-jobs/apply-1"),
    "ssm.automation": (
        AUTOMATION,
        f"systems-manager/automation/execution/{AUTOMATION}?region=us-east-1",
    ),
    "stepfunctions.execution": (
        EXECUTION,
        f"states/home?region=us-east-1#/v2/executions/details/{EXECUTION}",
    ),
    "transcribe.job": ("call.1", "transcribe/home?region=us-east-1#job-details/call.1"),
}


@pytest.mark.parametrize("name", LINKS)
def test_a_shipped_type_leads_to_the_job_in_the_console(name):
    job_id, path = LINKS[name]
    link = TYPES[name].console_link(job_id, "us-east-1", None, {"Name": "copy it"})
    assert link == AWS + path
    # Nothing in it needs quoting, wherever it is shown.
    assert not set(link) & set(" \"'<>|()[]")


def test_every_shipped_type_with_a_link_is_in_the_table():
    assert {name for name, one in TYPES.items() if one.console_url} == LINKS.keys()


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-central-1", "eu-central-1.console.aws.amazon.com"),
        ("mx-central-1", "mx-central-1.console.aws.amazon.com"),
        ("us-gov-west-1", "us-gov-west-1.console.amazonaws-us-gov.com"),
        ("cn-north-1", "cn-north-1.console.amazonaws.cn"),
        ("us-iso-east-1", None),
        ("us-isob-east-1", None),
        ("eu-isoe-west-1", None),
        ("eusc-de-east-1", None),
        ("local", None),
    ],
)
def test_each_partition_has_its_own_console_if_any(region, host):
    assert console_url.console(region) == host
    link = TYPES["batch.job"].console_link("0a", region, None, {})
    assert link == (host and f"https://{host}/batch/home?region={region}#jobs/detail/0a")


def test_there_is_no_link_where_a_value_is_not_known():
    assert TYPES["dms.task"].console_link(DMS, "us-east-1", None, {}) is None
    assert TYPES["dms.task"].console_link(DMS, "us-east-1", None, {"Name": 7}) is None
    assert TYPES["batch.job"].console_link("not an id", "us-east-1", None, {}) is None
    assert TYPES["panorama.package-import"].console_link("a", "us-east-1", None, {}) is None
    template = "https://{console}/x?a={account}"
    assert console_url.fill(template, "us-east-1", {"account": None}) is None
    filled = console_url.fill(template, "us-east-1", {"account": "123456789012"})
    assert filled == f"{AWS}x?a=123456789012"


def test_no_value_leads_elsewhere():
    hostile = "a/../b?x=1#y&z @evil.test\\%2F\"<'>é"
    link = console_url.fill("https://{console}/jobs/{id}/end", "us-east-1", {"id": hostile})
    assert link
    url = URL(link, encoded=True)
    assert url.host == "us-east-1.console.aws.amazon.com"
    assert (url.raw_query_string, url.raw_fragment) == ("", "")
    assert len(url.raw_parts) == 4
    assert url.parts[2] == hostile


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("http://{console}/x/{id}", "is not an https URL with a fixed host"),
        ("{console}/x/{id}", "is not an https URL"),
        ("https://{id}/x", "is not an https URL with a fixed host"),
        ("https://{console}.evil.test/{id}", "is not an https URL with a fixed host"),
        ("https://me@h.test/{id}", "is not an https URL with a fixed host"),
        ("https://localhost/{id}", "is not an https URL with a fixed host"),
        ("https://{console}/{idd}", '"idd" is not declared: did you mean "id"?'),
        ("https://{console}/{}", "has characters that a URL cannot hold"),
        ("https://{console}/a b", "has characters that a URL cannot hold"),
        ('https://{console}/"', "has characters that a URL cannot hold"),
        ("https://{console}/" + "a" * 1000, "is longer than 1000 characters"),
    ],
)
def test_a_template_that_cannot_be_meant_is_refused(template, told):
    found = console_url.problem(template, ["part"])
    assert found
    assert ": ".join(found).startswith(told)


def test_a_template_may_name_parts_and_another_host():
    whole = "https://{console}/a?r={region}&a={account}#{part}"
    assert console_url.problem(whole, ["part"]) is None
    assert console_url.problem("https://portal.example.com/{id}", []) is None
