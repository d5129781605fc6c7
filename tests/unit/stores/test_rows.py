from datetime import UTC, datetime, timedelta
from types import MappingProxyType, SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from monitor import model
from monitor.errors import StoreError
from monitor.stores import rows, schema
from tests.contracts.store_examples import T0, snapshot

texts = st.text(st.characters(codec="utf-8"))
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
snapshots = st.builds(
    model.Snapshot,
    job=st.builds(model.Job, texts, texts, texts, texts),
    parts=st.dictionaries(texts, st.none() | texts, max_size=3),
    state=texts,
    phase=st.sampled_from(model.Phase),
    severity=st.sampled_from(model.Severity),
    ending=st.sampled_from(model.Ending),
    fields=st.dictionaries(texts, values, max_size=3),
    reason=st.none() | texts,
    updated_at=st.none() | times,
    sequence=st.integers(0, 2**62),
    first_seen_at=times,
    changed_at=times,
    looked_at=times,
    ended_at=st.none() | times,
    missing=st.booleans(),
    stuck=st.booleans(),
)


@given(snapshots)
def test_a_snapshot_comes_back_as_it_was(one):
    again = rows.decode_snapshot(rows.encode(one))
    assert again == one
    assert [type(again.phase), type(again.ending)] == [model.Phase, model.Ending]


def _stored(moment):
    number = schema.StoredTime().process_bind_param(moment, sqlite.dialect())
    assert isinstance(number, int)
    return number


@given(times)
def test_a_time_comes_back_to_the_microsecond(moment):
    assert schema.StoredTime().process_result_value(_stored(moment), sqlite.dialect()) == moment


@given(times, times)
def test_stored_times_sort_as_the_times_do(one, other):
    assert (_stored(one) < _stored(other)) is (one < other)


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(TypeError):
        _stored(datetime(2026, 1, 1))  # noqa: DTZ001


def _without(*names, **more):
    raw = orjson.loads(rows.encode(snapshot()))
    return orjson.dumps({k: v for k, v in raw.items() if k not in names} | more).decode()


def test_a_snapshot_from_before_a_field_existed_takes_its_default():
    assert rows.decode_snapshot(_without("ended_at", "missing", "stuck")) == snapshot()


def test_a_snapshot_that_lacks_what_it_must_have_cannot_be_read():
    with pytest.raises(StoreError, match="cannot be read"):
        rows.decode_snapshot(_without("sequence"))


def test_a_snapshot_with_an_unknown_field_cannot_be_read():
    with pytest.raises(StoreError, match="cannot be read"):
        rows.decode_snapshot(_without(mood="good"))


@pytest.mark.parametrize("field", ["phase", "updated_at", "job"])
def test_a_snapshot_with_an_unknown_value_cannot_be_read(field):
    with pytest.raises(StoreError, match="cannot be read"):
        rows.decode_snapshot(_without(**{field: "strange"}))


def test_the_time_of_the_last_look_is_the_one_of_the_row():
    later = T0 + timedelta(hours=1)
    row: Any = SimpleNamespace(snapshot=rows.encode(snapshot()), looked_at=later)
    assert rows.snapshot(row) == snapshot().replace(looked_at=later)


def test_any_mapping_can_be_kept():
    one = snapshot(fields=MappingProxyType({"a": MappingProxyType({"b": 1})}))
    assert rows.decode_snapshot(rows.encode(one)).fields == {"a": {"b": 1}}


@pytest.mark.parametrize("value", [b"", object(), {1: 2}, {1, 2}, "\ud800", 2**70])
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(TypeError):
        rows.encode({"x": value})


def test_a_state_with_a_null_character_can_be_kept_in_any_database():
    row = rows.job_row(snapshot(state="A\x00B"))
    assert "\x00" not in "".join(str(value) for value in row.values())
    assert rows.decode_snapshot(row["snapshot"]).state == "A\x00B"
