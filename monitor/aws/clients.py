"""One shared SDK client per (account, region, service): the only way to AWS."""

from __future__ import annotations

from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.to_thread
from botocore import xform_name
from botocore.exceptions import NoCredentialsError

from monitor.aws import service_models
from monitor.aws.sessions import Session, client_config
from monitor.config import Account

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from aiobotocore.client import AioBaseClient
    from botocore.loaders import Loader

    from monitor.model import SourceKey


@dataclass(slots=True)
class Exchange:
    """What came back over the wire, even where the SDK could not read it."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Clients:
    """Makes each client once, off the event loop as far as it blocks, and closes all at the end.

    Timeouts are in seconds; ``connections`` is per client.
    """

    def __init__(
        self,
        accounts: Mapping[str, Account],
        *,
        models: Loader | None = None,
        connect_timeout: float = 5.0,
        read_timeout: float = 20.0,
        connections: int = 16,
    ) -> None:
        """An account that is not among ``accounts`` has the ambient credentials."""
        self._accounts = accounts
        self._models = models or service_models.loader()
        self._config = client_config(connect_timeout, read_timeout, connections)
        self._stack = AsyncExitStack()
        self._locks: dict[str, anyio.Lock] = {}
        self._sessions: dict[str, Session] = {}
        self._clients: dict[SourceKey, AioBaseClient] = {}
        self._exchange: ContextVar[Exchange] = ContextVar("exchange")

    async def __aenter__(self) -> Self:
        """Read what every client needs from disk."""
        await anyio.to_thread.run_sync(service_models.warm_up, self._models, "sts")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        self._clients.clear()
        await self._stack.aclose()

    async def ask(
        self, source: SourceKey, operation: str, params: Mapping[str, Any], exchange: Exchange
    ) -> Mapping[str, Any]:
        """Make one signed request and return its parsed answer.

        Raises whatever the SDK raises; ``exchange`` then holds what is known of the
        reply. There is no deadline here, and nothing is ever tried twice.
        """
        client = await self._client(source)
        reset = self._exchange.set(exchange)
        try:
            answer: Mapping[str, Any] = await getattr(client, xform_name(operation))(**params)
        finally:
            self._exchange.reset(reset)
        return answer

    async def _client(self, source: SourceKey) -> AioBaseClient:
        if source not in self._clients:
            async with self._locks.setdefault(source.account, anyio.Lock()):
                if source not in self._clients:
                    self._clients[source] = await self._made(source)
        return self._clients[source]

    async def _made(self, source: SourceKey) -> AioBaseClient:
        """Make a client; one without credentials is not kept, as they may come later."""
        session = await self._session(source)
        await anyio.to_thread.run_sync(service_models.warm_up, self._models, source.service)
        context = session.create_client(
            source.service,
            region_name=source.region,
            api_version=service_models.api_version(source.service),
        )
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(context)
            if await session.get_credentials() is None:
                raise NoCredentialsError
            self._stack.push_async_exit(stack.pop_all())
        client.meta.events.register("before-parse", self._note)
        return client

    async def _session(self, source: SourceKey) -> Session:
        name = source.account
        if name not in self._sessions:
            account = self._accounts.get(name, Account())
            make = partial(Session, account, self._models, self._config, source.region)
            self._sessions[name] = await anyio.to_thread.run_sync(make)
        return self._sessions[name]

    def _note(self, response_dict: Mapping[str, Any], **_: Any) -> None:
        """Keep status and headers: the SDK loses them where it cannot read the body."""
        exchange = self._exchange.get(None)
        if exchange is not None:
            exchange.status = response_dict["status_code"]
            exchange.headers = response_dict["headers"]
