"""The wheel as users install it: by pipx, on each Python that this machine has."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import monitor
from tests import once, wheels
from tests.acceptance.program import environment

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]
OLDEST = (3, 11)
GLIBC = "manylinux_2_28"
"""The newest that a wheel may ask for."""


def pythons():
    """Return every Python of this machine that the package takes, one of each version."""
    places = [Path(each) for each in os.get_exec_path()]
    places += sorted(Path.home().glob(".pyenv/versions/*/bin"))
    paths = [path for place in places for path in place.glob("python3.*")]
    # A shim of pyenv is a script, whose Python may be switched off: it is run only where no program
    # of its version was found, as each process of the tests does this while it collects them.
    paths.sort(key=is_script)
    found: dict[tuple[int, int], Path] = {}
    for path in paths:
        named = re.fullmatch(r"python3\.(\d+)", path.name)
        version = (3, int(named[1])) if named else (0, 0)
        if version >= OLDEST and version not in found and runs(path):
            found[version] = path
    return found


def is_script(path):
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def runs(path):
    done = subprocess.run([path, "-c", ""], capture_output=True, check=False)
    return done.returncode == 0


FOUND = pythons()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    def build(directory):
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory"]
        subprocess.run([*build, directory], cwd=ROOT, check=True, capture_output=True)

    [found] = once.made(tmp_path_factory, "wheel", build).glob("*.whl")
    return found


def test_this_machine_has_a_python_to_test_with():
    assert sys.version_info[:2] in FOUND


@pytest.mark.parametrize("version", sorted(FOUND), ids=lambda v: ".".join(map(str, v)))
def test_pipx_installs_the_wheel_and_its_command_works_anywhere(
    version, installers, wheel, tmp_path
):
    # As pipx chooses by whether it finds uv, which takes a fifth of the work.
    backend = "pip" if version == min(FOUND) else "uv"
    places = {"PIPX_HOME": str(tmp_path / "home"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    own = environment(**installers.variables, **places, **wheels.UNCOMPILED)
    command = [installers.pipx, "install", "--backend", backend, "--python", FOUND[version], wheel]
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    # Files that are named like the package and its libraries, where the command is run.
    place = tmp_path / "place"
    place.mkdir()
    for name in ("monitor.py", "yaml.py", "typer.py"):
        (place / name).write_text("raise SystemExit('the wrong file')\n")
    shutil.copy(ROOT / "config" / "minimal.yaml", place)

    def run(*arguments):
        program = [tmp_path / "bin" / "job-monitor", *arguments]
        ended = subprocess.run(
            program, cwd=place, env=own, capture_output=True, text=True, check=False, timeout=800
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    assert run("--version") == f"job-monitor {monitor.__version__}\n"
    assert "The configuration is valid." in run("check", "-c", "minimal.yaml")
    if version == max(FOUND):
        assert " -> " in run("demo", "--duration", "15s")


@pytest.mark.parametrize(("version", "architecture"), [("3.13", "aarch64"), ("3.14", "x86_64")])
def test_no_locked_package_needs_a_compiler(version, architecture, installers, tmp_path):
    """Neither in the image of the other architecture, nor on a Python that is not here."""
    command = [installers.uv, "pip", "install", "--quiet", "--no-deps", "--target", tmp_path]
    of = ["--python-version", version, "--python-platform", f"{architecture}-{GLIBC}"]
    locked = ["--require-hashes", "-r", str(ROOT / "requirements" / "runtime.txt")]
    done = subprocess.run(
        [*command, *of, "--only-binary", ":all:", *locked],
        env=environment(**installers.variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = f".cpython-{version.replace('.', '')}-{architecture}-linux-gnu.so"
    assert [path for path in tmp_path.rglob("*.so") if path.name.endswith(made)]
