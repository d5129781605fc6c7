"""A commit → what is released of it: wheel, sdist, chart, bill of materials, notices, checksums.

    python release/build.py DIRECTORY [COMMIT]

What is not committed has no part in it. The same commit makes the same files, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import chart
from locked import ROOT
from sbom import PROGRAM, sbom

SUMS = "SHA256SUMS"
NOTICES = "THIRD-PARTY-NOTICES"
CHART = "deploy/helm/job-monitor"


def build(directory: Path, commit: str = "HEAD") -> None:
    """Write the files of a release into a directory that is empty or does not exist."""
    epoch = _git("log", "-1", "--format=%ct", commit).decode().strip()
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        tree = Path(made)
        with tarfile.open(fileobj=BytesIO(_git("archive", commit))) as archive:
            archive.extractall(tree, filter="data")
        _packages(tree, directory.absolute(), epoch)
        chart.package(tree / CHART, directory, int(epoch))
        _documents(tree, directory, epoch)
    _sums(directory)


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


def _packages(tree: Path, directory: Path, epoch: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(directory)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
    subprocess.run(command, cwd=tree, env=environment, check=True, capture_output=True)


def _documents(tree: Path, directory: Path, epoch: str) -> None:
    (wheel,) = directory.glob("*.whl")
    version = wheel.name.split("-")[1]
    moment = datetime.fromtimestamp(int(epoch), UTC).isoformat().replace("+00:00", "Z")
    document = sbom((tree / "requirements" / "runtime.txt").read_text(), version, moment)
    target = directory / f"{PROGRAM}-{version}.cdx.json"
    target.write_text(json.dumps(document, indent=2) + "\n")
    shutil.copyfile(tree / NOTICES, directory / NOTICES)


def _sums(directory: Path) -> None:
    """In the form that ``sha256sum --check`` reads."""
    files = sorted(path for path in directory.iterdir() if path.name != SUMS)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (directory / SUMS).write_text("".join(lines))


if __name__ == "__main__":
    build(Path(sys.argv[1]), *sys.argv[2:3])
