"""Conversion of values to rows and back, exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson

from monitor import errors, model
from monitor.model import shared_fields, shared_parts, shared_text, shared_time
from monitor.stores.schema import microseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Row

    from monitor.stores.store_clock import StoreClock

_LONGEST_ERROR = 200
_STORED = len(model.StoredDelivery._fields)
_STATUS, _DUE_AT = map(model.StoredDelivery._fields.index, ("status", "due_at"))
_MOSTLY_EMPTY = ("earlier_ends", "earlier_ended")


@dataclass(frozen=True, slots=True)
class Place:
    """A place of stored jobs, or, with an empty type, of a source."""

    type: str
    account: str
    region: str


def encode(value: Any) -> str:
    """Return a JSON value, or a dataclass of them, as text.

    Raises:
        TypeError: the value has no exact form in JSON.
    """
    return orjson.dumps(value, default=_mapping).decode()


def _mapping(value: Any) -> dict[str, Any]:
    # The proxy comes first, as every snapshot holds two: an abstract class takes long to ask.
    if isinstance(value, (MappingProxyType, Mapping)):
        return dict(value)
    if isinstance(value, model.Snapshot):
        return value.as_dict()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def moment(seconds: float) -> datetime:
    """Return the time that a rank in a list of jobs stands for, exactly as it is stored."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=round(seconds * 1e6))


_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    "job": lambda raw: model.Job(
        **{name: value if name == "id" else shared_text(value) for name, value in raw.items()}
    ),
    "parts": shared_parts,
    "state": shared_text,
    "fields": shared_fields,
    "phase": model.Phase,
    "severity": model.Severity,
    "ending": model.Ending,
    "updated_at": shared_time,
    "first_seen_at": shared_time,
    "changed_at": shared_time,
    "looked_at": shared_time,
    "ended_at": shared_time,
    "own_changed": shared_time,
    "own_ended": shared_time,
    "own_reminded": shared_time,
    # Each phase maps to a pair: the wall clock's time and the store's.
    "earlier_ended": lambda raw: {
        phase: (datetime.fromisoformat(wall), datetime.fromisoformat(store_time))
        for phase, (wall, store_time) in raw.items()
    },
}


def decode_snapshot(text: str, looked_at: datetime | None = None) -> model.Snapshot:
    """Return a snapshot that ``encode`` wrote; a missing field takes its default.

    A given ``looked_at`` is put in the place of the one that was encoded.

    Raises:
        StoreError: it holds a field or value that this version does not know.
    """
    raw = orjson.loads(text)
    for name in _MOSTLY_EMPTY:
        if name in raw and not raw[name]:
            del raw[name]  # all jobs share the default
    try:
        values = {
            name: _DECODERS[name](value) if name in _DECODERS else value
            for name, value in raw.items()
        }
        if looked_at is not None:
            values["looked_at"] = looked_at
        return model.Snapshot(**values)
    except (AttributeError, TypeError, ValueError) as error:
        raise errors.StoreError(f"a stored snapshot cannot be read ({error})") from None


def snapshot(row: Row[Any]) -> model.Snapshot:
    """Return the snapshot of a row of ``jobs``."""
    # A touch moves only the column: the text would have to be encoded again for each poll.
    return decode_snapshot(row.snapshot, row.looked_at)


def source(row: Row[Any]) -> model.SourceState:
    """Return the state of a row of ``sources``."""
    return model.SourceState(
        source=model.SourceKey(row.service, row.account, row.region),
        available=row.available,
        sequence=row.sequence,
        changed_at=row.changed_at,
        looked_at=row.looked_at,
    )


def delivery(row: Row[Any], store_clock: StoreClock) -> model.Delivery:
    """Return the delivery of a joined row of ``deliveries`` and ``transitions``."""
    return model.Delivery(
        id=row.id,
        sink=row.sink,
        key=row.key,
        event=sent_event(row),
        attempts=row.attempts,
        created_at=store_clock.since_began(row.own_created),
        due_at=row.due_at,
    )


def sent_event(row: Row[Any]) -> dict[str, Any]:
    """Return the CloudEvent as it is sent: a replayed delivery says so."""
    cloud_event: dict[str, Any] = orjson.loads(row.event)
    if row.replayed:
        cloud_event["data"]["replayed"] = True
    return cloud_event


def baseline(row: Row[Any]) -> model.Baseline:
    """Return the baseline of a row of ``baselines``."""
    return model.Baseline(
        type=row.type,
        account=row.account,
        region=row.region,
        discover=row.discover,
        begun_at=row.begun_at,
        completed_at=row.completed_at,
        awaited=orjson.loads(row.awaited),
    )


def baseline_key(baseline: model.Baseline) -> dict[str, str]:
    """Return the key of a row of ``baselines``."""
    return {
        "type": baseline.type,
        "account": baseline.account,
        "region": baseline.region,
        # The text may be longer than a PostgreSQL index entry allows.
        "digest": hashlib.sha256(baseline.discover.encode()).hexdigest(),
    }


def stored_delivery(row: Row[Any], store_clock: StoreClock) -> model.StoredDelivery:
    """Return what a listing shows of a row of ``queries.DELIVERIES``."""
    values = list(row[:_STORED])
    values[_STATUS] = model.DeliveryStatus(values[_STATUS])
    if values[_DUE_AT] is not None:
        values[_DUE_AT] = store_clock.as_wall(values[_DUE_AT])
    return model.StoredDelivery._make(values)


def event(row: Row[Any]) -> tuple[int, dict[str, Any]]:
    """Return (position, CloudEvent) of a row of ``transitions``."""
    return row.position, orjson.loads(row.event)


def job_row(snapshot: model.Snapshot) -> dict[str, Any]:
    """Return the row of ``jobs``, as the drivers take it."""
    job = snapshot.job
    return {
        "key": job.key,
        "type": job.type,
        "account": job.account,
        "region": job.region,
        "id": job.id,
        "snapshot": encode(snapshot),
        "state": clean(snapshot.state),
        "phase": snapshot.phase.value,
        "sequence": snapshot.sequence,
        "first_seen_at": microseconds(snapshot.first_seen_at),
        "changed_at": microseconds(snapshot.changed_at),
        "looked_at": microseconds(snapshot.looked_at),
    }


def delivery_row(sink: str, key: str, created_at: datetime, store_time: datetime) -> dict[str, Any]:
    """Return the row of ``deliveries`` for a new one, without its position."""
    return {
        "sink": sink,
        "key": key,
        "status": model.DeliveryStatus.PENDING.value,
        "attempts": 0,
        "created_at": created_at,
        "own_created": store_time,
    }


def short_error(text: str | None) -> str | None:
    """Return the beginning of an error's text, on one line."""
    return None if text is None else clean(" ".join(text.split()))[:_LONGEST_ERROR]


def clean(text: str) -> str:
    """Replace NUL, the one character that PostgreSQL cannot store in text."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
