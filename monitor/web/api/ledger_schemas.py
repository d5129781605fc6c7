"""The views of the ledger: transitions and their deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict

from monitor.events import timestamp
from monitor.model import DeliveryStatus, Kind, StoredDelivery
from monitor.web.api.schema_base import Event, Moment, View

if TYPE_CHECKING:
    from typing import Self


class TransitionView(View):
    """A row of the ledger."""

    model_config = ConfigDict(title="Transition")

    position: int
    event: Event


class Transitions(View):
    """Transitions in the order of the ledger."""

    items: list[TransitionView]
    next_after: int
    """The ``after`` with which to go on, now or later."""


class StreamedEvent(View):
    """A transition in the stream; ``data`` is the CloudEvent as JSON."""

    id: str
    """The position in the ledger."""
    event: str
    """The kind."""
    data: str


_NAMES = tuple("job" if name == "key" else name for name in StoredDelivery._fields)


class DeliveryView(View):
    """One transition on its way to one sink."""

    model_config = ConfigDict(title="Delivery")

    id: int
    position: int
    sink: str
    job: str
    """The key of its job or source."""
    event_id: str
    kind: Kind
    status: DeliveryStatus
    attempts: int
    """How many attempts have ended, the successful one included."""
    created_at: Moment
    due_at: Moment | None
    """When it is tried next; null if it is settled or waits for an earlier delivery."""
    settled_at: Moment | None
    last_error: str | None
    replayed: bool
    silenced_by: str | None = None
    """The id of the silence that holds or held it, or ``maintenance:WATCH``. One that is silenced
    and has no ``settled_at`` may still be sent."""

    @classmethod
    def of(cls, stored: StoredDelivery) -> Self:
        """View a delivery of the store."""
        return cls(**stored._asdict(), job=stored.key)

    @staticmethod
    def as_json(stored: StoredDelivery) -> dict[str, Any]:
        """Return the same as JSON, without a view: pages have many, and it takes a third."""
        found: dict[str, Any] = dict(zip(_NAMES, stored, strict=True))
        for name in ("created_at", "due_at", "settled_at"):
            if found[name] is not None:
                found[name] = timestamp(found[name])
        return found


class Deliveries(View):
    """A page of deliveries, newest first."""

    items: list[DeliveryView]
    next_cursor: str | None
