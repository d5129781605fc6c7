"""Requests that the SDK serialised once, and that are signed and sent again and again.

The SDK makes each request as if it were to send it: its serializer, its endpoint rules, and all
that its handlers add. What it would have sent is kept, but for the time, the signature and the id
of the invocation. A request that cannot be made again byte for byte is left to the SDK.
"""

from __future__ import annotations

import calendar
import itertools
import re
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, AnyStr
from urllib.parse import urlsplit

from botocore.awsrequest import create_request_object, prepare_request_dict

from monitor.aws.fast import signer
from monitor.aws.fast.response import Digester

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from aiobotocore.client import AioBaseClient
    from botocore.awsrequest import AWSPreparedRequest
    from botocore.model import OperationModel

    from monitor.aws.credential_fetch import FetchedCredentials
    from monitor.aws.credentials import CredentialCache
    from monitor.aws.fast.connections import Done, Pool

_DATE, _TOKEN, _AUTHORIZATION = "X-Amz-Date", "X-Amz-Security-Token", "Authorization"
_INVOCATION, _LENGTH = "amz-sdk-invocation-id", "Content-Length"
_ALWAYS = frozenset({_DATE, _AUTHORIZATION, _INVOCATION})
_CHANGING = _ALWAYS | {_TOKEN, _LENGTH}
"""Headers that no two requests need share."""
_ENOUGH = 2
"""Requests for which a template must give what the SDK gives."""
_MOST_KINDS = 16
"""Kinds of requests of one operation that are kept to be shared."""
_SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<names>[^,]+), Signature=[0-9a-f]{64}"
)


class UnfitError(Exception):
    """A request that only the SDK can send."""


@dataclass(frozen=True, slots=True)
class SdkRequest:
    """A request as the SDK would have sent it: its headers are in the order of the wire."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    def of(cls, request: AWSPreparedRequest) -> SdkRequest:
        """Take what the SDK hands to its HTTP session, with what that adds.

        Raises:
            UnfitError: its body or a header is of a kind that no fixed request can have.
        """
        body = request.body or b""
        if isinstance(body, str):
            body = body.encode()
        named = [
            (name, value.decode() if isinstance(value, bytes) else str(value))
            for name, value in request.headers.items()
        ]
        if (
            not isinstance(body, bytes | bytearray)
            or not request.headers.keys() >= _ALWAYS
            or any(
                signer.varies(name, value) or not f"{name}{value}".isprintable()
                for name, value in named
            )
        ):
            raise UnfitError
        added = [("Accept-Encoding", "identity"), ("Accept", "*/*")]
        missing = [pair for pair in added if pair[0] not in request.headers]
        headers = (("Host", _host(request.url)), *named, *missing)
        return cls(request.method, request.url, headers, bytes(body))

    @property
    def constant(self) -> tuple[tuple[str, str], ...]:
        """The headers that another request of its kind has as well; the others are empty."""
        return tuple(
            (name, "" if name in _CHANGING else value)
            for name, value in self.headers
            if name != _TOKEN
        )


class RequestForm:
    """The parts that requests of one operation share: connections, signature, most of the head."""

    __slots__ = (
        "__weakref__", "_checked", "_headers", "_held", "_ids", "_keys", "_parts", "_prefix",
        "_region", "_service", "_signed", "_signer", "digester", "method", "operation", "pool",
        "url",
    )  # fmt: skip

    def __init__(
        self,
        operation: OperationModel,
        pool: Pool,
        keys: CredentialCache,
        example: SdkRequest,
    ) -> None:
        """Take from ``example`` whatever another request of its kind has as well.

        Raises:
            UnfitError: it has no plain signature of version 4.
        """
        # No client and no model of one: they are large, and may be closed meanwhile.
        self.operation = operation.name
        self.digester = Digester(operation)
        self.pool = pool
        self.method = example.method
        self.url = example.url
        self._keys = keys
        self._headers = example.constant
        self._checked = -1
        self._ids = itertools.count()
        self._prefix = str(uuid.uuid4())[:24]
        signed = _SIGNATURE.fullmatch(dict(example.headers).get(_AUTHORIZATION, ""))
        if signed is None or keys.held is None:
            raise UnfitError
        self._service, self._region = signed["service"], signed["region"]
        # The SDK adds some headers only after it has signed.
        self._signed = frozenset(signed["names"].split(";"))
        self._adopt(keys.held)

    def credentials(self, second: int) -> FetchedCredentials | None:
        """Return the credentials that sign now; ``None`` if nothing can be sent now."""
        held: FetchedCredentials | None = self._held
        if second == self._checked and self._keys.held is held:
            return held  # once a second is often enough to ask for their age
        try:
            held = self._keys.at_once()
        except RuntimeError:
            return None  # no thread can be started; nobody here could tell, as the plain path can
        if held is not None and held is not self._held:
            self._adopt(held)
        self._checked = -1 if held is None else second
        return held

    async def renew(self, refused: FetchedCredentials) -> bool:
        """Return whether there are other credentials than the refused ones; may fetch them."""
        return await self._keys.renew(refused)

    def sends(self, example: SdkRequest) -> bool:
        """Return whether it makes of a request, byte for byte, what the SDK made of it."""
        held = self._keys.held
        if held is not None and held is not self._held:
            self._adopt(held)  # nothing has been sent since they are there
        headers = dict(example.headers)
        at = calendar.timegm(time.strptime(headers[_DATE], "%Y%m%dT%H%M%SZ"))
        target, line = _target(example.url), signer.canonical_line(example.method, example.url)
        made = self.made(target, line, example.body, at, headers[_INVOCATION])
        lines = "".join(f"{name}: {value}\r\n" for name, value in example.headers)
        head = f"{example.method} {target} HTTP/1.1\r\n{lines}\r\n"
        return made == head.encode() + example.body

    def made(self, target: str, line: str, body: bytes, second: int, invocation: str = "") -> bytes:
        """Return a signed request: ``line`` is its canonical one, ``second`` a Unix time."""
        if second != self._signer.second:
            self._stamp(second)
        signature = self._signer.sign(line, body)
        # Its own one each time, as AWS may count two with the same as one that was sent again.
        invocation = invocation or f"{self._prefix}{next(self._ids):012x}"
        first, second_part, third, *last = self._parts
        head = (
            f"{self.method} {target} HTTP/1.1\r\n{first}{signature}{second_part}{invocation}{third}"
        )
        if last:
            return f"{head}{len(body)}{last[0]}\r\n".encode() + body
        return f"{head}\r\n".encode()

    def _adopt(self, held: FetchedCredentials) -> None:
        """Sign with these credentials from now on."""
        signed = [
            (name, value)
            for name, value in self._headers
            if name.lower() in self._signed and name not in _CHANGING
        ]
        self._signer = signer.Signer(self._service, self._region, signed, held.frozen)
        self._held = held

    def _stamp(self, second: int) -> None:
        """Write the parts of the head that hold for one second, around what changes within it."""
        self._signer.at(second)
        token = self._held.frozen.token
        lines: list[str] = []
        for name, value in self._headers:
            match name:
                case "X-Amz-Date":
                    lines.append(f"{name}: {self._signer.date}")
                    if token:
                        lines.append(f"{_TOKEN}: {token}")
                case "Authorization":
                    lines.append(f"{name}: {self._signer.authorization}\0")
                case "amz-sdk-invocation-id" | "Content-Length":
                    lines.append(f"{name}: \0")
                case _:
                    lines.append(f"{name}: {value}")
        self._parts = "\r\n".join([*lines, ""]).split("\0")


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A request, ready to be signed and sent at any time.

    What the SDK made is cut wherever the id of the job stands in it. Requests that differ in
    nothing else are equal, so one object does for all jobs of a kind. With its id between the
    parts again, each has what the SDK made for it, byte for byte.
    """

    form: RequestForm
    target: tuple[str, ...]
    line: tuple[str, ...]
    """The canonical line, as ``signer.canonical_line`` gives it."""
    body: tuple[bytes, ...]

    def send(self, timeout: float, done: Done, job_id: str = "") -> FetchedCredentials | None:
        """Sign and send; return the credentials, or ``None`` if it cannot be sent so now.

        ``job_id`` is that of a job for which this was prepared. ``done`` follows later, exactly
        once, with the response or the error, after ``timeout`` seconds at the latest; never where
        nothing is sent.
        """
        form, second = self.form, int(time.time())
        held = form.credentials(second)
        if held is None:
            return None
        target, body = job_id.join(self.target), self.body[0]
        if len(self.body) > 1:
            body = job_id.encode().join(self.body)
        raw = form.made(target, job_id.join(self.line), body, second)
        return held if form.pool.send(raw, timeout, done) else None


class RequestTemplate:
    """Serialises the requests of one operation without the rest of the SDK's call.

    It costs a tenth of that, and is used once it has given what whole calls gave, for two requests
    that differ; never where the endpoint depends on the parameters.
    """

    __slots__ = ("_fits", "_form", "_headers", "_made", "_operation", "_seen")

    def __init__(self, model: OperationModel) -> None:
        """Have seen no request yet."""
        self._operation = model.name
        members = model.input_shape.members.values() if model.input_shape else ()
        prefix = (model.endpoint or {}).get("hostPrefix", "")
        self._fits = not (
            model.operation_context_parameters
            or "{" in prefix
            or any("contextParam" in member.metadata for member in members)
        )
        self._seen: set[str] = set()
        self._form: RequestForm | None = None
        self._headers: dict[str, str] = {}
        self._made: dict[PreparedRequest, PreparedRequest] = {}

    def cut(self, form: RequestForm, url: str, body: bytes, job_id: str) -> PreparedRequest:
        """Cut what the SDK made for a job; return the one object for all that have the same.

        Without an id it stays whole.
        """
        target, line = _target(url), signer.canonical_line(form.method, url)
        parts = _cut(target, job_id), _cut(line, job_id), _cut(body, job_id.encode())
        made = PreparedRequest(form, *parts)
        if len(made.target) == len(made.body) == 1:
            return made
        if len(self._made) == _MOST_KINDS:
            # Ids that stand in a request by chance as well cut it in ways of their own.
            self._made.clear()
        return self._made.setdefault(made, made)

    def learn(
        self,
        client: AioBaseClient,
        params: Mapping[str, Any],
        example: SdkRequest,
        form: RequestForm,
    ) -> None:
        """Compare what the template makes with what a whole call made."""
        if not self._fits:
            return
        headers, url, body = self._serialized(client, params)
        if self._form is None:
            self._form, self._headers = form, headers
        self._fits = (
            form is self._form
            and headers == self._headers
            and (url, body) == (example.url, example.body)
        )
        self._seen.add(f"{url} {body!r}")

    def prepare(
        self, client: AioBaseClient, params: Mapping[str, Any], job_id: str
    ) -> PreparedRequest | None:
        """Prepare a request; ``None`` if it takes a whole call."""
        form = self._form
        if not self._fits or form is None or len(self._seen) < _ENOUGH:
            return None
        headers, url, body = self._serialized(client, params)
        of, like = urlsplit(url), urlsplit(form.url)
        if headers != self._headers or (of.scheme, of.netloc) != (like.scheme, like.netloc):
            return None
        return self.cut(form, url, body, job_id)

    def _serialized(
        self, client: AioBaseClient, params: Mapping[str, Any]
    ) -> tuple[dict[str, str], str, bytes]:
        """Return the headers, the URL and the body that the SDK's serializer makes."""
        model = client.meta.service_model.operation_model(self._operation)
        made = client._serializer.serialize_to_request(params, model)  # noqa: SLF001 -- the SDK offers no other way
        if not client.meta.config.inject_host_prefix:
            made.pop("host_prefix", None)
        prepare_request_dict(made, endpoint_url=client.meta.endpoint_url, context={})
        request = create_request_object(made).prepare()
        body = request.body or b""
        headers = {name: value for name, value in request.headers.items() if name != _LENGTH}
        return headers, request.url, body.encode() if isinstance(body, str) else bytes(body)


def _host(url: str) -> str:
    """Return the host of a URL as the header of that name has it."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return host if parts.port in {None, usual} else f"{host}:{parts.port}"


def _cut(text: AnyStr, at: AnyStr) -> tuple[AnyStr, ...]:
    return tuple(text.split(at)) if at else (text,)


def _target(url: str) -> str:
    """Return the path and the query of a URL, as the first line of a request has them."""
    parts = urlsplit(url)
    return f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
