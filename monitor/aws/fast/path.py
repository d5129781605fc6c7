"""The fast path of one account: its pools, and the forms of its requests."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from botocore import xform_name
from botocore.httpsession import mask_proxy_url

from monitor.aws.fast.connections import Pool, PoolTarget, TunnelProxy
from monitor.aws.fast.request import (
    PreparedRequest,
    RequestForm,
    RequestTemplate,
    SdkRequest,
    UnfitError,
)
from monitor.aws.fast.response import AnsweredRequest

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from aiobotocore.client import AioBaseClient
    from aiobotocore.httpsession import AIOHTTPSession
    from botocore.awsrequest import AWSPreparedRequest
    from botocore.httpsession import ProxyConfiguration
    from botocore.model import ServiceModel

    from monitor.aws.credentials import CredentialCache

_DEFAULT_PORTS = {"http": 80, "https": 443}


class _CapturedError(Exception):
    """The SDK has come to where it would send."""


class FastPath:
    """Prepares the requests of one account, for as long as the account stays as it is."""

    def __init__(self, keys: CredentialCache, connections: int) -> None:
        """Open no connection yet; ``connections`` is per endpoint."""
        self._keys = keys
        self._connections = connections
        self._pools: dict[tuple[str, Any], Pool] = {}
        self._contexts: dict[Any, ssl.SSLContext] = {}
        self._forms: WeakValueDictionary[Any, RequestForm] = WeakValueDictionary()
        # By service, region and operation: a client may be closed, and another take its place.
        self._templates: dict[tuple[str, str, str], RequestTemplate] = {}
        self._unfit: set[tuple[str, str, str]] = set()
        self._retired = False
        self._capture: ContextVar[tuple[str, list[AWSPreparedRequest]] | None] = ContextVar(
            "capture", default=None
        )

    def adopt(self, client: AioBaseClient) -> None:
        """Let requests of a client be captured, and responses be parsed by it."""
        client.meta.events.register("before-send", self._before_send)

    async def prepare(
        self, client: AioBaseClient, operation: str, params: Mapping[str, Any], job_id: str = ""
    ) -> PreparedRequest | None:
        """Prepare a request of a client; ``None`` if only the SDK can send it.

        One for the job ``job_id`` alone is shared with other jobs, if it differs in the id alone.
        Raises what the SDK raises where it cannot make the request.
        """
        service: ServiceModel = client.meta.service_model
        model = service.operation_model(operation)
        # Streams have no end, and the connections know no response whose body is left out.
        unread = (
            model.has_event_stream_output
            or model.has_streaming_output
            or model.http.get("method") == "HEAD"
        )
        of = service.service_name, client.meta.region_name, operation
        # Endpoints that a service tells change by the hour.
        if unread or service.endpoint_discovery_required or of in self._unfit:
            return None
        template = self._templates.get(of)
        if template is None:
            template = self._templates[of] = RequestTemplate(model)
        prepared = template.prepare(client, params, job_id)
        if prepared is not None:
            return prepared
        held = self._keys.held
        captured: list[AWSPreparedRequest] = []
        reset = self._capture.set((operation, captured))
        try:
            await getattr(client, xform_name(operation))(**params)
        except _CapturedError:
            pass
        finally:
            self._capture.reset(reset)
        try:
            request = SdkRequest.of(captured[0])
            form = await self._form(client, operation, request)
        except UnfitError:
            # Credentials that change meanwhile say nothing of the operation.
            if held is self._keys.held:
                self._unfit.add(of)
            return None
        template.learn(client, params, request, form)
        return template.cut(form, request.url, request.body, job_id)

    async def _form(
        self, client: AioBaseClient, operation: str, request: SdkRequest
    ) -> RequestForm:
        parts = urlsplit(request.url)
        of = client.meta.service_model.service_name, client.meta.region_name, operation
        key = *of, parts.scheme, parts.netloc, request.method, request.constant
        form = self._forms.get(key)
        if form is None:
            pool = await self._pool(client, request.url)
            model = client.meta.service_model.operation_model(operation)
            form = RequestForm(model, pool, self._keys, request)
            self._forms[key] = form
        if not form.sends(request):
            raise UnfitError
        return form

    async def _pool(self, client: AioBaseClient, url: str) -> Pool:
        """Return the pool of a client's endpoint; it trusts and times out as the client does."""
        parts = urlsplit(url)
        session: AIOHTTPSession = client._endpoint.http_session  # noqa: SLF001 -- the SDK offers no other way
        if "@" in parts.netloc:
            raise UnfitError
        trust = session._verify, session._cert_file, session._key_file  # noqa: SLF001 -- see above
        tls = self._contexts.get(trust) if parts.scheme == "https" else None
        if tls is None and parts.scheme == "https":
            tls, _ = await asyncio.to_thread(session._build_ssl_contexts, None)  # noqa: SLF001 -- see above
            tls = self._contexts.setdefault(trust, tls)
        # Only now, after the last await: another request may have made the pool meanwhile.
        key = f"{parts.scheme}://{parts.netloc}", trust
        if key not in self._pools:
            target = PoolTarget(
                url=url,
                host=parts.hostname or "",
                port=parts.port or _DEFAULT_PORTS[parts.scheme],
                tls=tls,
                connect_timeout=client.meta.config.connect_timeout,
                read_timeout=client.meta.config.read_timeout,
                proxy=_proxy(session._proxy_config, url),  # noqa: SLF001 -- see above
            )
            self._pools[key] = Pool(target, self._connections)
            if self._retired:
                self._pools[key].retire()  # the account was replaced in the meantime
        return self._pools[key]

    @property
    def under_way(self) -> int:
        """Requests that have no answer yet."""
        return sum(pool.under_way for pool in self._pools.values())

    def retire(self) -> None:
        """Send nothing more; what is under way still ends."""
        self._retired = True
        for pool in self._pools.values():
            pool.retire()

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.aclose()

    def _before_send(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> Any:
        """Answer a replay, and keep the SDK from sending what is only to be captured."""
        if isinstance(request, AnsweredRequest):
            return request.answer
        capture = self._capture.get()
        # The SDK may have to send something else before it can make the request.
        if capture is not None and event_name.endswith(f".{capture[0]}"):
            capture[1].append(request)
            raise _CapturedError
        return None


def _proxy(proxies: ProxyConfiguration, url: str) -> TunnelProxy | None:
    """Return the proxy for a URL, if it is one that opens tunnels in clear text."""
    found = proxies.proxy_url_for(url)
    if found is None:
        return None
    parts = urlsplit(found)
    if not url.startswith("https:") or parts.scheme != "http" or parts.hostname is None:
        raise UnfitError
    headers = proxies.proxy_headers_for(found)
    return TunnelProxy(parts.hostname, parts.port or 80, headers, mask_proxy_url(found))
