"""An example event of each kind: to try templates with, to show and to send as a test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from monitor import events
from monitor.model import Change, Job, Kind, Phase, Severity, SourceKey, StateAndPhase, Transition

if TYPE_CHECKING:
    from collections.abc import Mapping

_LEDGER = "00000000-0000-4000-8000-000000000000"
_SEEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_BEFORE = _SEEN - timedelta(seconds=30)
_PENDING = StateAndPhase("PENDING", Phase.RUNNING)
_FAILED = StateAndPhase("FAILED", Phase.FAILED)
_CHANGES = {
    Kind.STATE_CHANGED: (Change("Status", "PENDING", "FAILED"),),
    Kind.UPDATED: (Change("JobType", None, "NODE_PACKAGE_VERSION"),),
}
_WARNED = frozenset({Kind.MISSING, Kind.STUCK, Kind.REMINDER, Kind.SOURCE_UNAVAILABLE})


def event(kind: Kind) -> dict[str, Any]:
    """Return a plausible CloudEvent of ``kind``; every one is about the same job or source."""
    if kind in {Kind.SOURCE_UNAVAILABLE, Kind.SOURCE_RECOVERED}:
        return events.cloud_event(_of_source(kind), _LEDGER)
    first, changed = kind is Kind.DISCOVERED, kind is Kind.STATE_CHANGED
    current = _FAILED if changed else _PENDING
    made = Transition(
        subject=Job("panorama.package-import", "prod", "us-east-1", "PackageImportJob-7"),
        service="panorama",
        sequence=1 if first else 2,
        kind=kind,
        previous=None if first else _PENDING,
        current=current,
        changes=_CHANGES.get(kind, ()),
        after=None if first else _BEFORE,
        before=_SEEN,
        severity=(
            Severity.ERROR if changed else Severity.WARNING if kind in _WARNED else Severity.INFO
        ),
        reason="The package archive could not be read." if changed else None,
        occurred_at=_SEEN - timedelta(seconds=8) if changed else None,
        fields={"JobType": "NODE_PACKAGE_VERSION"},
        labels={"team": "vision"},
    )
    return events.cloud_event(made, _LEDGER)


def trials() -> list[Mapping[str, Any]]:
    """Return what a template should be able to render.

    One event of each kind, then a success, and a failure whose texts hold every sign
    that some format gives a meaning.
    """
    made = event(Kind.STATE_CHANGED)
    calm = {
        "severity": "info",
        "reason": None,
        "current": {"state": "SUCCEEDED", "phase": "succeeded"},
        "changes": [{"field": "Status", "from": "PENDING", "to": "SUCCEEDED"}],
    }
    text = "\"quoted\" 'and' \\back\\ <!channel> & {{ braces }} {% raw %}\n*second* `line` é ☃ \x07"
    changes = [{"field": text, "from": [text, None, 1.5], "to": {"a": text}}]
    links = {"job": "https://h/jobs/job?key=a%20b&c", "console": "https://h/?region=r#/a:b"}
    added = {"links": links, "account_id": "123456789012"}
    odd = {"reason": text, "fields": {text: text, "Nested": {"x": [True]}}, "changes": changes}
    more = ({**made, "data": {**made["data"], **each}} for each in (calm, {**odd, **added}))
    return [*map(event, Kind), *more]


def _of_source(kind: Kind) -> Transition:
    lost = kind is Kind.SOURCE_UNAVAILABLE
    available, unavailable = StateAndPhase("available", ""), StateAndPhase("unavailable", "")
    return Transition(
        subject=SourceKey("panorama", "prod", "us-east-1"),
        service="panorama",
        sequence=1 if lost else 2,
        kind=kind,
        previous=available if lost else unavailable,
        current=unavailable if lost else available,
        changes=(),
        after=_BEFORE,
        before=_SEEN,
        severity=Severity.WARNING if lost else Severity.INFO,
        reason="auth: AccessDeniedException" if lost else None,
        occurred_at=None,
        fields={},
        labels={},
    )
