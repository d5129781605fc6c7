"""A cheap stand-in for Panorama and Import/Export: its answers never change, but for the id.

Run with a port, the number of pages that list jobs, and a file with a certificate and its key for
TLS; prints a line once it listens.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
from itertools import count

import httptools

ROWS = 25
HEAD = (
    "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 03:11:15 GMT\r\nContent-Type: {}\r\n"
    "Content-Length: {}\r\nx-amzn-RequestId: {:032x}\r\nX-Amzn-Trace-Id: Root=1-{:024x}\r\n\r\n"
)
NUMBERS = count()
JOB = {
    "CreatedTime": 1721912345.123,
    "InputConfig": {"PackageVersionInputConfig": {"S3Location": {
        "BucketName": "bucket", "ObjectKey": "assets/people/1.3/package.tar.gz"}}},
    "JobType": "NODE_PACKAGE_VERSION",
    "LastUpdatedTime": 1721912399.456,
    "Output": {"OutputS3Location": {"BucketName": "out", "ObjectKey": "nodePackages/people/1.3"},
               "PackageId": "package-people-4k5l6m7n8o9p", "PackageVersion": "1.3",
               "PatchVersion": "5d3cf3fd8d2d1c3f6ba1c6a1a1d5a4b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7"},
    "OutputConfig": {"PackageVersionOutputConfig": {"MarkLatest": True, "PackageName": "people",
                                                    "PackageVersion": "1.3"}},
    "Status": "PENDING",
    "StatusMessage": "Package version import is in progress: validating the manifest.",
}  # fmt: skip
ROW = {name: JOB[name] for name in ("CreatedTime", "JobType", "LastUpdatedTime", "Status")}
DESCRIBED = json.dumps({"JobId": "@", **JOB})


def page(number, pages):
    """Return the page of a listing; its token is the number of the next one."""
    first = number * ROWS
    rows = [{"JobId": f"job-{n}", **ROW} for n in range(first, first + ROWS)]
    more = {"NextToken": f"page-{number + 1}"} if number + 1 < pages else {}
    return json.dumps({"PackageImportJobs": rows, **more})


STATUS = (
    '<GetStatusResponse xmlns="http://importexport.amazonaws.com/doc/2010-06-01/"><GetStatusResult>'
    "<JobId>{}</JobId><JobType>Import</JobType><LocationCode>AtAWS</LocationCode>"
    "<LocationMessage>Your device is at AWS.</LocationMessage>"
    "<ProgressCode>InProgress</ProgressCode>"
    "<ProgressMessage>Import is in progress (41%).</ProgressMessage><Carrier>UPS</Carrier>"
    "<TrackingNumber>1Z999AA10123456784</TrackingNumber><LogBucket>logs</LogBucket>"
    "<LogKey>logs/import-log</LogKey><ErrorCount>0</ErrorCount><Signature>c2lnbmF0dXJl</Signature>"
    "<CurrentManifest>manifestVersion:2.0\nreturnAddress:\n    name: Ops\n    city: Seattle\n"
    "    stateOrProvince: WA\nbucket: bucket\neraseDevice: yes</CurrentManifest>"
    "<CreationDate>2026-11-01T10:20:30Z</CreationDate><ArtifactList><member><Description>Label"
    "</Description><URL>https://example.com/label.pdf</URL></member></ArtifactList>"
    "</GetStatusResult><ResponseMetadata><RequestId>{:032x}</RequestId></ResponseMetadata>"
    "</GetStatusResponse>"
)


class Answers(asyncio.Protocol):
    """One connection."""

    def __init__(self, pages):
        self.pages = pages

    def connection_made(self, transport):
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.url = self.body = b""

    def data_received(self, data):
        self.parser.feed_data(data)

    def on_url(self, url):
        self.url = url

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        number = next(NUMBERS)
        if self.body:
            found = re.search(rb"JobId=([\w-]+)", self.body)
            assert found is not None
            kind, text = "text/xml", STATUS.format(found[1].decode(), number)
        elif (name := self.url.rpartition(b"/")[2]).startswith(b"job-"):
            kind, text = "application/json", DESCRIBED.replace("@", name.decode(), 1)
        else:
            found = re.search(rb"NextToken=page-(\d+)", self.url)
            kind, text = "application/json", self.pages[int(found[1]) if found else 0]
        self.url = self.body = b""
        self.transport.write((HEAD.format(kind, len(text), number, number) + text).encode())


async def main(port, pages, certificate):
    listing = [page(number, int(pages)) for number in range(int(pages))]
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    server = await asyncio.get_running_loop().create_server(
        lambda: Answers(listing), "127.0.0.1", int(port), ssl=context
    )
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None))
