"""The two paths to AWS send the same bytes, and read the same in every response."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from moto.core.model import ServiceModel
from moto.core.serialize import get_serializer_class

from monitor import simulator
from monitor.aws import service_models
from monitor.aws.clients import Clients
from monitor.config import Account
from monitor.errors import PollError
from monitor.model import Job, ListingRequest, Observation
from monitor.sources.aws_source import AwsSource
from tests.integration.sources_server import FixedClock, clean_environment, raw_server
from tests.paths import FastSource
from tests.unit.sources.test_shipped_requests import (
    MODELS,
    TYPES,
    filled_in,
    full,
    one_id,
    put,
)

REGION = "us-east-1"
TOKEN = "next+page/of=this"
CHANGING = re.compile(
    rb"(?im)^(x-amz-date: |amz-sdk-invocation-id: |authorization: .*, Signature=)[0-9a-zTZ-]+\r$"
)
AGENT = re.compile(rb"(?<= m/)[A-Za-z,]+")


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch, tmp_path):
    clean_environment(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token+of/a=session")


@pytest.fixture
def every_host_here(monkeypatch):
    """Some operations have a host of their own, such as ``data.`` before that of the service."""
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest, **more: real("::1", *rest, **more))
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _, *rest, **more: real("127.0.0.1", *rest, **more)
    )


@asynccontextmanager
async def both(url, *kinds, **times):
    """A plain and a fast source of each type, with clients of their own."""
    account = Account(endpoint_urls=dict.fromkeys({kind.service for kind in kinds}, url))
    timeout = times.pop("timeout", 5.0)
    async with (
        Clients({"default": account}, models=MODELS, **times) as one,
        Clients({"default": account}, models=MODELS, **times) as other,
    ):

        def made(kind, clients):
            return AwsSource(kind, "default", REGION, clients, FixedClock(), timeout=timeout)

        yield [(made(kind, one), FastSource(made(kind, other))) for kind in kinds]


def steady(request):
    """A request without what no two requests share; features in the user agent have no order."""
    agent = AGENT.sub(lambda found: b",".join(sorted(found[0].split(b","))), request)
    return CHANGING.sub(rb"\1", agent)


def told(found):
    """An outcome in a form that can be compared."""
    if isinstance(found, PollError):
        values = (found.reason, found.code, found.status, found.request_id, found.retry_after)
        return *values, found.hint, found.of_credentials
    if isinstance(found, dict):
        return {job: told(one) for job, one in found.items()}
    return found


async def outcome(asking):
    try:
        with anyio.fail_after(20):
            return told(await asking)
    except PollError as error:
        return told(error)


def answer(kind, operation, response):
    """The bytes of a response with these members, as the service would send it."""
    version = service_models.api_version(kind.service)
    data = MODELS.load_service_model(kind.service, "service-2", api_version=version)
    model = ServiceModel(data, kind.service).operation_model(operation)
    protocol = model.service_model.resolved_protocol
    made = get_serializer_class(kind.service, protocol)(model).serialize(response)
    body = made["body"].encode() if isinstance(made["body"], str) else made["body"]
    headers = {**made["headers"], "Content-Length": len(body), "x-amzn-RequestId": "r-1"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {made['status_code']} OK\r\n{lines}\r\n".encode() + body


@pytest.mark.parametrize("kind", TYPES.values(), ids=lambda kind: kind.name)
async def test_every_shipped_type_is_polled_alike(kind, every_host_here):
    service = service_models.service_model(MODELS, kind.service)
    operation = kind.describe.operation
    job_id, state = one_id(kind.name), next(iter(kind.phases))
    jobs = [Job(kind.name, "default", REGION, job_id)]
    response = full(service.operation_model(operation).output_shape)
    found = kind.describe.items(response) if kind.describe.items else response
    filled_in(
        kind, kind.describe.item, found[0] if isinstance(found, list) else found, job_id, state
    )

    async with raw_server() as server, both(server.url, kind) as ((plain, fast),):
        server.answer = answer(kind, operation, response)
        described = [await outcome(one.describe_many(jobs)) for one in (plain, fast)]
        pages = []
        for number, listing in enumerate(kind.listings):
            response = full(service.operation_model(listing.operation).output_shape)
            (row,) = listing.items(response)
            if isinstance(row, str):
                put(response, listing.items.text, [job_id])
            else:
                filled_in(kind, listing.row, row, job_id, state)
            server.answer = answer(kind, listing.operation, response)
            of = ListingRequest(
                number, kind.parts(job_id).get(listing.parent), datetime(2026, 3, 1, tzinfo=UTC)
            )
            for token in (None, TOKEN):
                pages.append([await outcome(one.page(token, of)) for one in (plain, fast)])
        requests = [steady(request) for request in server.requests]

    assert fast.plain == 0
    assert isinstance(described[0][jobs[0]], Observation)
    assert described[0] == described[1]
    for one, other in pages:
        assert one == other
        assert [row.job.id for row in one.rows] == [job_id]
    assert len(requests) == 2 + 2 * len(pages)
    assert requests[0::2] == requests[1::2]
