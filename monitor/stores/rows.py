"""Values to rows and back, exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from monitor import errors, events, model

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Row

    from monitor.stores.store_clock import StoreClock

_LONGEST_ERROR = 200


@dataclass(frozen=True, slots=True)
class Place:
    """Where stored jobs are, or, without a type, a source."""

    type: str
    account: str
    region: str


def encode(value: Any) -> str:
    """Write a JSON value, or a dataclass of them, as text.

    Raises:
        TypeError: the value has no exact form in JSON.
    """
    return orjson.dumps(value, default=_mapping).decode()


def _mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _job(raw: Mapping[str, str]) -> model.Job:
    return model.Job(**raw)


def _ends(raw: Mapping[str, tuple[str, str]]) -> Mapping[str, tuple[datetime, datetime]]:
    return {
        phase: (datetime.fromisoformat(wall), datetime.fromisoformat(own))
        for phase, (wall, own) in raw.items()
    }


_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    "job": _job,
    "phase": model.Phase,
    "severity": model.Severity,
    "ending": model.Ending,
    "updated_at": _time,
    "first_seen_at": _time,
    "changed_at": _time,
    "looked_at": _time,
    "ended_at": _time,
    "own_changed": _time,
    "own_ended": _time,
    "earlier_ended": _ends,
}


def decode_snapshot(text: str) -> model.Snapshot:
    """Read a snapshot as ``encode`` wrote it; what it lacks takes its default.

    Raises:
        StoreError: it holds something that this version does not know.
    """
    raw = orjson.loads(text)
    try:
        known = {name: _DECODERS.get(name, _same)(value) for name, value in raw.items()}
        return model.Snapshot(**known)
    except (TypeError, ValueError) as error:
        raise errors.StoreError(f"a stored snapshot cannot be read ({error})") from None


def _same(value: Any) -> Any:
    return value


def snapshot(row: Row[Any]) -> model.Snapshot:
    """Make the snapshot of a row of ``jobs``."""
    return replace(decode_snapshot(row.snapshot), looked_at=row.looked_at)


def source(row: Row[Any]) -> model.SourceState:
    """Make the state of a row of ``sources``."""
    return model.SourceState(
        source=model.SourceKey(row.service, row.account, row.region),
        available=row.available,
        sequence=row.sequence,
        changed_at=row.changed_at,
        looked_at=row.looked_at,
    )


def delivery(row: Row[Any], own: StoreClock) -> model.Delivery:
    """Make the delivery of a joined row of ``deliveries`` and ``transitions``."""
    return model.Delivery(
        id=row.id,
        sink=row.sink,
        key=row.key,
        event=sent_event(row),
        attempts=row.attempts,
        created_at=own.since_began(row.own_created),
        due_at=row.due_at,
    )


def sent_event(row: Row[Any]) -> dict[str, Any]:
    """Make the CloudEvent as it is sent: a delivery that is replayed says so."""
    told: dict[str, Any] = orjson.loads(row.event)
    if row.replayed:
        told["data"]["replayed"] = True
    return told


def parking(row: Row[Any]) -> model.Parking:
    """Make the parking of a row of ``sink_state``."""
    return model.Parking(row.sink, row.parked_at, row.reason)


def added_watch(row: Row[Any]) -> model.AddedWatch:
    """Make the watch of a row of ``watches``."""
    return model.AddedWatch(row.name, orjson.loads(row.settings), row.added_at)


def watch_row(watch: model.AddedWatch) -> dict[str, Any]:
    """Make the row of ``watches``."""
    return {
        "name": watch.name,
        "settings": _text(encode(watch.settings)),
        "added_at": watch.added_at,
    }


def baseline(row: Row[Any]) -> model.Baseline:
    """Make the baseline of a row of ``baselines``."""
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
    """Make the key of a row of ``baselines``."""
    return {
        "type": baseline.type,
        "account": baseline.account,
        "region": baseline.region,
        "digest": hashlib.sha256(baseline.discover.encode()).hexdigest(),
    }


def baseline_row(baseline: model.Baseline) -> dict[str, Any]:
    """Make the row of ``baselines``."""
    return {
        **baseline_key(baseline),
        "discover": baseline.discover,
        "begun_at": baseline.begun_at,
        "completed_at": baseline.completed_at,
        "awaited": encode(baseline.awaited),
    }


def stored_delivery(row: Row[Any], own: StoreClock) -> model.StoredDelivery:
    """Make the listing of a joined row of ``deliveries`` and ``transitions``."""
    columns = {name: value for name, value in row._asdict().items() if name != "event"}
    columns["status"] = model.DeliveryStatus(row.status)
    columns["due_at"] = row.due_at and own.as_wall(row.due_at)
    return model.StoredDelivery(**columns)


def event(row: Row[Any]) -> tuple[int, dict[str, Any]]:
    """Make (position, CloudEvent) of a row of ``transitions``."""
    return row.position, orjson.loads(row.event)


def job_row(snapshot: model.Snapshot) -> dict[str, Any]:
    """Make the row of ``jobs``."""
    job = snapshot.job
    return {
        "key": job.key,
        "type": job.type,
        "account": job.account,
        "region": job.region,
        "id": job.id,
        "snapshot": encode(snapshot),
        "state": _text(snapshot.state),
        "phase": snapshot.phase.value,
        "sequence": snapshot.sequence,
        "first_seen_at": snapshot.first_seen_at,
        "changed_at": snapshot.changed_at,
        "looked_at": snapshot.looked_at,
    }


def source_row(state: model.SourceState) -> dict[str, Any]:
    """Make the row of ``sources``."""
    return {
        "key": state.source.key,
        "service": state.source.service,
        "account": state.source.account,
        "region": state.source.region,
        "available": state.available,
        "sequence": state.sequence,
        "changed_at": state.changed_at,
        "looked_at": state.looked_at,
    }


def transition_row(transition: model.Transition, ledger_id: str) -> dict[str, Any]:
    """Make the row of ``transitions``, but for its position."""
    cloud_event = events.cloud_event(transition, ledger_id)
    return {
        "key": transition.subject.key,
        "sequence": transition.sequence,
        "event_id": cloud_event["id"],
        "kind": transition.kind.value,
        "observed_at": transition.before,
        "event": encode(cloud_event),
    }


def delivery_row(sink: str, key: str, created_at: datetime, own: datetime) -> dict[str, Any]:
    """Make the row of ``deliveries`` for a new one, but for its position."""
    return {
        "sink": sink,
        "key": key,
        "status": model.DeliveryStatus.PENDING.value,
        "attempts": 0,
        "created_at": created_at,
        "own_created": own,
    }


def parking_row(parking: model.Parking) -> dict[str, Any]:
    """Make the row of ``sink_state``."""
    return {
        "sink": parking.sink,
        "parked_at": parking.at,
        "reason": short_error(parking.reason),
    }


def short_error(text: str | None) -> str | None:
    """Keep what a person needs of an error's text, on one line."""
    return None if text is None else _text(" ".join(text.split()))[:_LONGEST_ERROR]


def _text(text: str) -> str:
    """Replace the one character that PostgreSQL cannot hold."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
