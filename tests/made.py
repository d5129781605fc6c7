"""Every event that a test makes, here or in a process that it starts, is checked."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.contracts.sink_kit import check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

HOOK = Path(__file__).parent / "made_events"
"""On the PYTHONPATH of a process, this has it keep the events that it makes."""
KEPT = "MADE_EVENTS"
"""The environment variable that names where they are kept."""


class MadeEvents:
    """The events of one test; ``directory`` holds those of its processes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.own: list[str] = []

    def keeping(self, make: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        """Return ``make`` that keeps each event as it is now, whatever is done to it later."""

        def cloud_event(*args: Any) -> dict[str, Any]:
            event = make(*args)
            self.own.append(json.dumps(event, default=dict))
            return event

        return cloud_event

    def all(self) -> Iterator[Mapping[str, Any]]:
        """Yield those made here, and those that other processes made."""
        yield from map(json.loads, self.own)
        for file in self.directory.iterdir():
            yield from map(json.loads, file.read_text().splitlines())

    def check(self) -> int:
        """Assert that each is an event; return how many there were."""
        count = 0
        for count, event in enumerate(self.all(), 1):  # noqa: B007 -- the last one is told
            check(event)
        return count

    def forget(self) -> None:
        """Let go of those that a test made wrong on purpose."""
        self.own.clear()
        for file in self.directory.iterdir():
            file.unlink()


def search_path(*more: Path) -> str:
    """Return the PYTHONPATH of a process whose events are kept."""
    return os.pathsep.join(map(str, (HOOK, *more)))
