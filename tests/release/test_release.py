"""What is released of the last commit is whole, the same each time, and runs."""

import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import monitor
from tests import once, wheels
from tests.acceptance.program import environment

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
RELEASE = ROOT / "release"
SCHEMA_LIBRARY = "cyclonedx-python-lib[json-validation]==11.12.0"
VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
for path in sys.argv[1:]:
    told = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(path).read())
    print(" ".join(str(told).split()))
"""


def tracked(*folders):
    """Return the files of the last commit in some folders."""
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "-z", "--name-only", "HEAD", *folders],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return set(filter(None, listed.stdout.decode().split("\0")))


def build(directory, umask=0o022):
    command = [sys.executable, str(RELEASE / "build.py"), str(directory)]
    subprocess.run(command, check=True, umask=umask, cwd=directory.parent)
    return directory


def script(name, *arguments):
    """Return what a script of the release prints."""
    command = [sys.executable, str(RELEASE / name), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def only(directory, pattern):
    (found,) = directory.glob(pattern)
    return found


def locked():
    text = (ROOT / "requirements" / "runtime.txt").read_text()
    return set(re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^]]*\])?==(\S+)", text, re.MULTILINE))


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    return once.made(tmp_path_factory, "release", lambda place: build(place / "dist")) / "dist"


def test_the_wheel_holds_the_whole_package_and_nothing_else(dist):
    with zipfile.ZipFile(only(dist, "*.whl")) as wheel:
        names = set(wheel.namelist())
    held = {name for name in names if ".dist-info/" not in name}
    assert held == tracked("monitor")
    ends = (".j2", ".html", ".css", ".js", ".svg", ".json", ".yaml", "0001_ledger.py", "py.typed")
    assert all(any(name.endswith(end) for name in held) for end in ends)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_holds_all_that_a_user_needs(dist):
    with tarfile.open(only(dist, "*.tar.gz")) as archive:
        held = {member.name.partition("/")[2] for member in archive if member.isfile()}
    all_files = tracked("monitor", "config", "deploy", "docs", "requirements")
    files = {name for name in all_files if not (ROOT / name).is_symlink()}
    assert len(files) > 200
    assert files <= held
    tops = {"README.md", "CHANGELOG.md", "LICENSE", "THIRD-PARTY-NOTICES", "pyproject.toml"}
    assert held - files == tops | {"PKG-INFO", ".gitignore"}


def test_two_builds_of_one_commit_are_the_same(dist, tmp_path):
    other = build(tmp_path / "again", umask=0o077)
    sums = (dist / "SHA256SUMS").read_text()
    assert (other / "SHA256SUMS").read_text() == sums
    told = dict(reversed(line.split("  ")) for line in sums.splitlines())
    assert set(told) == {path.name for path in dist.iterdir()} - {"SHA256SUMS"}
    assert len(told) == 5
    assert f"job-monitor-{monitor.__version__}.tgz" in told
    for name, digest in told.items():
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == digest


def test_the_version_stands_in_one_place(dist):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"] == {"path": "monitor/__init__.py"}
    assert only(dist, "*.whl").name == f"aws_job_monitor-{monitor.__version__}-py3-none-any.whl"
    assert f"\n## {monitor.__version__} " in (ROOT / "CHANGELOG.md").read_text()


def test_the_notices_are_those_of_the_locked_requirements():
    held = (ROOT / "THIRD-PARTY-NOTICES").read_text()
    assert held == script("notices.py"), "run: make notices"
    named = set(
        re.findall(r"^=+\n([a-z0-9][a-z0-9._-]*) (\S+)\nLicence: .+\n=+$", held, re.MULTILINE)
    )
    assert len(named) > 30
    assert {name for name, _ in locked() - named} <= {"colorama"}, "but for another system's"
    assert named <= locked()


def test_the_bill_of_materials_names_every_locked_package(dist):
    document = json.loads(only(dist, "*.cdx.json").read_text())
    assert {(each["name"], each["version"]) for each in document["components"]} == locked()
    assert all(each["hashes"] for each in document["components"])
    refs = [each["ref"] for each in document["dependencies"]]
    assert len(refs) == len(set(refs)) == len(document["components"]) + 1
    program = document["metadata"]["component"]
    assert program["version"] == monitor.__version__
    graph = {each["ref"]: each["dependsOn"] for each in document["dependencies"]}
    assert len(graph[program["bom-ref"]]) > 15
    reached, waiting = set(), [program["bom-ref"]]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += graph[ref]
    assert reached == set(refs)


def empty(directory):
    """Make an empty environment; return its folder of programs."""
    venv.create(directory)
    return directory / "bin"


def test_the_bill_of_materials_fits_the_schema(dist, installers, tmp_path):
    programs = empty(tmp_path / "schema")
    installers.install(programs / "python", SCHEMA_LIBRARY)
    file = only(dist, "*.cdx.json")
    broken = tmp_path / "broken.json"
    broken.write_text(file.read_text().replace('"library"', '"book"', 1))

    command = [programs / "python", "-c", VALIDATE, file, broken]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told = done.stdout.splitlines()
    assert told[0] == "None"
    assert "book" in told[1]


def test_the_wheel_runs_from_an_empty_environment(dist, installers, tmp_path):
    programs = empty(tmp_path / "venv")
    locked_ones = ("--require-hashes", "-r", str(ROOT / "requirements" / "runtime.txt"))
    python = programs / "python"
    installers.install(python, *locked_ones, UV_NO_INDEX="1", UV_FIND_LINKS=str(wheels.kept()))
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    own = environment(PYTHONPATH=None)
    subprocess.run([*pip, "--no-index", only(dist, "*.whl")], check=True, env=own)
    # What has the names of ours, in the directory of a user, is not ours.
    place = tmp_path / "place"
    for name in ("monitor", "yaml"):
        (place / name).mkdir(parents=True)
        (place / name / "__init__.py").write_text("raise SystemExit('not this one')")
    for name in ("jinja2", "signal", "typer"):
        (place / f"{name}.py").write_text("raise SystemExit('not this one')")

    def run(*arguments):
        command = [programs / "job-monitor", *arguments]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=place,
            env=environment(PYTHONPATH=None, PYTHONPYCACHEPREFIX=None),
            timeout=500,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("--version") == f"job-monitor {monitor.__version__}\n"
    assert json.loads(run("version", "-o", "json"))["version"] == monitor.__version__
    assert "The configuration is valid." in run("check", "-c", str(ROOT / "config/minimal.yaml"))
    assert "_job_monitor" in run("completion", "bash")
    # A template is rendered by a child, which must not take theirs either.
    settings = {"type": "webhook", "url": "https://example.com/", "template": "slack"}
    (place / "slack.yaml").write_text(json.dumps({"sinks": {"chat": settings}}))
    assert "blocks" in run("render", "--sink", "chat", "-c", "slack.yaml")
    assert " -> " in run("demo", "--duration", "15s")
    where = [programs / "python", "-c", "import monitor; print(monitor.__file__)"]
    found = subprocess.run(
        where,
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(PYTHONPATH=None),
    )
    assert Path(found.stdout.strip()).is_relative_to(tmp_path)
