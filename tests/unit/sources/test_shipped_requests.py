"""Every request and response of every shipped type, as the service's model has them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache

import pytest
from botocore.model import ListShape, MapShape, StructureShape
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.aws import service_models
from monitor.model import Job, Observation
from monitor.sources.job_type import filled
from monitor.sources.loader import load_job_types
from monitor.sources.response_parser import PollTimes, ResponseParser

MODELS = service_models.loader({})
TYPES = load_job_types(None, MODELS)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TIMES = PollTimes(NOON, NOON)
ACCOUNT = "123456789012"
TOKEN = "t" * 120
SINCE = {"since": "2026-03-01T00:00:00Z", "since_ms": "1772323200000"}
VALUES = {"timestamp": NOON, "blob": b"", "boolean": True, "float": 1.0, "double": 1.0}
LEGIBLE = st.characters(exclude_categories=["C", "Z"], include_characters=" ")
TOO_SHORT = "valid min length"
of_each_type = pytest.mark.parametrize("name", TYPES)
"""By name, so that a type and its model are read in the test, and not when tests are collected."""


def ids(kind):
    found = st.from_regex(kind.id_pattern, fullmatch=True, alphabet=LEGIBLE)
    return found.filter(kind.accepts_id)


@cache
def one_id(name):
    """Return one id of a type, the same in every run."""
    kind = TYPES[name]
    found = []

    @settings(max_examples=1, database=None, derandomize=True)
    @given(ids(kind))
    def take(job_id):
        found.append(job_id)

    take()
    return found[0]


def sent(kind, operation, params):
    """Return the request that the SDK makes of valid parameters."""
    service = service_models.service_model(MODELS, kind.service)
    model = service.operation_model(operation)
    report = ParamValidator().validate(params, model.input_shape).generate_report()
    # A pattern does not ask for the least length, and AWS knows no such short id.
    assert all(TOO_SHORT in line for line in report.splitlines()), report
    return create_serializer(
        service.resolved_protocol, include_validation=False
    ).serialize_to_request(params, model)


def full(shape, above=()):
    """Return a response with every member of its model."""
    if shape.name in above:
        return None
    match shape:
        case StructureShape():
            members = shape.members.items()
            return {name: full(member, (*above, shape.name)) for name, member in members}
        case ListShape():
            return [full(shape.member, (*above, shape.name))]
        case MapShape():
            return {"key": full(shape.value, (*above, shape.name))}
    return (
        VALUES.get(shape.type_name, (getattr(shape, "enum", None) or ["text"])[0])
        if (shape.type_name not in {"integer", "long"})
        else 1
    )


def put(item, path, value):
    *above, last = re.findall(r"\w+", path)
    for name in above:
        item = item[name]
    item[last] = value


def filled_in(kind, form, item, job_id, state):
    for name, read in form.id.items():
        if read is not None:
            put(item, read.text, kind.parts(job_id)[name])
    for read in form.state.values():
        if re.fullmatch(r"[\w.]+", read.text):
            put(item, read.text, state)


@of_each_type
def test_the_parts_of_an_id_make_the_id_and_the_model_takes_it(name):
    kind = TYPES[name]

    @settings(max_examples=5, database=None, suppress_health_check=list(HealthCheck))
    @given(ids(kind))
    def holds(job_id):
        parts = kind.parts(job_id)
        assert kind.join(parts) == job_id
        sent(kind, kind.describe.operation, kind.params(job_id))

    holds()


@of_each_type
def test_the_model_takes_every_request(name):
    kind = TYPES[name]
    many = kind.params(*[one_id(kind.name)] * kind.at_once)
    sent(kind, kind.describe.operation, many)
    for listing in kind.listings:
        parent = ACCOUNT if listing.parent == "account_id" else "parent-of-jobs"
        params = filled(listing.params, {**SINCE, listing.parent or "": parent})
        sent(kind, listing.operation, params)
        assert listing.paging is not None
        sent(kind, listing.operation, {**params, listing.paging.param: TOKEN})
    if kind.parents is not None:
        assert kind.parents.paging is not None
        sent(kind, kind.parents.operation, kind.parents.params)
        following = {**kind.parents.params, kind.parents.paging.param: TOKEN}
        sent(kind, kind.parents.operation, following)


@of_each_type
def test_a_whole_response_gives_the_id_and_the_state(name):
    kind = TYPES[name]
    service = service_models.service_model(MODELS, kind.service)
    parser = ResponseParser(kind, "default", "us-east-1", frozenset())
    job_id, state = one_id(kind.name), next(iter(kind.phases))
    job = Job(kind.name, "default", "us-east-1", job_id)
    response = full(service.operation_model(kind.describe.operation).output_shape)
    found = kind.describe.items(response) if kind.describe.items else response
    item = found[0] if isinstance(found, list) else found
    filled_in(kind, kind.describe.item, item, job_id, state)

    ((_, observed),) = parser.observations([job], response, TIMES)

    assert isinstance(observed, Observation)
    assert observed.parts[kind.decisive] == state
    assert set(observed.unreadable) <= {"created_at"}  # some models have texts for times
    assert observed.fields.keys() == {field.name for field in kind.fields}

    for listing in kind.listings:
        response = full(service.operation_model(listing.operation).output_shape)
        (row,) = listing.items(response)
        if isinstance(row, str):
            put(response, listing.items.text, [job_id])
        else:
            filled_in(kind, listing.row, row, job_id, state)
        parent = kind.parts(job_id).get(listing.parent, "parent") if listing.parent else None
        page = parser.page(listing, response, TIMES, first=True, parent=parent)
        assert [row.job.id for row in page.rows] == [job_id]
        if listing.lists_states:
            assert page.rows[0].parts[kind.decisive] == state
        assert not page.torn
