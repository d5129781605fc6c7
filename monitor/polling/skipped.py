"""What was left out of answers, as it could not be read: counted each time, named once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor import logs

if TYPE_CHECKING:
    from monitor.metrics import Metrics
    from monitor.model import Observation, Page, SourceKey


class SkippedParts:
    """Counts and names the oddities of one source."""

    def __init__(self, key: SourceKey, metrics: Metrics) -> None:
        """Begin with none."""
        self._key = key
        self._metrics = metrics
        self._named: set[tuple[str, str]] = set()
        self._log = logs.get()

    def note(self, seen: Observation) -> None:
        """Count the fields that an answer has, but in a form that cannot be read."""
        for field in seen.unreadable:
            if self._metrics.count_unreadable(seen.job.type, field):
                self._log.warning(logs.FIELD_SKIPPED, job=seen.job.key, field=field)

    def note_page(self, type_: str, page: Page) -> None:
        """Count the rows of a page that are no jobs, and the unreadable fields of the others."""
        for row in page.rows:
            self.note(row)
        place = {"type": type_, "account": self._key.account, "region": self._key.region}
        for bad in page.skipped:
            if (type_, bad.code) not in self._named:
                self._named.add((type_, bad.code))
                self._log.warning(logs.ROW_SKIPPED, **place, reason=bad.code, position=bad.position)
        if page.skipped:
            account, region = self._key.account, self._key.region
            self._metrics.count_bad_rows(type_, account, region, len(page.skipped))
