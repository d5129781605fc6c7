"""Prepared requests: which can be, and what they are once credentials change."""

from __future__ import annotations

import dataclasses
import time
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from botocore.credentials import ReadOnlyCredentials

from monitor.aws.clients import Clients, ResponseMeta
from monitor.aws.fast.request import _host
from monitor.config import Account
from monitor.model import SourceKey
from tests.contracts.test_paths import steady
from tests.integration.sources_server import MODELS, clean_environment, raw_server
from tests.paths import sent

REGION = "us-east-1"
ROLE = "arn:aws:iam::123456789012:role/other"
DESCRIBE = ("panorama", "DescribePackageImportJob", {"JobId": "ok"})


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch, tmp_path):
    clean_environment(monkeypatch, tmp_path)


@asynccontextmanager
async def clients(url, *services):
    account = Account(endpoint_urls=dict.fromkeys(services, url))
    async with Clients({"default": account}, models=MODELS) as made:
        yield made


class Request:
    """One request, as ``tests.paths.sent`` sends it."""

    def __init__(self, prepared, job_id=""):
        self.prepared = prepared
        self.job_id = job_id
        self.used: Any = None

    def send(self, done):
        self.used = self.prepared.send(5.0, done, self.job_id)
        return self.used is not None


async def asked(made, source, operation, params):
    """Ask on each path; return both answers, and what was sent."""
    plain = await made.ask(source, operation, params, ResponseMeta())
    prepared = await made.prepare(source, operation, params)
    assert prepared is not None
    request = Request(prepared)
    response = await sent(request)
    fast = await made.parse(
        source, prepared, response, ResponseMeta(), request.used, lambda: pytest.fail("asked again")
    )
    return plain, fast


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("panorama", "DescribePackageImportJob"),
        ("importexport", "GetStatus"),
        ("transcribe", "GetTranscriptionJob"),
    ],
    ids=["in the path", "in a query", "in JSON"],
)
async def test_jobs_share_a_request_that_differs_in_their_ids_alone(service, operation):
    name = "TranscriptionJobName" if service == "transcribe" else "JobId"
    ids = ["job-1", "another-job", "j-3", "e", "GetStatus", 'a "b"/ü%', "2010-06-01"]
    async with raw_server() as server, clients(server.url, service) as made:
        body = b"<a><GetStatusResult/></a>" if service == "importexport" else b"{}"
        server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        source = SourceKey(service, "default", REGION)
        prepared = [await made.prepare(source, operation, {name: each}, each) for each in ids]
        # Of no use to each other are ids that are escaped, or stand elsewhere as well.
        assert prepared[0] is prepared[1] is prepared[2]
        assert prepared[3] is not prepared[0]
        for job_id, request in zip(ids, prepared, strict=True):
            await sent(Request(request, job_id))
            await made.ask(source, operation, {name: job_id}, ResponseMeta())
        requests = [steady(request) for request in server.requests]
    assert len(requests) == 2 * len(ids)
    assert requests[0::2] == requests[1::2]


async def test_cbor_is_spoken_alike():
    async with raw_server() as server, clients(server.url, "eventbridgev2") as made:
        body = b"\xa1\x69NextToken\x63abc"
        server.answer = (
            b"HTTP/1.1 200 OK\r\nsmithy-protocol: rpc-v2-cbor\r\nContent-Type: application/cbor\r\n"
            b"x-amzn-requestid: r-1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        source = SourceKey("eventbridgev2", "default", REGION)
        plain, fast = await asked(made, source, "ListEventBuses", {"MaxResults": 3})
        requests = [steady(request) for request in server.requests]
    del plain["ResponseMetadata"]["MaxAttemptsReached"]  # of retries, of which there are none
    assert plain == fast
    assert fast["NextToken"] == "abc"
    assert b"rpc-v2-cbor" in requests[0]
    assert requests[0] == requests[1]


@pytest.mark.parametrize(
    ("service", "operation", "params"),
    [
        ("s3", "PutObject", {"Bucket": "b", "Key": "k", "Body": b"x"}),
        ("s3", "GetObject", {"Bucket": "b", "Key": "k"}),
        ("s3", "HeadObject", {"Bucket": "b", "Key": "k"}),
        ("kinesis", "SubscribeToShard", {
            "ConsumerARN": "arn:aws:kinesis:us-east-1:1:stream/a/consumer/b:1", "ShardId": "s",
            "StartingPosition": {"Type": "LATEST"}}),
        ("timestream-query", "DescribeScheduledQuery", {"ScheduledQueryArn": "a"}),
        ("sts", "AssumeRoleWithWebIdentity", {
            "RoleArn": "a", "RoleSessionName": "b", "WebIdentityToken": "c"}),
    ],
    ids=["a checksum", "a stream", "no body", "events", "an endpoint to discover", "no signature"],
)  # fmt: skip
async def test_some_requests_are_for_the_sdk_alone(service, operation, params):
    async with raw_server() as server, clients(server.url, service) as made:
        source = SourceKey(service, "default", REGION)
        for _ in range(3):
            assert await made.prepare(source, operation, params) is None
        assert not server.requests


async def test_another_signature_is_for_the_sdk_alone():
    async with raw_server() as server, clients(server.url, "importexport") as made:
        source = SourceKey("importexport", "default", REGION)
        assert await made.prepare(source, "ListJobs", {}) is not None
        client = made._open["default"].clients[source]
        client.meta.events.register("choose-signer.importexport.*", lambda **_: "v2")
        assert await made.prepare(source, "GetStatus", {"JobId": "E1"}) is None
        assert not server.requests


def hold(made, key, *, token=None, expires=None):
    keys = made._open["default"].keys
    frozen = ReadOnlyCredentials(key, "secret", token, None)
    keys.held = dataclasses.replace(keys.held, frozen=frozen, expires=expires)
    keys._renew_at = float("inf") if expires is None else expires - 900


async def test_each_request_is_signed_by_the_credentials_of_its_time():
    service, operation, params = DESCRIBE
    async with raw_server() as server, clients(server.url, service) as made:
        server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        source = SourceKey(service, "default", REGION)
        prepared = await made.prepare(source, operation, params)
        for key, token in (
            ("AKIA1", None),
            ("ASIA2", "a+token/="),
            ("ASIA3", "b"),
            ("AKIA4", None),
        ):
            hold(made, key, token=token)
            request = Request(prepared)
            await sent(request)
            assert request.used.frozen.access_key == key
            await made.ask(source, operation, params, ResponseMeta())
        requests = [steady(request) for request in server.requests]
    assert requests[0::2] == requests[1::2]
    assert [b"X-Amz-Security-Token" in request for request in requests[0::2]] == [
        False, True, True, False,
    ]  # fmt: skip


async def test_credentials_near_their_end_are_renewed_by_the_plain_path():
    service, operation, params = DESCRIBE
    async with raw_server() as server, clients(server.url, service) as made:
        source = SourceKey(service, "default", REGION)
        prepared = await made.prepare(source, operation, params)
        assert prepared is not None
        hold(made, "ASIA1", token="t", expires=time.time() + 30)
        assert prepared.send(5.0, lambda _: pytest.fail("it was sent")) is None
        hold(made, "ASIA1", token="t", expires=time.time() + 3600)
        server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        with anyio.fail_after(90):
            assert (await sent(Request(prepared))).status == 200


async def test_no_two_requests_have_the_same_id_of_the_invocation():
    service, operation, params = DESCRIBE
    async with raw_server() as server, clients(server.url, service) as made:
        server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        source = SourceKey(service, "default", REGION)
        prepared = await made.prepare(source, operation, params)
        for _ in range(5):
            await sent(Request(prepared))
        found = [request.partition(b"invocation-id: ")[2][:36] for request in server.requests]
    assert len(set(found)) == 5


@pytest.mark.parametrize(
    "url", ["http://localhost:{}", "http://localhost:{}/base/", "http://[::1]:{}"]
)
async def test_every_form_of_an_endpoint_is_sent_alike(url):
    service, operation, params = DESCRIBE
    async with raw_server("::1" if "::1" in url else "127.0.0.1") as server:
        server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        async with clients(url.format(server.url.rpartition(":")[2]), service) as made:
            await asked(made, SourceKey(service, "default", REGION), operation, params)
        requests = [steady(request) for request in server.requests]
    assert requests[0] == requests[1]


def test_the_usual_port_is_no_part_of_the_header_with_the_host():
    hosts = (
        "https://a.b:443/c",
        "http://a.b:80",
        "https://A.b",
        "https://a.b:80",
        "https://[::1]:9",
    )
    assert [_host(url) for url in hosts] == ["a.b", "a.b", "a.b", "a.b:80", "[::1]:9"]


async def test_a_request_can_be_prepared_after_others_have_had_older_credentials():
    service, operation, params = DESCRIBE
    async with raw_server() as server, clients(server.url, service) as made:
        source = SourceKey(service, "default", REGION)
        assert await made.prepare(source, operation, params) is not None
        hold(made, "ASIA2", token="b")
        assert await made.prepare(source, operation, {"JobId": "other"}) is not None


async def test_a_request_that_is_prepared_while_its_account_is_replaced_is_never_sent():
    service, operation, params = DESCRIBE
    async with raw_server() as server, clients(server.url, service) as made:
        source = SourceKey(service, "default", REGION)
        replaced = made._connections("default", REGION)
        client = await made._client(source, replaced)
        replaced.users += 1
        made.replace({"default": Account(endpoint_urls={service: server.url}, role_arn=ROLE)}, {})
        prepared = await replaced.fast.prepare(client, operation, params)
        assert prepared is None or prepared.send(5.0, lambda _: pytest.fail("sent")) is None


async def test_a_machine_without_a_thread_for_credentials_sends_by_the_plain_path(monkeypatch):
    service, operation, params = DESCRIBE
    async with raw_server() as server, clients(server.url, service) as made:
        prepared = await made.prepare(SourceKey(service, "default", REGION), operation, params)

        def exhausted():
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(made._open["default"].keys, "at_once", exhausted)
        assert prepared.send(5.0, lambda _: pytest.fail("sent")) is None


async def test_prepared_requests_need_no_client_that_stays_open():
    service, operation, params = DESCRIBE
    body = b'{"JobId":"ok","Status":"PENDING"}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    regions = ["us-east-1", "us-west-2", "eu-west-1", "eu-central-1", "ap-south-1"]
    async with raw_server() as server, clients(server.url, service) as made:
        server.answer = answer
        made._clients._most = 2
        prepared = {}
        for region in regions:
            source = SourceKey(service, "default", region)
            await made.ask(source, operation, params, ResponseMeta())
            prepared[source] = await made.prepare(source, operation, params)
        held = made._open["default"].clients
        assert [source.region for source in held] == regions[-2:]
        # A poll that changes nothing opens none again; an answer that must be read does.
        for source, request in prepared.items():
            one = Request(request)
            came = await sent(one)
            assert request.form.digester.digest(came)
            found = await made.parse(source, request, came, ResponseMeta(), one.used, dict)
            assert found["Status"] == "PENDING"
        assert [source.region for source in held] == regions[-2:]
        assert len(made._open["default"].stacks) == 2


async def test_a_client_in_use_and_one_that_cannot_be_done_without_stay_open():
    service, operation, params = DESCRIBE
    async with raw_server() as server, clients(server.url, service) as made:
        server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        made._clients._most = 0
        first, second = (SourceKey(service, "default", name) for name in ("us-east-1", "eu-west-1"))
        connections = made._connections("default", REGION)
        client = await made._client(first, connections)
        async with made._clients.using(client):
            await made.ask(second, operation, params, ResponseMeta())
            assert list(connections.clients) == [first]
        assert not connections.clients
        client = await made._client(first, connections)
        connections.fast._unfit.add((service, "us-east-1", operation))
        assert await made.prepare(first, operation, params) is None
        await made.ask(second, operation, params, ResponseMeta())
        assert connections.clients == {first: client}
