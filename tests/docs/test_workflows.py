"""The workflows run the checks of this repository, pin what they use, and may do little."""

import re

import pytest
import yaml

from tests.docs import pages

GITHUB = pages.ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))
PINNED = re.compile(r"^[\w.-]+/[\w./-]+@(v\d+|[0-9a-f]{40})$")
LOCAL = re.compile(r"^\./\.github/workflows/[\w-]+\.yml$")
WRITERS = {("release.yml", "publish"): {"contents": "write"}}
"""The jobs that may write, and what."""


def read(path):
    tree = yaml.safe_load(path.read_text())
    # YAML 1.1 reads the key "on" as true.
    return {"on" if key is True else key: value for key, value in tree.items()}


def workflow(name):
    return read(GITHUB / "workflows" / name)


def steps(tree):
    return [step for job in tree["jobs"].values() for step in job.get("steps", [])]


def used(tree):
    called = [job["uses"] for job in tree["jobs"].values() if "uses" in job]
    return called + [step["uses"] for step in steps(tree) if "uses" in step]


def test_ci_runs_all_checks_on_pushes_and_pull_requests():
    tree = workflow("ci.yml")
    assert {"push", "pull_request", "workflow_call"} <= set(tree["on"])
    assert [step for step in steps(tree) if step.get("run") == ".ci/run"]


def test_a_release_is_built_of_a_tag_that_passed_the_same_checks():
    tree = workflow("release.yml")
    assert tree["on"] == {"push": {"tags": ["v*"]}}
    jobs = tree["jobs"]
    assert jobs["check"]["uses"] == "./.github/workflows/ci.yml"
    assert (jobs["build"]["needs"], jobs["publish"]["needs"]) == ("check", "build")
    script = "\n".join(step.get("run", "") for step in steps(tree))
    for command in ("make release", "helm package deploy/helm/job-monitor", "docker build"):
        assert command in script


def test_the_checksums_name_the_chart_as_helm_does():
    chart = yaml.safe_load((pages.ROOT / "deploy/helm/job-monitor/Chart.yaml").read_text())
    script = "\n".join(step.get("run", "") for step in steps(workflow("release.yml")))
    assert f'"{chart["name"]}-$VERSION.tgz"' in script


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_pins_its_actions_and_permits_no_more_than_reading(path):
    tree = read(path)
    assert used(tree)
    assert all(PINNED.match(each) or LOCAL.match(each) for each in used(tree))
    assert tree["permissions"] == {"contents": "read"}
    for name, job in tree["jobs"].items():
        assert job.get("permissions") == WRITERS.get((path.name, name)), name
        assert "timeout-minutes" in job or "uses" in job, name
    for step in steps(tree):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        # What others choose, such as a branch's name, must not become part of a script.
        assert "${{" not in step.get("run", "")


def test_there_are_issue_forms_and_a_template_for_pull_requests():
    forms = {path.name: read(path) for path in FORMS}
    assert {"bug.yml", "feature.yml"} <= forms.keys()
    for name in ("bug.yml", "feature.yml"):
        assert {"name", "description", "body"} <= forms[name].keys()
        assert all(each["type"] == "markdown" or "id" in each for each in forms[name]["body"])
    assert (GITHUB / "pull_request_template.md").is_file()
