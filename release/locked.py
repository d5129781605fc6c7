"""What a lock file pins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNTIME = ROOT / "requirements" / "runtime.txt"
_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^]]*\])?==(\S+)(?: ; ([^\\\n]+))?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pin:
    """One package: ``marker`` says where it is installed; empty: everywhere."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    """SHA-256 of each file that may be installed."""
    wanted_by: tuple[str, ...]


def pins(text: str) -> list[Pin]:
    """Read a lock file as ``make lock`` writes it."""
    starts = [*_PIN.finditer(text)]
    ends = [*(each.start() for each in starts[1:]), len(text)]
    return [_pin(found, text[found.end() : end]) for found, end in zip(starts, ends, strict=True)]


def _pin(found: re.Match[str], rest: str) -> Pin:
    name, version, marker = found.groups()
    hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", rest)
    wanted = re.findall(r"^ +#(?: via)?(?: +([a-z0-9][a-z0-9._-]*).*)?$", rest, re.MULTILINE)
    return Pin(name, version, (marker or "").strip(), tuple(hashes), tuple(filter(None, wanted)))
