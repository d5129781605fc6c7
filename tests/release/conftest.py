"""What installs the program as users do."""

import re
import subprocess
import sys
import venv

import pytest

from tests import once, wheels
from tests.acceptance.program import environment

PINNED = ("pipx==1.18.4", "uv==0.13.9")


class Installers:
    """pipx, with the pip that it gives all its environments, and uv, with what it has fetched."""

    def __init__(self, place):
        self.pipx, self.uv = place / "bin" / "pipx", place / "bin" / "uv"
        self.variables = {
            "PYTHONPATH": None,
            "PIPX_SHARED_LIBS": str(place / "shared"),
            "UV_CACHE_DIR": str(place / "cache"),
            **_index(),
        }

    def install(self, python, *arguments, **env):
        """Install into the environment of a Python, in a tenth of the time that pip takes."""
        command = [self.uv, "pip", "install", "--quiet", "--python", python, *arguments]
        subprocess.run(command, check=True, env=environment(**self.variables, **env))


def _index():
    """Return the variables that let uv ask the index that pip is configured to ask."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^\S+\.index-url='(.+)'$", told, re.MULTILINE)
    return {"UV_DEFAULT_INDEX": found[-1]} if found else {}


@pytest.fixture(scope="session")
def installers(tmp_path_factory):
    def make(place):
        venv.create(place)
        pip = [sys.executable, "-m", "pip", "--python", place / "bin" / "python", "install"]
        own = environment(PYTHONPATH=None, **wheels.UNCOMPILED)
        subprocess.run([*pip, "--quiet", *PINNED], check=True, env=own)
        made = Installers(place)
        command = [made.pipx, "upgrade-shared"]
        own = environment(**made.variables, **wheels.UNCOMPILED)
        subprocess.run(command, env=own, check=True, capture_output=True)

    return Installers(once.made(tmp_path_factory, "installers", make))
