"""Transitions as CloudEvents 1.0: the form in which they are stored, shown and sent.

``event.schema.json`` beside this module is the JSON Schema of ``data``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID, uuid5

from monitor.model import Job, SourceKey

if TYPE_CHECKING:
    from datetime import datetime

    from monitor.model import StateAndPhase, Transition

TYPE_PREFIX = "io.job-monitor."


def event_id(ledger_id: str, key: str, sequence: int) -> str:
    """Derive an id that is the same on every attempt, replay and restart.

    The ledger's own id takes part, so that two monitors, or one whose state was
    thrown away, never give one id to two different events: receivers drop repeats by it.
    """
    return str(uuid5(UUID(ledger_id), f"{key}#{sequence}"))


def cloud_event(transition: Transition, ledger_id: str) -> dict[str, Any]:
    """Render ``transition`` as a CloudEvent in JSON form."""
    subject = transition.subject
    steps = (quote(x, safe="") for x in (subject.account, subject.region, transition.service))
    return {
        "specversion": "1.0",
        "id": event_id(ledger_id, subject.key, transition.sequence),
        "source": f"/aws/{'/'.join(steps)}",
        "subject": subject.id if isinstance(subject, Job) else subject.service,
        "type": TYPE_PREFIX + transition.kind,
        "time": timestamp(transition.before),
        "datacontenttype": "application/json",
        "data": _data(transition),
    }


def timestamp(moment: datetime) -> str:
    """Write a UTC time as RFC 3339 with milliseconds and ``Z``."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _data(transition: Transition) -> dict[str, Any]:
    return {
        "kind": transition.kind.value,
        **_about(transition),
        "sequence": transition.sequence,
        "previous": _state_and_phase(transition.previous) if transition.previous else None,
        "current": _state_and_phase(transition.current),
        "changes": [
            {"field": change.field, "from": change.before, "to": change.after}
            for change in transition.changes
        ],
        "window": {
            "after": timestamp(transition.after) if transition.after else None,
            "before": timestamp(transition.before),
        },
        "severity": transition.severity.value,
        "reason": transition.reason,
        "baseline": transition.baseline,
        "occurred_at": timestamp(transition.occurred_at) if transition.occurred_at else None,
        "fields": dict(transition.fields),
        "replayed": False,
    }


def _about(transition: Transition) -> dict[str, Any]:
    subject = transition.subject
    if isinstance(subject, SourceKey):
        return {
            "source": {
                "service": subject.service,
                "account": subject.account,
                "region": subject.region,
                "key": subject.key,
            }
        }
    return {
        "job": {
            "type": subject.type,
            "account": subject.account,
            "region": subject.region,
            "id": subject.id,
            "key": subject.key,
            "labels": dict(transition.labels),
        }
    }


def _state_and_phase(at: StateAndPhase) -> dict[str, str]:
    """State and phase; a source has no phase."""
    return {"state": at.state} | ({"phase": at.phase} if at.phase else {})
