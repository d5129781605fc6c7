"""The folder of the chart → the archive that Helm installs; the same files make the same bytes.

    python release/chart.py FOLDER DIRECTORY EPOCH

``helm package`` writes the time of day into its archives.
"""

from __future__ import annotations

import fnmatch
import gzip
import os
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

_IGNORE = ".helmignore"
_FIRST = "Chart.yaml"


def package(folder: Path, directory: Path, epoch: int) -> Path:
    """Write the archive of a chart into a directory; links in it become the files behind them."""
    about = yaml.safe_load((folder / _FIRST).read_text("utf-8"))
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in files(folder):
            content = (folder / name).read_bytes()
            member = tarfile.TarInfo(f"{about['name']}/{name}")
            member.size, member.mtime, member.mode = len(content), epoch, 0o644
            archive.addfile(member, BytesIO(content))
    target = directory / f"{about['name']}-{about['version']}.tgz"
    with target.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=epoch) as zipped:
        zipped.write(packed.getvalue())
    return target


def files(folder: Path) -> list[str]:
    """Return the files of a chart that Helm packs, Chart.yaml first."""
    ignored = [line for line in (folder / _IGNORE).read_text("utf-8").splitlines() if line]
    found = sorted(name for name in _below(folder) if not _is_ignored(name, ignored))
    return sorted(found, key=lambda name: name != _FIRST)


def _below(folder: Path) -> Iterator[str]:
    for place, _, names in os.walk(folder, followlinks=True):
        for name in names:
            yield (Path(place) / name).relative_to(folder).as_posix()


def _is_ignored(name: str, patterns: list[str]) -> bool:
    """Judge by the parts of a path: the patterns of this chart name files and folders alone."""
    *folders, file = name.split("/")
    return any(
        any(fnmatch.fnmatch(each, pattern.rstrip("/")) for each in folders)
        or (not pattern.endswith("/") and fnmatch.fnmatch(file, pattern))
        for pattern in patterns
    )


if __name__ == "__main__":
    package(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
