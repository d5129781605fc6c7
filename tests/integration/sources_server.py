"""A raw loopback server for the tests of sources: it answers the bytes it was given."""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from monitor.aws import service_models
from monitor.aws.clients import Clients
from monitor.config import Account
from monitor.model import Job
from monitor.sources.aws_source import AwsSource
from monitor.sources.loader import load_job_types
from tests.paths import FastSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path as FilePath

    import pytest

REQUEST_ID = "a1f5a4c6-0adb-11df-a381-155bec6f7c93"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
NOW = datetime(2026, 5, 28, 12, 0, tzinfo=UTC)
PANORAMA = "panorama.package-import"
IMPORTEXPORT = "importexport.job"
MODELS = service_models.loader({})
JOB_TYPES = load_job_types(None, MODELS)


class Path:
    """The path that ``sources`` take to AWS; the fixture ``both_paths`` sets it."""

    taken = "plain"


def clean_environment(monkeypatch: pytest.MonkeyPatch, home: FilePath) -> None:
    """Nothing of this machine's AWS configuration counts; the example key signs."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "credentials"))


class FixedClock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def http(body: str | bytes = "", status: str = "200 OK", **headers: str) -> bytes:
    """One HTTP answer; ``x_amzn_errortype="…"`` gives the header x-amzn-errortype."""
    raw = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(raw)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + raw


def aws(body: str, status: str = "200 OK", **headers: str) -> bytes:
    """An answer that names its request id, as AWS does."""
    return http(body, status, x_amzn_requestid=REQUEST_ID, **headers)


def xml_error(
    code: str, status: str = "400 Bad Request", message: str = "no", **headers: str
) -> bytes:
    body = (
        '<ErrorResponse xmlns="http://importexport.amazonaws.com/doc/2010-06-01/">'
        f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        f"<RequestId>{REQUEST_ID}</RequestId></ErrorResponse>"
    )
    return aws(body, status, content_type="text/xml", **headers)


def json_error(code: str, status: str, body: str = '{"message": "no"}', **headers: str) -> bytes:
    return aws(body, status, content_type="application/json", x_amzn_errortype=code, **headers)


@dataclass
class RawServer:
    url: str = ""
    answer: bytes | Callable[[asyncio.StreamWriter], Awaitable[None]] = b""
    requests: list[bytes] = field(default_factory=list)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    async def hang(self, _writer: asyncio.StreamWriter) -> None:
        await self.closing.wait()

    @property
    def scopes(self) -> list[tuple[str, str]]:
        """(access key, date-less credential scope) of each request."""
        found = []
        for request in self.requests:
            match = re.search(rb"Credential=(\w+)/\d+/([^,]+),", request)
            assert match is not None
            found.append((match[1].decode(), match[2].decode()))
        return found

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"(?i)content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1])) if length else b""
                self.requests.append(head + body)
                if isinstance(self.answer, bytes):
                    writer.write(self.answer)
                    await writer.drain()
                else:
                    await self.answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.serving.discard(task)


@asynccontextmanager
async def raw_server(host: str = "127.0.0.1") -> AsyncIterator[RawServer]:
    server = RawServer()
    listening = await asyncio.start_server(server.serve, host, 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening:
        try:
            yield server
        finally:
            server.closing.set()
            await asyncio.gather(*server.serving)


class Sources(dict[str, AwsSource]):
    """Sources by type, each made when it is first asked for: to read all models takes seconds."""

    def __init__(self, make: Callable[[str], AwsSource]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, name: str) -> AwsSource:
        made = self._make(name)
        self[name] = FastSource(made) if Path.taken == "fast" else made  # type: ignore[assignment]
        return self[name]


@asynccontextmanager
async def sources(
    url: str,
    *,
    deadline: float = 60.0,
    connect: float = 20.0,
    read: float = 20.0,
    options=frozenset(),
) -> AsyncIterator[Sources]:
    """A source of each built-in type whose endpoint is ``url``, by type."""
    account = Account(endpoint_urls={"panorama": url, "importexport": url})
    made = Clients({"default": account}, models=MODELS, connect_timeout=connect, read_timeout=read)
    async with made as clients:

        def source(name: str) -> AwsSource:
            return AwsSource(
                JOB_TYPES[name],
                "default",
                "us-east-1",
                clients,
                FixedClock(),
                options=options,
                timeout=deadline,
            )

        yield Sources(source)


def job(name: str, job_id: str) -> Job:
    return Job(name, "default", "us-east-1", job_id)


OK_PANORAMA = """{"ClientToken": "tok-secret-1", "CreatedTime": 1748433600.123,
"InputConfig": {"PackageVersionInputConfig": {"S3Location": {"BucketName": "in-bkt",
"ObjectKey": "pkg.zip", "Region": "us-east-1"}}}, "JobId": "ok",
"JobTags": [{"ResourceType": "PACKAGE", "Tags": {"team": "a"}}],
"JobType": "NODE_PACKAGE_VERSION", "LastUpdatedTime": 1748433661,
"Output": {"OutputS3Location": {"BucketName": "out-bkt", "ObjectKey": "o/pkg"},
"PackageId": "package-abc", "PackageVersion": "1.0", "PatchVersion": "deadbeef"},
"OutputConfig": {"PackageVersionOutputConfig": {"MarkLatest": true, "PackageName": "people",
"PackageVersion": "1.0"}}, "Status": "SUCCEEDED", "StatusMessage": "done",
"FutureField": {"x": 1}}"""

OK_IMPORTEXPORT = """<GetStatusResponse xmlns="http://importexport.amazonaws.com/doc/2010-06-01/">
  <GetStatusResult>
    <CreationDate>2015-05-27T18:58:21Z</CreationDate>
    <CurrentManifest>manifestVersion:2.0
generator:Text editor
bucket:myBucket
trueCryptPassword:password123
returnAddress:
    name: Jane Roe
    phoneNumber:206-555-1111</CurrentManifest>
    <ErrorCount>0</ErrorCount>
    <JobId>EX1ID</JobId>
    <JobType>Import</JobType>
    <LocationCode>NotReceived</LocationCode>
    <LocationMessage>AWS has not received your device.</LocationMessage>
    <ProgressCode>Pending</ProgressCode>
    <ProgressMessage>The specified job has not started.</ProgressMessage>
    <LogBucket>myBucket</LogBucket>
    <Signature>ktKDXpdbEXAMPLEyGFJmQO744UHw=</Signature>
    <SignatureFileContents>version:2.0
signingMethod:HmacSHA1
jobId:EX1ID
signature:ktKDXpdbEXAMPLEyGFJmQO744UHw=
</SignatureFileContents>
    <ArtifactList><member><Description>label</Description><URL>https://s3.amazonaws.com/b/k.pdf?Signature=zzz&amp;Expires=1</URL></member></ArtifactList>
  </GetStatusResult>
  <ResponseMetadata><RequestId>a1f5a4c6-0adb-11df-a381-155bec6f7c93</RequestId></ResponseMetadata>
</GetStatusResponse>"""


def status_answer(**members: str) -> bytes:
    """A GetStatus answer with only these members."""
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in members.items())
    return aws(
        f"<GetStatusResponse><GetStatusResult>{inner}</GetStatusResult></GetStatusResponse>",
        content_type="text/xml",
    )


def list_answer(
    rows: list[tuple[str, bool]], more: str = "<IsTruncated>false</IsTruncated>"
) -> bytes:
    members = "".join(
        f"<member><JobId>{job_id}</JobId><CreationDate>2015-05-27T18:58:21Z</CreationDate>"
        f"<IsCanceled>{str(canceled).lower()}</IsCanceled><JobType>Import</JobType></member>"
        for job_id, canceled in rows
    )
    return aws(
        f"<ListJobsResponse><ListJobsResult><Jobs>{members}</Jobs>{more}"
        "</ListJobsResult></ListJobsResponse>",
        content_type="text/xml",
    )
