"""Wheels of all that the program is installed with, kept for every test and every run."""

import fcntl
import functools
import hashlib
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
_LOCKED = ROOT / "requirements" / "runtime.txt"


@functools.cache
def kept():
    """Return the folder of the wheels; the first who asks fetches them.

    From a folder pip installs in half the time that an index takes. The hashes of the lock file
    hold for what lies there as well.
    """
    building = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    building += ["editables"]  # asked for by an editable installation
    about = f"{_LOCKED.read_text()}{building}{sys.version}"
    name = f"job-monitor-tests-wheels-{os.getuid()}"
    place = Path(tempfile.gettempdir(), name, hashlib.sha256(about.encode()).hexdigest()[:16])
    place.parent.mkdir(mode=0o700, exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            with tempfile.TemporaryDirectory(dir=place.parent) as part:
                fetch = [
                    sys.executable,
                    "-m",
                    "pip",
                    "download",
                    "--quiet",
                    "--dest",
                    f"{part}/all",
                ]
                subprocess.run([*fetch, "--require-hashes", "-r", _LOCKED], check=True)
                subprocess.run([*fetch, *building], check=True)
                Path(part, "all").rename(place)
    return place


def settings(folder):
    """Return the environment variables that let pip install from a folder alone."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}
