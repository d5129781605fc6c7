"""What CONTRIBUTING.md says can be followed."""

import filecmp
import json
import re
import subprocess
import sys
import textwrap

import pytest
from anyio import to_thread

from tests.acceptance.program import environment
from tests.checkout import checkout
from tests.contracts.sink_kit import receiving
from tests.docs import pages

PAGE = (pages.ROOT / "CONTRIBUTING.md").read_text()
TOPS = ("monitor/", "tests/", "deploy/", "docs/", "config/", "release/", "requirements/", ".ci/")
LAYOUT = PAGE.partition("## Layout")[2].partition("\n## ")[0]


def named():
    """Return the paths that the page names, without those with a name to fill in."""
    found = re.findall(r"`([\w./-]+)`", PAGE.replace(LAYOUT, ""))
    return sorted(
        {path for path in found if path.startswith(TOPS) and "NAME" not in path}
        - {"monitor/sinks/ntfy.py"}
    )


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


def steps():
    """Return the blocks that add a sink, by the number of their step and their language."""
    found = {}
    for step in re.split(r"^(?=\d\. )", section("Add a sink"), flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"^ +```(\w+)\n(.*?)^ +```$", step, re.MULTILINE | re.DOTALL)
        for language, text in blocks:
            found[int(step[0]), language] = textwrap.dedent(text)
    return found


def edit(file, *replacements):
    """Replace texts that stand in a file once."""
    text = file.read_text()
    for old, new in replacements:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file.write_text(text)


def add_the_sink(project):
    """Do what the steps say, and nothing else."""
    step = steps()
    edit(
        project / "monitor/config/settings.py",
        ("BuiltInSink = ", f"{step[1, 'python']}\n\nBuiltInSink = "),
        ("| AppriseSink,", "| AppriseSink | NtfySink,"),
    )
    (project / "monitor/sinks/ntfy.py").write_text(step[2, "python"])
    line = textwrap.indent(step[3, "python"], "    ")
    edit(
        project / "monitor/sinks/__init__.py",
        ("import apprise, format, log, plugin", "import apprise, format, log, ntfy, plugin"),
        ('    "sns": sns.KIND,\n', line + '    "sns": sns.KIND,\n'),
    )
    edit(project / "docs/sinks.md", ("## Plug-ins\n", f"{step[4, 'markdown']}\n## Plug-ins\n"))
    (command,) = re.findall(r"`python (-m .+?)`", section("Add a sink"))
    python(project, *command.split())
    rig = step[5, "python"]
    edit(
        project / "tests/contracts/test_sinks.py",
        ("\nRIGS = {\n", f'\n{rig}\n\nRIGS = {{\n    "ntfy": ntfy_rig,\n'),
        ("\nMEANINGS = {\n", '\nMEANINGS = {\n    "ntfy": set(Outcome),\n'),
    )


def touched(project):
    files = {path.relative_to(project) for path in project.rglob("*") if path.is_file()}
    return {
        path.as_posix()
        for path in files
        if "__pycache__" not in path.parts
        and not ((pages.ROOT / path).exists() and filecmp.cmp(project / path, pages.ROOT / path))
    }


async def test_a_sink_that_is_added_as_described_sends_from_five_files(tmp_path):
    project = tmp_path / "project"
    checkout(project)
    add_the_sink(project)
    by_hand = touched(project) - {"docs/configuration.md"}  # which a command has written
    assert by_hand == {
        "monitor/config/settings.py",
        "monitor/sinks/ntfy.py",
        "monitor/sinks/__init__.py",
        "docs/sinks.md",
        "tests/contracts/test_sinks.py",
    }
    (tmp_path / "token").write_text("Bearer tk_1")
    async with receiving() as receiver:
        sink = {"type": "ntfy", "url": receiver.url, "topic": "jobs", "allow_http": True}
        sink |= {
            "allow_networks": ["127.0.0.0/8"],
            "header_files": {"Authorization": str(tmp_path / "token")},
        }
        store = f"sqlite://{tmp_path}/state.db"
        file = tmp_path / "monitor.yaml"
        file.write_text(json.dumps({"store": store, "sinks": {"push": sink}}))
        await to_thread.run_sync(monitor, project, "check", "-c", str(file))
        await to_thread.run_sync(monitor, project, "send-test", "push", "-c", str(file))
    (request,) = receiver.requests
    assert request.event.keys() == {"topic", "message"}
    assert request.headers["authorization"] == "Bearer tk_1"


def test_a_sink_that_is_added_as_described_passes_its_tests(tmp_path):
    checkout(tmp_path)
    add_the_sink(tmp_path)
    suites = ("tests/contracts/test_sinks.py", "tests/unit/sinks/test_sink_kinds.py")
    more = ("tests/unit/sinks/test_sink_docs.py", "tests/unit/config/test_examples.py")
    only = "ntfy or rig or registry or documented or reference"
    out = python(tmp_path, "-m", "pytest", "-q", "-n0", "-k", only, *suites, *more)
    assert int(re.findall(r"(\d+) passed", out)[0]) > 15
    ruff = [sys.executable, "-m", "ruff", "check", "monitor/sinks", "monitor/config/settings.py"]
    done = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def monitor(project, *arguments):
    return python(project, "-m", "monitor", *arguments)


def python(project, *arguments):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env=environment(PYTHONPATH=str(project)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
