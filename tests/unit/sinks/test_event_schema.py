"""The schema fits every event, and nothing else."""

import copy

import jsonschema
import pytest

from monitor.model import Kind
from tests.contracts.sink_kit import FAST_VALIDATOR, SCHEMA, VALIDATOR, event

KINDS = [pytest.param(kind, id=kind.value) for kind in Kind]
OPEN = {"fields", "labels"}


def objects(value, path=()):
    """Yield the path of every object but those whose keys are the user's."""
    if isinstance(value, dict) and not OPEN & set(path):
        yield path
        for key, inner in value.items():
            if key not in {"from", "to"}:
                yield from objects(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from objects(inner, (*path, number))


def at(value, path):
    for step in path:
        value = value[step]
    return value


def is_valid(data):
    """Ask both validators, which must agree."""
    valid = VALIDATOR.is_valid(data)
    assert FAST_VALIDATOR.is_valid(data) == valid
    return valid


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_key_is_described():
    def described(schema):
        for name, inner in schema.get("properties", {}).items():
            assert "description" in inner, name
            described(inner)
            described(inner.get("items", {}))

    described(SCHEMA)
    described(SCHEMA["$defs"]["standing"])
    described(SCHEMA["$defs"]["availability"])


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_valid(kind):
    assert is_valid(event(kind)["data"])


def test_the_kinds_are_those_of_the_model():
    assert SCHEMA["properties"]["kind"]["enum"] == [kind.value for kind in Kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_more_is_invalid_at_every_place(kind):
    data = event(kind)["data"]
    for path in objects(data):
        odd = copy.deepcopy(data)
        at(odd, path)["surplus"] = 1
        assert not is_valid(odd), path


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_less_is_invalid_at_every_place(kind):
    data = event(kind)["data"]
    for path in objects(data):
        for key in at(data, path):
            odd = copy.deepcopy(data)
            del at(odd, path)[key]
            assert not is_valid(odd), (path, key)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("kind",), "job.exploded"),
        (("kind",), "source.recovered"),
        (("sequence",), 0),
        (("sequence",), "2"),
        (("severity",), "critical"),
        (("current",), None),
        (("current", "phase"), "done"),
        (("current", "state"), ""),
        (("window", "before"), None),
        (("window", "before"), "2026-11-22T12:00:00Z"),
        (("window", "before"), "2026-11-22T12:00:00.123+00:00"),
        (("occurred_at",), 1732276800),
        (("reason",), 5),
        (("replayed",), None),
        (("fields",), []),
        (("job", "labels"), {"team": 1}),
        (("changes",), [{"field": "x", "from": 1}]),
    ],
)
def test_a_wrong_value_is_invalid(path, value):
    data = event()["data"]
    at(data, path[:-1])[path[-1]] = value
    assert not is_valid(data)
