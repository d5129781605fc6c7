"""The names under which the project is published stand in one file."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "release"))

import names

ROOT = Path(__file__).parents[2]
OTHER = {
    "repository": "https://github.com/acme/watcher",
    "image": "registry.example.com/acme/watcher",
    "chart": "oci://registry.example.com/acme/charts/watcher",
    "docs": "https://github.com/acme/watcher/blob/main/docs",
    "runbook": "https://github.com/acme/watcher/blob/main/docs/runbook.md",
    "package": "aws-job-monitor",
}


def read(file):
    return (ROOT / file).read_text("utf-8")


def test_every_repetition_is_that_of_the_file():
    for file, pattern, name in names.places(names.names()):
        found = re.findall(pattern, read(file), re.MULTILINE)
        if not file.endswith(".md"):
            assert found, (file, pattern)
        assert set(found) <= {name}, f"{file}: make names"


def test_all_of_them_follow_a_change():
    """What is left of the old names would be a place that the script does not know."""
    changed = {file: read(file) for file, _, _ in names.places(OTHER)}
    for file, pattern, name in names.places(OTHER):
        changed[file] = names.written(changed[file], pattern, name)
    old = names.names()
    for file, text in changed.items():
        for key in ("repository", "image", "chart"):
            assert old[key] not in text, file


def test_no_other_file_repeats_a_name():
    known = {file for file, _, _ in names.places(OTHER)} | {"release/names.toml"}
    # Generated from the values, by `make manifests`.
    known |= {"deploy/helm/job-monitor/README.md"}
    repository = names.names()["repository"].removeprefix("https://github.com/")
    owner = repository.partition("/")[0]
    searched = subprocess.run(
        ["git", "grep", "-lE", f"(github.com|ghcr.io)/{owner}/", "--", ":!tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert set(searched.stdout.split()) <= known


def test_the_package_is_named_as_it_is_published():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert project["name"] == names.names()["package"]
    assert {"Homepage", "Documentation", "Changelog", "Issues", "Source"} <= set(project["urls"])


def test_another_repository_must_not_publish():
    names.check(names.names()["repository"])
    with pytest.raises(SystemExit, match="make names"):
        names.check("https://github.com/somebody/fork")
