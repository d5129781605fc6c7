"""The lock files, from which environments and images are made."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("runtime", "dev", "full")


def locked(name):
    """Return name → version of one lock file."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^]]*\])?==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", FILES)
def test_every_pin_has_a_hash_and_no_address(name):
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    pins = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(pins) >= len(locked(name)) > 30
    assert all("--hash=sha256:" in pin for pin in pins)
    assert "://" not in text


def test_what_an_image_with_all_extras_holds_is_what_is_tested():
    runtime, dev, full = map(locked, FILES)
    assert runtime.items() <= full.items()
    assert full.items() <= dev.items() | runtime.items()


def test_the_full_lock_file_holds_every_optional_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [one for extra in project["optional-dependencies"].values() for one in extra]
    assert len(extras) >= 2
    assert {re.split(r"[^a-z0-9-]", one)[0] for one in extras} <= locked("full").keys()
