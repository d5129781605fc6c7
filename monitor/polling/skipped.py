"""The unreadable parts of answers: skipped, counted each time, and logged once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor import logs

if TYPE_CHECKING:
    from monitor.metrics import Metrics
    from monitor.model import Observation, Page, SourceKey


class SkippedParts:
    """Counts and logs the unreadable parts of the answers of one source."""

    def __init__(self, key: SourceKey, metrics: Metrics) -> None:
        """Start without any."""
        self._key = key
        self._metrics = metrics
        self._named: set[tuple[str, str]] = set()
        self._log = logs.get()

    def note(self, observed: Observation) -> None:
        """Count the fields that an answer has in an unreadable form."""
        for field in observed.unreadable:
            if self._metrics.count_unreadable(observed.job.type, field):
                self._log.warning(logs.FIELD_SKIPPED, job=observed.job.key, field=field)

    def note_page(self, type_: str, page: Page) -> None:
        """Count the rows of a page that are not jobs, and the unreadable fields of the others."""
        for row in page.rows:
            self.note(row)
        place = {"type": type_, "account": self._key.account, "region": self._key.region}
        # Only the code names a problem: the text of a row may differ on every page.
        for bad in page.skipped:
            if (type_, bad.code) not in self._named:
                self._named.add((type_, bad.code))
                self._log.warning(logs.ROW_SKIPPED, **place, reason=bad.code, position=bad.position)
        if page.skipped:
            account, region = self._key.account, self._key.region
            self._metrics.count_bad_rows(type_, account, region, len(page.skipped))
