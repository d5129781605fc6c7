"""Digests of responses: equal where nothing differs but the id of the request."""

from __future__ import annotations

import pytest

from monitor.aws import service_models
from monitor.aws.fast.connections import RawResponse
from monitor.aws.fast.response import Digester

MODELS = service_models.loader({})
STATUS = (
    "<GetStatusResponse><GetStatusResult><JobId>E1</JobId><ProgressCode>{}</ProgressCode>"
    "</GetStatusResult><ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata>"
    "</GetStatusResponse>"
)
TWICE = '{"requestId":"a","x":{"requestId":"@"}}'
EC2 = (
    '<?xml version="1.0"?>\n<DescribeInstancesResponse><requestId>{1}</requestId><reservationSet>'
    "<item><requestId>{0}</requestId></item></reservationSet></DescribeInstancesResponse>"
)


def digester(service, operation):
    return Digester(service_models.service_model(MODELS, service).operation_model(operation))


def response(body, status=200, **headers):
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return RawResponse(status, f"HTTP/1.1 {status} OK\r\n{lines}\r\n".encode(), body.encode())


@pytest.mark.parametrize(
    ("service", "operation", "body"),
    [
        ("importexport", "GetStatus", STATUS),
        ("ec2", "DescribeInstances", EC2),
        ("imagebuilder", "GetImage", '{{"image":{{"state":"{}"}},"requestId":"{}"}}'),
    ],
    ids=["query", "ec2", "json"],
)
def test_the_id_of_a_request_does_not_count_and_all_else_does(service, operation, body):
    made = digester(service, operation)
    one = made.digest(response(body.format("Pending", "id-1")))
    assert one is not None
    assert len(one) == 15
    assert one == made.digest(response(body.format("Pending", "an-id-of-another-length")))
    assert one != made.digest(response(body.format("Complete", "id-1")))
    assert one != made.digest(response(body.format("Pending", "id-1") + " "))
    assert one != made.digest(response(body.format("Pending", "id-1")[:-1]))


@pytest.mark.parametrize(
    ("service", "operation", "bodies"),
    [
        ("importexport", "GetStatus", [STATUS.format("a", n) * 2 for n in "12"]),
        (
            "importexport",
            "GetStatus",
            [STATUS.format("a", n) + STATUS.format("a", "x") for n in "12"],
        ),
        ("importexport", "GetStatus", [f"<ResponseMetadata>{n}" for n in "12"]),
        (
            "imagebuilder",
            "GetImage",
            [f'{{"requestId":"a","x":{{"requestId":"{n}"}}}}' for n in "12"],
        ),
        ("panorama", "DescribePackageImportJob", [f'{{"requestId":"{n}"}}' for n in "12"]),
    ],
    ids=[
        "twice",
        "twice and the last is the same",
        "without end",
        "twice in JSON",
        "in a model without it",
    ],
)
def test_what_may_be_anything_counts(service, operation, bodies):
    made = digester(service, operation)
    assert len({made.digest(response(body)) for body in bodies}) == 2


def test_headers_count_where_the_model_reads_them():
    made = digester("panorama", "DescribePackageImportJob")
    assert made.digest(response("{}", Date="1")) == made.digest(response("{}", Date="2"))
    made = digester("s3", "HeadObject")
    assert made.digest(response("", ETag="1")) != made.digest(response("", ETag="2"))
    assert made.digest(response("", Date="1")) == made.digest(response("", Date="2"))


@pytest.mark.parametrize("status", [201, 204, 302, 400, 500])
def test_only_a_plain_success_has_a_digest(status):
    assert digester("panorama", "DescribePackageImportJob").digest(response("{}", status)) is None


def test_the_head_of_the_last_response_is_read():
    head = b"HTTP/1.1 100 Continue\r\nX-A: no\r\n\r\nHTTP/1.1 200\r\nX-A:  yes \r\nX-B:\r\n\r\n{}"
    assert RawResponse(200, head, b"{}").headers() == [(b"X-A", b"yes"), (b"X-B", b"")]
