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
from botocore.exceptions import ClientError

from monitor.aws import errors, lenient_parser, service_models, sessions
from monitor.aws.credentials import CredentialCache
from monitor.aws.fast import response as fast_response
from monitor.aws.fast.path import FastPath
from monitor.aws.open_clients import OpenClients
from monitor.aws.sessions import Session, client_config
from monitor.config import Account
from monitor.config import file_digest as files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from aiobotocore.client import AioBaseClient
    from botocore.loaders import Loader

    from monitor.aws import credential_source
    from monitor.aws.credential_fetch import FetchedCredentials
    from monitor.aws.fast.connections import RawResponse
    from monitor.aws.fast.request import PreparedRequest
    from monitor.aws.process_groups import ProcessGroups
    from monitor.model import SourceKey


@dataclass(slots=True)
class ResponseMeta:
    """The head of a response, even where the SDK could not read its body."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    large: bool = False
    """The response is large enough to be read in a thread."""


@dataclass(eq=False, slots=True)
class _AccountConnections:
    """The session and the clients of one account, and the number of requests in flight."""

    account: Account
    keys: CredentialCache
    fast: FastPath
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    session: Session | None = None
    clients: dict[SourceKey, AioBaseClient] = field(default_factory=dict)
    stacks: dict[SourceKey, AsyncExitStack] = field(default_factory=dict)
    users: int = 0

    async def close_client(self, source: SourceKey) -> None:
        """Close one client; the next request makes another."""
        del self.clients[source]
        await self.stacks.pop(source).aclose()

    async def aclose(self) -> None:
        await self.fast.aclose()
        await self.keys.aclose()
        for source in [*self.clients]:
            await self.close_client(source)


class Clients:
    """The clients of all accounts: each is made once, in a thread where that blocks.

    Timeouts are in seconds; ``connections`` is per client, ``fast_connections`` per endpoint.
    """

    def __init__(
        self,
        accounts: Mapping[str, Account],
        *,
        contents: Mapping[str, bytes] | None = None,
        models: Loader | None = None,
        connect_timeout: float = 5.0,
        read_timeout: float = 20.0,
        connections: int = 16,
        fast_connections: int = 64,
        credentials_timeout: float = 75.0,
        patience: float | None = 10.0,
        groups: ProcessGroups | None = None,
    ) -> None:
        """An account that is not among ``accounts`` has the ambient credentials.

        ``contents`` has a digest of each account's files. Fetching credentials may take
        ``credentials_timeout``; a request that needs them fails after ``patience``, or waits for
        all of that time if it is ``None``. ``groups`` records the credential helpers that run.
        """
        self._accounts = accounts
        self._contents: Mapping[str, bytes] = contents or {}
        self._models = models or service_models.loader()
        self._config = client_config(connect_timeout, read_timeout, connections)
        self._fast_connections = fast_connections
        self._credentials_timeout = credentials_timeout
        # A little more than the attempt, so that its own error comes first.
        self._patience = credentials_timeout + 5 if patience is None else patience
        self._groups = groups
        self._making = anyio.Lock()
        self._clients = OpenClients()
        self._open: dict[str, _AccountConnections] = {}
        self._replaced: set[_AccountConnections] = set()
        self._exchange: ContextVar[ResponseMeta] = ContextVar("exchange")

    async def __aenter__(self) -> Self:
        """Read what every client needs from disk."""
        sessions.quiet()
        await anyio.to_thread.run_sync(service_models.warm_up, self._models, "sts")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        async with AsyncExitStack() as stack:
            for connections in (*self._open.values(), *self._replaced):
                stack.push_async_callback(connections.aclose)
            self._open.clear()
            self._replaced.clear()

    def replace(
        self, accounts: Mapping[str, Account], contents: Mapping[str, bytes]
    ) -> frozenset[str]:
        """Use other accounts from now on; return the names of those that differ.

        Only they get new clients. The last request in flight closes an old client; ``close_idle``
        closes one that is not in use.
        """
        before, digests = self._accounts, self._contents
        self._accounts, self._contents = accounts, contents
        changed = frozenset(
            name
            for name in {*before, *accounts, *self._open}
            if accounts.get(name, Account()) != before.get(name, Account())
            or contents.get(name, b"") != digests.get(name, b"")
        )
        for name in changed & self._open.keys():
            replaced = self._open.pop(name)
            replaced.fast.retire()
            for client in replaced.clients.values():
                self._clients.forget(client)
            self._replaced.add(replaced)
        return changed

    async def close_idle(self) -> None:
        """Close replaced connections that are not in use."""
        for connections in [
            one for one in self._replaced if not one.users and not one.fast.under_way
        ]:
            # Out of the set before the await, so that no other task closes them as well.
            self._replaced.discard(connections)
            await connections.aclose()

    async def ask(
        self, source: SourceKey, operation: str, params: Mapping[str, Any], exchange: ResponseMeta
    ) -> Mapping[str, Any]:
        """Send one signed request and return its parsed response.

        Raises whatever the SDK raises; ``exchange`` then holds the head of the response. Set
        a deadline around it. Only a request whose credentials AWS refuses is sent again, if there
        are others by now.
        """
        connections = self._connections(source.account, source.region)
        keys, reset = connections.keys, self._exchange.set(exchange)
        # A client stays open while it has users, even if its account changes meanwhile.
        connections.users += 1
        try:
            client = await self._client(source, connections)
            async with self._clients.using(client):
                await keys.get_frozen_credentials()
                used, call = keys.held, getattr(client, xform_name(operation))
                try:
                    answer: Mapping[str, Any] = await call(**params)
                except ClientError as error:
                    if not errors.is_stale(error, operation) or not await keys.renew(used):
                        raise
                    answer = await call(**params)
        finally:
            self._exchange.reset(reset)
            await self._leave(connections)
        return answer

    async def prepare(
        self, source: SourceKey, operation: str, params: Mapping[str, Any], job_id: str = ""
    ) -> PreparedRequest | None:
        """Serialise a request once, to be sent many times; ``None`` if only ``ask`` can send it.

        One for the job ``job_id`` alone may be the same object for many jobs. Raises whatever the
        SDK raises. The request ends with the account: once the account is replaced, it is not
        sent any more, and another must be prepared.
        """
        connections = self._connections(source.account, source.region)
        connections.users += 1
        try:
            client = await self._client(source, connections)
            async with self._clients.using(client):
                found = await connections.fast.prepare(client, operation, params, job_id)
                if found is None:
                    self._clients.keep(client)  # each poll needs it
                return found
        finally:
            await self._leave(connections)

    async def parse(
        self,
        source: SourceKey,
        request: PreparedRequest,
        response: RawResponse,
        exchange: ResponseMeta,
        used: FetchedCredentials,
        params: Callable[[], Mapping[str, Any]],
    ) -> Mapping[str, Any]:
        """Return the parsed response to a prepared request, as ``ask`` would have.

        If AWS refuses the credentials that were ``used`` and there are others by now, a request
        with ``params`` is sent by ``ask``.
        """
        form, reset = request.form, self._exchange.set(exchange)
        connections = self._connections(source.account, source.region)
        connections.users += 1
        try:
            client = await self._client(source, connections)
            async with self._clients.using(client):
                return await fast_response.parse(client, form.operation, form.url, response)
        except ClientError as error:
            if not errors.is_stale(error, form.operation) or not await form.renew(used):
                raise
        finally:
            self._exchange.reset(reset)
            await self._leave(connections)
        return await self.ask(source, form.operation, params(), exchange)

    async def ready(self, source: SourceKey) -> None:
        """Wait until there are credentials for ``source``.

        Raises:
            PollError: ``auth``, with their source and the fix.
        """
        await self._connections(source.account, source.region).keys.get_frozen_credentials()

    def tried(self, source: SourceKey) -> credential_source.CredentialSearch | None:
        """Return the source of the credentials for ``source``, if there are any."""
        held = self._connections(source.account, source.region).keys.held
        return held.tried if held else None

    def awaited(self, source: SourceKey) -> str:
        """Return the source of the credentials that are pending, if any are."""
        connections = self._open.get(source.account)
        return connections.keys.awaited if connections else ""

    def _connections(self, name: str, region: str) -> _AccountConnections:
        if name not in self._open:
            account = self._accounts.get(name, Account())
            keys = CredentialCache(
                partial(Session, account, self._models, self._config, region),
                lambda: files.digest(sessions.files(account)),
                deadline=self._credentials_timeout,
                patience=self._patience,
                groups=self._groups,
            )
            fast = FastPath(keys, self._fast_connections)
            self._open[name] = _AccountConnections(account, keys, fast)
        return self._open[name]

    async def _client(self, source: SourceKey, connections: _AccountConnections) -> AioBaseClient:
        """Return the client of a source, made at its first use."""
        if source not in connections.clients:
            async with connections.lock:
                # Another request may have made it while this one waited for the lock.
                if source not in connections.clients:
                    connections.clients[source] = await self._made(source, connections)
        return connections.clients[source]

    async def _leave(self, connections: _AccountConnections) -> None:
        """Count one user less, and close replaced connections that have none."""
        connections.users -= 1
        # Any of them: nothing else would tell that the last answer has come on a fast connection.
        if self._replaced:
            # Shielded: a cancelled poll would leave the old connections open for good.
            with anyio.CancelScope(shield=True):
                await self.close_idle()

    async def _made(self, source: SourceKey, connections: _AccountConnections) -> AioBaseClient:
        """Make a client, once there are credentials."""
        # Not before: making one would let the SDK search for credentials on the event loop.
        await connections.keys.get_frozen_credentials()
        if connections.session is None:
            account, keys = connections.account, connections.keys
            make = partial(Session, account, self._models, self._config, source.region, keys)
            connections.session = await anyio.to_thread.run_sync(make)
        await anyio.to_thread.run_sync(service_models.warm_up, self._models, source.service)
        # One at a time: each holds up the loop for 5 ms, and hundreds together for seconds.
        async with self._making, AsyncExitStack() as stack:
            client = await stack.enter_async_context(
                connections.session.create_client(
                    source.service,
                    region_name=source.region,
                    api_version=service_models.api_version(source.service),
                )
            )
            connections.stacks[source] = stack.pop_all()
        self._clients.add(client, partial(connections.close_client, source))
        client.meta.events.register("before-parse", self._note)
        connections.fast.adopt(client)
        return client

    def _note(self, response_dict: Mapping[str, Any], **_: Any) -> None:
        """Keep status and headers: the SDK drops them if it cannot read the body."""
        # Clients serve many requests at once: the context variable says which one this is.
        exchange = self._exchange.get(None)
        if exchange is not None:
            exchange.status = response_dict["status_code"]
            exchange.headers = response_dict["headers"]
            body = response_dict["body"]
            exchange.large = isinstance(body, bytes) and len(body) > lenient_parser.LARGE
