"""The views of the ledger."""

from datetime import UTC, datetime

import orjson
import pytest

from monitor.model import DeliveryStatus, Kind, StoredDelivery
from monitor.web.api.ledger_schemas import DeliveryView

AT = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)


@pytest.mark.parametrize("status", DeliveryStatus)
@pytest.mark.parametrize("at", [None, AT])
def test_a_delivery_as_json_is_its_view(status, at):
    stored = StoredDelivery(
        id=7,
        position=3,
        sink="ops",
        key="panorama.package-import/prod/us-east-1/job-1",
        event_id="0-1",
        kind=Kind.STATE_CHANGED.value,
        status=status,
        attempts=2,
        created_at=AT,
        due_at=at,
        settled_at=at,
        last_error=None if at else "timeout",
        replayed=at is None,
        silenced_by="maintenance:cameras" if at else None,
    )
    shown = orjson.dumps(DeliveryView.as_json(stored))
    assert shown == orjson.dumps(DeliveryView.of(stored).model_dump(mode="json"))
    assert orjson.loads(shown)["created_at"] == "2026-03-01T12:00:00.123Z"
