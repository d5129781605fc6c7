"""What of the settings is not known, for mistakes in their shape, and so what to keep quiet of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.config.findings import Finding
    from monitor.config.yaml_document import Path


@dataclass(frozen=True)
class Gaps:
    """Where values are missing that were written, or meant, but could not be read.

    ``whole`` tells whether these are all: no file is unread, and no variable names nothing.
    """

    paths: frozenset[Path] = frozenset()
    whole: bool = True

    def hide(self, finding: Finding) -> bool:
        """Whether a finding may turn out untrue once the mistakes of shape are mended."""
        return self._within(finding.path) or self.doubt(finding.rests)

    def doubt(self, rests: Sequence[Path]) -> bool:
        """Whether it is uncertain what rests on the values there, and on what is beneath them."""
        if not self.whole:
            return bool(rests)
        return any(path in self._above or self._within(path) for path in rests)

    def also(self, *paths: Path) -> Gaps:
        """Return these gaps and more."""
        return Gaps(self.paths.union(paths), self.whole)

    def _within(self, path: Path) -> bool:
        return any(path[:length] in self.paths for length in range(len(path) + 1))

    @cached_property
    def _above(self) -> frozenset[Path]:
        return frozenset(path[:length] for path in self.paths for length in range(len(path)))


NO_GAPS = Gaps()
