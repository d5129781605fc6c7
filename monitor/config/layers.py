"""What the environment sets over what the files say, and where each value was written.

pydantic-settings merges the two, and forgets where a value came from. Here its rule (maps
are merged, all else is replaced) is followed down to one value at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from monitor.config import yaml_document
from monitor.config.yaml_document import Node

if TYPE_CHECKING:
    from monitor.config.yaml_document import Path, Scalar


@dataclass(frozen=True, slots=True)
class Layers:
    """A value of the environment over the one of the files; at least one of them is there."""

    above: Node | None
    below: Node | None

    @property
    def value(self) -> Scalar | dict[str, Node] | list[Node]:
        """What counts; of maps the keys of both."""
        if self._merged:
            return {**self._children(self.below), **self._children(self.above)}
        return self._top.value

    @property
    def place(self) -> str:
        """Where it was written; of maps, where the files begin it."""
        return self.below.place if self.below and self._merged else self._top.place

    def step(self, token: str | int) -> Layers | None:
        """Return the value under a key, or at an index."""
        seen = self.above is None or self._merged
        below = yaml_document.step(self.below, token) if seen else None
        above = yaml_document.step(self.above, token)
        return Layers(above, below) if above or below else None

    def place_of(self, path: Path) -> str:
        """Say where the value at ``path`` was written, or what would hold it."""
        found = self
        for token in path:
            child = found.step(token)
            if child is None:
                break
            found = child
        return found.place

    def plain(self) -> Any:
        """Return the bare value."""
        value = self.value
        if isinstance(value, dict):
            return {key: child.plain() for key in value if (child := self.step(key))}
        return yaml_document.plain(Node(value))

    def outline(self) -> Layers:
        """Return the same without the values, which may be secrets."""
        above, below = (node and yaml_document.outline(node) for node in (self.above, self.below))
        return Layers(above, below)

    @property
    def _top(self) -> Node:
        top = self.above or self.below
        assert top is not None  # noqa: S101 -- there is one
        return top

    @property
    def _merged(self) -> bool:
        """Whether both are maps."""
        return all(node and isinstance(node.value, dict) for node in (self.above, self.below))

    @staticmethod
    def _children(node: Node | None) -> dict[str, Node]:
        return node.value if node and isinstance(node.value, dict) else {}
