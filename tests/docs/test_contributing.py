"""What CONTRIBUTING.md says can be followed."""

import re
import subprocess
import sys

import pytest

from tests.acceptance.program import environment
from tests.checkout import checkout
from tests.docs import pages

PAGE = (pages.ROOT / "CONTRIBUTING.md").read_text()
TOPS = ("monitor/", "tests/", "deploy/", "docs/", "config/", "release/", "requirements/", ".ci/")
LAYOUT = PAGE.partition("## Layout")[2].partition("\n## ")[0]


def named():
    """Return the paths that the page names, without those with a name to fill in."""
    found = re.findall(r"`([\w./-]+)`", PAGE.replace(LAYOUT, ""))
    return sorted({path for path in found if path.startswith(TOPS) and "NAME" not in path})


def section(title):
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("path", named())
def test_a_path_that_is_named_exists(path):
    assert (pages.ROOT / path).exists()


def test_paths_are_found():
    assert len(named()) > 12


def test_a_folder_of_the_layout_exists():
    cells = re.findall(r"^\| (`.+?) \|", LAYOUT, re.MULTILINE)
    assert 8 <= len(cells) <= 12
    for folder in re.findall(r"`([\w.]+)/?[^`]*`", " ".join(cells)):
        assert any((pages.ROOT / top / folder).exists() for top in (".", "monitor")), folder


@pytest.mark.parametrize("thing", ["sink", "job type", "store", "metric"])
def test_there_are_steps_for_each_thing_that_people_add(thing):
    assert len(re.findall(r"^\d\. ", section(f"Add a {thing}"), re.MULTILINE)) >= 3


def test_a_job_type_that_is_added_as_described_is_a_built_in_one(tmp_path):
    text = (pages.ROOT / "docs/job-types.md").read_text()
    (example,) = re.findall(
        r"^```yaml\n(name: batch\.job\n.*?)^```$", text, re.MULTILINE | re.DOTALL
    )
    checkout(tmp_path)
    assert "`monitor/sources/job_types/NAME.yaml`" in section("Add a job type")
    file = tmp_path / "monitor/sources/job_types/batch.job.yaml"
    file.write_text(example.replace("name: batch.job", "name: batch.own"))
    assert "batch.own" in monitor(tmp_path, "types", "lint", str(file))
    assert "batch.own" in monitor(tmp_path, "types", "list")


def monitor(project, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "monitor", *arguments],
        cwd=project,
        env=environment(PYTHONPATH=str(project)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
