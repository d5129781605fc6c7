"""Wheels of all that the program is installed with, kept for every test and every run."""

import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNCOMPILED = {"PIP_COMPILE": "0"}
"""Variables that let pip leave it to Python to compile what is imported, a quarter of all."""
_PINNED = re.compile(r"^(?=[a-z0-9])", re.MULTILINE)


@functools.cache
def kept(name="runtime"):
    """Return the folder of the wheels of a lock file; the first who asks fetches them.

    From a folder pip installs in half the time that an index takes. The hashes of the lock file
    hold for what lies there as well.
    """
    building = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    building += ["editables"]  # asked for by an editable installation
    about = f"{name}{_locked('runtime')}{_locked(name)}{building}{sys.version}"
    folder = f"job-monitor-tests-wheels-{os.getuid()}"
    place = Path(tempfile.gettempdir(), folder, hashlib.sha256(about.encode()).hexdigest()[:16])
    place.parent.mkdir(mode=0o700, exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            with tempfile.TemporaryDirectory(dir=place.parent) as part:
                fetched = Path(part, "all")
                if name == "runtime":
                    _fetch(fetched, *building)
                    _fetch(fetched, *_required(part, _locked(name).values()))
                else:
                    shutil.copytree(kept(), fetched, copy_function=os.link)
                    more = _locked(name).keys() - _locked("runtime").keys()
                    _fetch(fetched, *_required(part, (_locked(name)[each] for each in more)))
                fetched.rename(place)
    return place


def _locked(name):
    """Return the requirements of a lock file, each with its hashes, by name of the package."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    pinned = [each for each in _PINNED.split(text) if "==" in each]
    return {each.partition("==")[0]: each for each in pinned}


def _required(directory, pinned):
    file = Path(directory, "requirements.txt")
    file.write_text("".join(pinned))
    return ["--no-deps", "--require-hashes", "-r", file]


def _fetch(directory, *what):
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", directory]
    subprocess.run([*fetch, *what], check=True)


def settings(folder):
    """Return the environment variables that let pip install from a folder alone."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}
