"""Transitions as CloudEvents 1.0: the form in which they are stored, shown and sent.

``event.schema.json`` beside this module is the JSON Schema of ``data``.
"""

from __future__ import annotations

from datetime import UTC
from functools import lru_cache
from hashlib import sha1
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

import orjson

from monitor.model import Job, SourceKey

if TYPE_CHECKING:
    from datetime import datetime

    from monitor.model import StateAndPhase, Transition

TYPE_PREFIX = "io.job-monitor."

_VARIANTS = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
"""The first two bits of a digit of a UUID say how it was made."""


def event_id(ledger_id: str, key: str, sequence: int) -> str:
    """Derive an id (a UUID of version 5) that is the same on every attempt, replay and restart.

    The ledger's own id takes part, so that two monitors, or one whose state was
    thrown away, never give one id to two different events: receivers drop repeats by it.
    """
    # As ``uuid.uuid5`` does, which takes five times as long.
    name = _namespace(ledger_id) + f"{key}#{sequence}".encode()
    digits = sha1(name, usedforsecurity=False).hexdigest()
    variant = _VARIANTS[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


@lru_cache(maxsize=16)
def _namespace(ledger_id: str) -> bytes:
    return UUID(ledger_id).bytes


def cloud_event(transition: Transition, ledger_id: str) -> dict[str, Any]:
    """Render ``transition`` as a CloudEvent in JSON form."""
    subject = transition.subject
    observed_at = timestamp(transition.before)
    return {
        "specversion": "1.0",
        "id": event_id(ledger_id, subject.key, transition.sequence),
        "source": _source(subject.account, subject.region, transition.service),
        "subject": subject.id if isinstance(subject, Job) else subject.service,
        "type": TYPE_PREFIX + transition.kind,
        "time": observed_at,
        "datacontenttype": "application/json",
        "data": _data(transition, observed_at),
    }


@lru_cache(maxsize=1024)
def _source(account: str, region: str, service: str) -> str:
    steps = (quote(each, safe="") for each in (account, region, service))
    return f"/aws/{'/'.join(steps)}"


def timestamp(moment: datetime) -> str:
    """Write a time as RFC 3339 in UTC, with milliseconds and ``Z``.

    Raises:
        ValueError: it has no offset, so that its moment is unknown.
    """
    if moment.tzinfo is not UTC:
        if moment.utcoffset() is None:
            raise ValueError(f"{moment} has no offset from UTC")
        moment = moment.astimezone(UTC)
    # Up to the seconds, between quotes; a quarter of the time that ``isoformat`` takes.
    seconds = orjson.dumps(moment)[1:20].decode()
    return f"{seconds}.{moment.microsecond // 1000:03}Z"


def _data(transition: Transition, observed_at: str) -> dict[str, Any]:
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
            "before": observed_at,
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
