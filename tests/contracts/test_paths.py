"""The two paths to AWS send the same bytes, and read the same in every response."""

from __future__ import annotations

import asyncio
import gzip
import re
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from moto.core.model import ServiceModel
from moto.core.serialize import get_serializer_class

from monitor import simulator
from monitor.aws import service_models
from monitor.aws.clients import Clients
from monitor.config import Account
from monitor.errors import PollError
from monitor.model import Job, ListingRequest, Observation, Page
from monitor.simulator import fault_rules
from monitor.sources.aws_source import AwsSource
from tests import ports
from tests.certificates import certificate
from tests.integration.sources_server import FixedClock, clean_environment, raw_server
from tests.integration.test_webhook_proxy import proxying
from tests.paths import FastSource, sent
from tests.unit.sources.test_shipped_requests import (
    MODELS,
    TYPES,
    filled_in,
    full,
    ids,
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
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _, *rest, **more: real("127.0.0.1", *rest, **more)
    )


@asynccontextmanager
async def both(url, *kinds, **times):
    """A plain and a fast source of each type, with clients of their own."""
    account = Account(endpoint_urls=dict.fromkeys({kind.service for kind in kinds}, url))
    timeout = times.pop("timeout", 20.0)
    async with (
        Clients({"default": account}, models=MODELS, **times) as one,
        Clients({"default": account}, models=MODELS, **times) as other,
    ):

        def made(kind, clients):
            return AwsSource(kind, "default", REGION, clients, FixedClock(), timeout=timeout)

        yield [(made(kind, one), FastSource(made(kind, other))) for kind in kinds]


def named(url):
    """An address can have no ``data.`` before it."""
    return url.replace("127.0.0.1", "localhost")


def steady(request):
    """A request without what no two requests share; features in the user agent have no order."""
    agent = AGENT.sub(lambda found: b",".join(sorted(found[0].split(b","))), request)
    return CHANGING.sub(rb"\1", agent)


def told(found):
    """An outcome in a form that can be compared."""
    if isinstance(found, PollError):
        named = found.request_id is not None
        values = (found.reason, found.code, found.status, named, found.retry_after)
        return *values, found.hint, found.of_credentials
    if isinstance(found, dict):
        return {job: told(one) for job, one in found.items()}
    if isinstance(found, Page):
        return replace(found, next_token=str(found.next_token is not None))
    return found


async def outcome(asking):
    try:
        with anyio.fail_after(90):
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


@cache
def some_ids(name):
    """Return a few ids of a type, the same in every run."""
    found = []

    @settings(max_examples=6, database=None, derandomize=True)
    @given(ids(TYPES[name]))
    def take(job_id):
        found.append(job_id)

    take()
    return sorted(set(found))


@pytest.mark.parametrize("name", TYPES)
async def test_every_shipped_type_is_polled_alike(name, every_host_here):
    kind = TYPES[name]
    service = service_models.service_model(MODELS, kind.service)
    operation = kind.describe.operation
    job_id, state = one_id(kind.name), next(iter(kind.phases))
    jobs = [Job(kind.name, "default", REGION, job_id)]
    response = full(service.operation_model(operation).output_shape)
    found = kind.describe.items(response) if kind.describe.items else response
    filled_in(
        kind, kind.describe.item, found[0] if isinstance(found, list) else found, job_id, state
    )

    async with raw_server() as server, both(named(server.url), kind) as ((plain, fast),):
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
                number,
                kind.parts(job_id).get(listing.parent or ""),
                datetime(2026, 3, 1, tzinfo=UTC),
            )
            pages.extend(
                [
                    [await outcome(one.page(token, of)) for one in (plain, fast)]
                    for token in (None, TOKEN)
                ]
            )
        # The SDK prepares the first ones by a whole call, later ones by its serializer alone.
        server.answer = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
        others = [[Job(kind.name, "default", REGION, other)] for other in some_ids(kind.name)]
        for other in others:
            one, two = [await outcome(source.describe_many(other)) for source in (plain, fast)]
            assert one == two
        requests = [steady(request) for request in server.requests]

    assert fast.plain == 0
    assert isinstance(described[0][jobs[0]], Observation)
    assert described[0] == described[1]
    for one, other in pages:
        assert one == other
        assert [row.job.id for row in one.rows] == [job_id]
    assert len(requests) == 2 + 2 * len(pages) + 2 * len(others)
    assert requests[0::2] == requests[1::2]


FAULTS: dict[str, dict[str, Any]] = {
    "throttled": {"kind": "throttle", "rate": 0.001, "retry_after": "3s"},
    "throttled by a status": {"kind": "throttle", "rate": 0.001, "status": 503, "code": "SlowDown"},
    "an error in a header": {"kind": "error", "status": 500, "code": "InternalServerException"},
    "an error in the body": {
        "kind": "error", "status": 400, "code": "ValidationException", "code_in": "body",
    },
    "an error with members": {
        "kind": "error", "status": 400, "code": "ValidationException",
        "members": {"Fields": [{"Name": "JobId", "Message": "no"}]},
    },
    "missing": {"kind": "error", "status": 404, "code": "ResourceNotFoundException"},
    "an error that stands for a state": {"kind": "error", "status": 400, "code": "CanceledJobId"},
    "a redirect": {"kind": "error", "status": 302, "code": "Found"},
    "denied": {"kind": "denied"},
    "expired credentials": {"kind": "expired_credentials"},
    "a web page": {"kind": "html"},
    "a web page as an error": {"kind": "html", "status": 502},
    "nothing": {"kind": "empty"},
    "nothing as an error": {"kind": "empty", "status": 500},
    "an empty object": {"kind": "empty_object"},
    "half an answer": {"kind": "malformed"},
    "a connection that ends": {"kind": "cut"},
    "a connection that is reset": {"kind": "reset"},
    "no answer": {"kind": "hang"},
    "a slow answer": {"kind": "slow", "delay": "100ms"},
    "an old answer": {"kind": "stale", "age": "1s"},
    "another job": {"kind": "wrong_id"},
    "a time that is none": {"kind": "bad_timestamp"},
    "a page without rows": {"kind": "torn_page", "form": "empty"},
    "a page that repeats": {"kind": "torn_page", "form": "repeated"},
    "a page that lacks rows": {"kind": "torn_page", "form": "lossy"},
}  # fmt: skip


def test_every_fault_of_the_simulator_is_tried():
    kinds = {fault["kind"] for fault in FAULTS.values()}
    assert kinds == set(fault_rules.FAULT.json_schema()["discriminator"]["mapping"])


@pytest.mark.parametrize("name", FAULTS)
async def test_every_fault_is_taken_alike(name):
    kinds = [TYPES["panorama.package-import"], TYPES["importexport.job"]]
    jobs = [{"id": "p", "service": "panorama"}, {"id": "E1", "service": "importexport"}]
    ids = [Job(kinds[0].name, "default", REGION, "p"), Job(kinds[1].name, "default", REGION, "E1")]
    # What answers may take its time, on a busy machine.
    times = {"read_timeout": 0.5 if name == "no answer" else 20.0, "timeout": 20.0}
    async with (
        simulator.running({"jobs": jobs, "keep": 10}) as sim,
        both(sim.url, *kinds, **times) as sources,
    ):
        for job, (plain, fast) in zip(ids, sources, strict=True):
            for asking in (
                lambda one, job=job: one.describe_many([job]),
                lambda one: one.page(None),
                lambda one: one.page("E1"),
            ):
                found = []
                for one in (plain, fast):
                    sim.faults.clear()
                    rule = sim.faults.add(FAULTS[name])
                    if FAULTS[name]["kind"] == "throttle":
                        await outcome(asking(plain))  # takes the only token
                    found.append(await outcome(asking(one)))
                    assert sim.faults.fired(rule) or FAULTS[name]["kind"] in {
                        "torn_page",
                        "wrong_id",
                    }
                assert found[0] == found[1]
            assert fast.plain == 0


JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BODY = b'{"JobId": "p", "Status": "PENDING"}'
LENGTH = b"Content-Length: %d\r\n\r\n" % len(BODY)
ODD = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a header that is no text": JSON + b"X-A: \xff\xfe\r\n" + LENGTH + BODY,
    "a header that is no ASCII": JSON + b"X-A: \xc3\xa9\r\n" + LENGTH + BODY,
    "lines that end with LF alone": (JSON + b"X-A: b\r\n" + LENGTH).replace(b"\r", b"") + BODY,
    "one line that ends with LF alone": JSON + b"X-A: b\n" + LENGTH + BODY,
    "a folded header": JSON + b"X-A: b\r\n c\r\n" + LENGTH + BODY,
    "a type that is folded": JSON[:-2] + b";\r\n charset=utf-8\r\n" + LENGTH + BODY,
    "an error in LF alone": b"HTTP/1.1 400 No\nx-amzn-errortype: ThrottlingException\n"
    b"Content-Length: 2\n\n{}",
    "a space after the size of a chunk": JSON
    + b"Transfer-Encoding: chunked\r\n\r\n%x \r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    "a name with a space": JSON + b"X A: b\r\n" + LENGTH + BODY,
    "a NUL": JSON + b"X-A: b\0\r\n" + LENGTH + BODY,
    "two lengths": JSON + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length and chunks": JSON
    + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no size of a chunk": JSON + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no reason": b"HTTP/1.1 200\r\n" + LENGTH + BODY,
    "no length": JSON + b"\r\n" + BODY,
    "an unknown status": b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
    "a body that says that it is packed": JSON + b"Content-Encoding: gzip\r\n" + LENGTH + BODY,
    "a body that is packed": JSON
    + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(gzip.compress(BODY))
    + gzip.compress(BODY),
    "half a head": JSON,
    "half a body": JSON + LENGTH + BODY[:9],
    "half a chunk": JSON + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
}


@pytest.mark.parametrize("name", ODD)
async def test_odd_http_is_taken_alike(name):
    kind = TYPES["panorama.package-import"]
    jobs = [Job(kind.name, "default", REGION, "p")]

    async def odd(writer):
        writer.write(ODD[name])
        await writer.drain()
        writer.close()

    async with raw_server() as server, both(server.url, kind) as ((plain, fast),):
        server.answer = odd
        found = [await outcome(one.describe_many(jobs)) for one in (plain, fast)]
    assert fast.plain == 0
    assert found[0] == found[1]


async def test_credentials_that_aws_refuses_are_renewed_alike(monkeypatch, tmp_path):
    """The refused request is sent once more, with others, and nobody hears of it."""
    kind = TYPES["panorama.package-import"]
    job = Job(kind.name, "default", REGION, "p")
    file = tmp_path / "credentials"

    def write(key):
        file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = s\n")

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    async with raw_server() as server:

        async def by_key(writer):
            known = b"Credential=AKIANEW/" in server.requests[-1]
            writer.write(
                JSON + LENGTH + BODY
                if known
                else b"HTTP/1.1 403 No\r\nx-amzn-errortype: ExpiredTokenException\r\n"
                b"Content-Length: 2\r\n\r\n{}"
            )

        server.answer = by_key
        keys = []
        for number in range(2):
            write("AKIAOLD")
            server.requests.clear()
            async with both(server.url, kind) as (sources,):
                asking = sources[number]
                denied = await outcome(asking.describe_many([job]))
                write("AKIANEW")
                seen = await outcome(asking.describe_many([job]))
                keys.append([key for key, _ in server.scopes])
                assert denied[1] == "ExpiredTokenException"
                assert isinstance(seen[job], Observation)
    assert keys == [["AKIAOLD", "AKIAOLD", "AKIANEW"]] * 2


@asynccontextmanager
async def over_tls(directory, body=JSON + LENGTH + BODY):
    """A server of one answer, with a certificate for localhost; yields its port."""

    async def serve(reader, writer):
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(body)
        writer.close()

    context = certificate(directory / "server.pem", "localhost", 9)
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("trusted", [True, False])
async def test_tls_is_verified_alike(monkeypatch, tmp_path, trusted):
    kind = TYPES["panorama.package-import"]
    jobs = [Job(kind.name, "default", REGION, "p")]
    async with over_tls(tmp_path) as port:
        if trusted:
            monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "server.pem"))
        async with both(f"https://localhost:{port}", kind) as ((plain, fast),):
            found = [await outcome(one.describe_many(jobs)) for one in (plain, fast)]
    assert fast.plain == 0
    assert found[0] == found[1]
    assert (found[0][1] == "CertificateError") if not trusted else jobs[0] in found[0]


@pytest.mark.parametrize("status", [200, 407, 503, None], ids=str)
async def test_a_proxy_is_used_alike(monkeypatch, tmp_path, status):
    """``None`` is a proxy that is down."""
    kind = TYPES["panorama.package-import"]
    jobs = [Job(kind.name, "default", REGION, "p")]
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "server.pem"))
    async with over_tls(tmp_path) as port, proxying(port, status) as proxy:
        at = proxy.port if status else ports.free_port()
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:word@127.0.0.1:{at}")
        async with both("https://localhost:9", kind) as ((plain, fast),):
            found = [await outcome(one.describe_many(jobs)) for one in (plain, fast)]
            fast_again = await outcome(fast.describe_many(jobs))
        await asyncio.sleep(0.1)  # until both ends of the tunnels are closed
    assert fast.plain == 0
    assert found[0] == found[1] == fast_again
    assert (jobs[0] in found[0]) is (status == 200)
    if status:
        lines = {(one.line, one.headers["proxy-authorization"]) for one in proxy.requests}
        assert lines == {("CONNECT localhost:9 HTTP/1.1", "Basic dXNlcjp3b3Jk")}
    if status == 200:
        assert len(proxy.requests) == 2


async def test_only_the_sdk_goes_through_other_proxies(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "https://127.0.0.1:9")
    kind = TYPES["panorama.package-import"]
    jobs = [Job(kind.name, "default", REGION, "p")]
    for url in ("http://example.com", "https://example.com"):
        async with both(url, kind) as ((_, fast),):
            found = await outcome(fast.describe_many(jobs))
            assert found[1] == "ProxyConnectionError"
            assert fast.plain == 1


async def test_a_replaced_account_sends_nothing_more():
    kind = TYPES["panorama.package-import"]
    jobs = [Job(kind.name, "default", REGION, "p")]
    asked, hold = asyncio.Event(), asyncio.Event()
    async with raw_server() as server, raw_server() as later:

        async def held(writer):
            asked.set()
            await hold.wait()
            writer.write(JSON + LENGTH + BODY)

        server.answer = held
        later.answer = JSON + LENGTH + BODY
        accounts = [Account(endpoint_urls={"panorama": one.url}) for one in (server, later)]
        async with Clients({"default": accounts[0]}, models=MODELS) as clients:
            source = AwsSource(kind, "default", REGION, clients, FixedClock())
            prepared = await source.prepare(jobs)
            assert prepared is not None
            under_way = asyncio.ensure_future(sent(prepared, jobs))
            with anyio.fail_after(60):
                await asked.wait()
            assert clients.replace({"default": accounts[1]}, {}) == {"default"}
            await clients.close_idle()
            assert not prepared.send(jobs, lambda _: pytest.fail("it was sent"))
            hold.set()
            # What was under way comes to its end, and is read by the client that is no longer used.
            assert jobs[0] in await (await under_way).read()
            again = await source.prepare(jobs)
            assert jobs[0] in await (await sent(again, jobs)).read()
            assert len(later.requests) == 1
            await source.describe_many(jobs)
            assert not clients._replaced
