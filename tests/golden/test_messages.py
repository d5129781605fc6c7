"""The messages that users meet are what tests/golden/messages.txt says, each made for real."""

import os

import pytest

from tests.golden import registry

pytestmark = pytest.mark.timeout(600)

LONGEST = 400


def test_every_message_is_as_the_golden_file_says(tmp_path):
    entries = []
    for number, title in enumerate(registry.producers()):
        directory = tmp_path / str(number)
        directory.mkdir()
        lines = registry.produced(title, directory)
        assert lines, title
        assert all(line and line.isprintable() and len(line) <= LONGEST for line in lines), title
        entries.append(registry.entry(title, lines))
    text = registry.whole(entries)
    if os.environ.get("GOLDEN") == "write":
        registry.GOLDEN.write_text(text, "utf-8")
    assert len(entries) >= 90
    assert registry.GOLDEN.read_text("utf-8") == text
