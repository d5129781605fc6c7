"""Responses of the fast path: compared before they are parsed, and parsed by the SDK."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from aiobotocore.awsrequest import AioAWSResponse
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import HTTPClientError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiobotocore.client import AioBaseClient
    from botocore.model import OperationModel

    from monitor.aws.fast.connections import RawResponse

_OK = 200
_ERROR = 300
_SIZE = 15
"""Bytes of a digest: each watched job keeps one, and one byte more takes 16."""
_NEAR_THE_START = 1024


class Digester:
    """Makes digests of the responses of one operation, without the ids of requests."""

    __slots__ = ("_end", "_headers", "_limit", "_start")

    def __init__(self, operation: OperationModel) -> None:
        """Read from the model where a request id stands."""
        shape = operation.output_shape
        members = shape.members if shape else {}
        locations = {name: member.serialization for name, member in members.items()}
        self._headers = frozenset(
            place.get("name", name).lower().encode()
            for name, place in locations.items()
            if place.get("location") in {"header", "headers"}
        )
        self._start = self._end = b""
        self._limit: int | None = None
        match operation.service_model.resolved_protocol:
            case "query":
                self._start, self._end = b"<ResponseMetadata>", b"</ResponseMetadata>"
            case "ec2":
                # The first element of an answer; there may be others of the name within.
                self._start, self._end = b"<requestId>", b"</requestId>"
                self._limit = _NEAR_THE_START
            case _:
                for name, place in locations.items():
                    if name.lower() == "requestid" and "location" not in place:
                        self._start, self._end = f'"{place.get("name", name)}":"'.encode(), b'"'

    def digest(self, response: RawResponse) -> bytes | None:
        """Return the digest of a plain success; ``None`` if the response must be parsed.

        Two responses of one request with equal digests differ in nothing that is read of them.
        """
        status, _, body = response
        if status != _OK:
            return None
        start = self._start
        if not start:
            found = sha256(body)
        else:
            at = body.find(start, 0, self._limit)
            end = body.find(self._end, at + len(start)) if at >= 0 else -1
            # More than one may be anything; then all of it counts.
            if end < 0 or (self._limit is None and body.find(start, end) >= 0):
                at = end = len(body)
            found = sha256(memoryview(body)[:at])
            found.update(memoryview(body)[end:])
        if self._headers:
            for name, value in response.headers():
                if name.lower() in self._headers:
                    found.update(b"\n%b:%b" % (name, value))
        return found.digest()[:_SIZE]


class AnsweredRequest(AWSPreparedRequest):  # type: ignore[misc]  # botocore is untyped
    """A request whose response is there already, for the SDK to parse."""

    def __init__(self, method: str, url: str, response: RawResponse) -> None:
        """Take the response as it came."""
        super().__init__(method, url, {}, b"", stream_output=False)
        try:
            headers = {name.decode().lower(): value.decode() for name, value in response.headers()}
        except UnicodeDecodeError as error:
            raise HTTPClientError(error=error) from None
        self.answer = AioAWSResponse(url, response.status, headers, _ReadBody(response.body))


class _ReadBody:
    """A body that has been read."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self) -> bytes:
        return self._body


async def parse(
    client: AioBaseClient, name: str, url: str, response: RawResponse
) -> Mapping[str, Any]:
    """Return a parsed response, or raise the error that the SDK raises over it.

    It goes through the SDK's own steps from where a response is complete: its parser, the
    handlers of services, the members of errors that are in the model.
    """
    operation: OperationModel = client.meta.service_model.operation_model(name)
    context: dict[str, Any] = {
        "client_region": client.meta.region_name,
        "client_config": client.meta.config,
    }
    method = operation.http.get("method", "POST")
    found, error = await client._endpoint._get_response(  # noqa: SLF001 -- the SDK offers no other way
        AnsweredRequest(method, url, response), operation, context
    )
    if error is not None:
        raise error
    http, parsed = found
    if "ResponseMetadata" in parsed:
        parsed["ResponseMetadata"]["RetryAttempts"] = 0
    service = operation.service_model.service_id.hyphenize()
    await client.meta.events.emit(
        f"after-call.{service}.{operation.name}",
        http_response=http,
        parsed=parsed,
        model=operation,
        context=context,
    )
    if http.status_code >= _ERROR:
        code = context.get("error_code_override") or parsed.get("Error", {}).get("Code")
        raise client.exceptions.from_code(code)(parsed, operation.name)
    answer: Mapping[str, Any] = parsed
    return answer
