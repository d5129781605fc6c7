"""AWS sessions: one per account, with its credentials and endpoint overrides."""

from __future__ import annotations

import dataclasses
import logging
import os
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig
from aiobotocore.credentials import (
    AioAssumeRoleCredentialFetcher,
    AioAssumeRoleProvider,
    AioAssumeRoleWithWebIdentityProvider,
    AioContainerProvider,
    AioCredentials,
    AioDeferredRefreshableCredentials,
    AioInstanceMetadataProvider,
)
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore import handlers
from botocore.exceptions import BotoCoreError
from botocore.httpsession import get_cert_path

from monitor import __version__
from monitor.aws import credential_source
from monitor.aws.lenient_parser import ParserFactory
from monitor.aws.response_body import BoundedResponse
from monitor.aws.unreadable import UNREADABLE
from monitor.aws.unreadable_answer import UnreadableAnswerError
from monitor.config import named_files

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping

    from aiobotocore.session import ClientCreatorContext
    from aiohttp import ClientSession
    from botocore.loaders import Loader

    from monitor.aws.credentials import CredentialCache
    from monitor.config import Account

_TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105 -- the name of a variable
_TOKEN_FILE = f"{_TOKEN}_FILE"
_LONGEST_EXTERNAL_ID = 16 * 1024
"""Bytes of its file that are read; AWS takes 1224."""


def files(account: Account, environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Name the files that a session of ``account`` is made from, whether they exist or not."""
    named = (
        environ.get("AWS_CONFIG_FILE", "~/.aws/config"),
        environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        *filter(None, [account.external_id_file]),
    )
    return [Path(os.path.expanduser(name)) for name in named]  # noqa: PTH111 -- fails on no user


class Direct:
    """An HTTP session that follows no redirects and bounds every body."""

    def __init__(self, session: ClientSession) -> None:
        """Wrap the session that sends."""
        self._session = session

    async def request(self, *args: Any, **kwargs: Any) -> BoundedResponse:
        """Return the first response, redirect or not; its body is bounded."""
        found = await self._session.request(*args, allow_redirects=False, **kwargs)
        return BoundedResponse(found)


class DirectHTTP(AIOHTTPSession):  # type: ignore[misc]  # aiobotocore is untyped
    """The SDK's HTTP session without redirects; all that trust the same share a TLS context."""

    # A redirect would carry the session token, and a web identity token in a body, to
    # whatever host it names; no API that is polled here redirects.

    async def _get_session(self, proxy_url: str | None) -> Direct:
        return Direct(await super()._get_session(proxy_url))

    def _build_ssl_contexts(self, proxy_url: str | None) -> tuple[Any, Any]:
        # A certificate of our own, or a proxy's, is loaded into the context.
        if self._cert_file or proxy_url:
            own: tuple[Any, Any] = super()._build_ssl_contexts(proxy_url)
            return own
        bundle = get_cert_path(self._verify) if self._verify else None
        stamp = None
        if bundle:
            with suppress(OSError):  # loading it says what is wrong with it
                status = Path(bundle).stat()
                stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        return _context(self._verify, stamp), None


@lru_cache(maxsize=8)
def _context(verify: bool | str, _stamp: tuple[int, ...] | None) -> ssl.SSLContext:  # noqa: FBT001 -- as the SDK has it
    """Read a bundle of certificates once, for as long as its file stays as it is.

    It takes a megabyte and 40 ms of CPU, which hundreds of clients need not have each.
    """
    context: ssl.SSLContext = AIOHTTPSession(verify=verify)._build_verify_context()  # noqa: SLF001 -- the SDK offers no other way
    return context


def client_config(connect_timeout: float, read_timeout: float, connections: int) -> AioConfig:
    """Return the configuration of every client; timeouts in seconds.

    The SDK must not retry: its pauses would hold up other jobs, and it ignores
    Retry-After. Parameters need no validation, as ids are checked before.
    """
    return AioConfig(
        http_session_cls=DirectHTTP,
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        max_pool_connections=connections,
        parameter_validation=False,
        retries={"mode": "standard", "total_max_attempts": 1},
        user_agent_extra=f"aws-job-monitor/{__version__}",
    )


class Session(AioSession):  # type: ignore[misc]  # aiobotocore is untyped
    """An SDK session that knows its account's endpoints and role.

    The SDK makes clients of its own (of STS, to assume a role with a web identity),
    so the overrides must be where clients are made. With ``keys`` its clients sign with them;
    without, it searches for credentials itself, which blocks and may take long: ``tried`` is
    the progress.
    """

    def __init__(
        self,
        account: Account,
        models: Loader,
        config: AioConfig,
        region: str,
        keys: CredentialCache | None = None,
    ) -> None:
        """Read the AWS configuration files and the external id; blocking.

        ``region`` is the region of STS unless the AWS configuration names another.

        Raises:
            ProfileNotFound: the account's profile, or ``AWS_PROFILE``, does not exist.
            OSError: the file with the external id cannot be read.
        """
        super().__init__(profile=account.profile)
        self.register_component("data_loader", models)
        self.register_component("response_parser_factory", ParserFactory())
        self.set_default_client_config(config)
        self.get_scoped_config()
        self._account = account
        self._keys = keys
        self._sts_region = self.get_config_variable("region") or region
        self._assumed: AioDeferredRefreshableCredentials | None = None
        profile = self.get_config_variable("profile") or "default"
        self.tried = credential_source.CredentialSearch(profile, self._sts_region)
        if keys is None:
            self.register("after-call", _refuse_unreadable)

    def _register_builtin_handlers(self, events: Any) -> None:
        """Register the SDK's handlers, but not those that write documentation.

        Each client copies all of them, and these are two fifths of that.
        """
        kept = [one for one in handlers.BUILTIN_HANDLERS if not one[0].startswith("docs.")]
        for name, handler, *place in kept:
            if place == [handlers.REGISTER_FIRST]:
                events.register_first(name, handler)
            elif place == [handlers.REGISTER_LAST]:
                events.register_last(name, handler)
            else:
                events.register(name, handler)

    def create_client(self, service_name: str, **kwargs: Any) -> ClientCreatorContext:
        """Return a client, at the account's own endpoint if it has one for the service."""
        url = self._account.endpoint_urls.get(service_name)
        return super().create_client(
            service_name, **({"endpoint_url": url} if url else {}), **kwargs
        )

    async def get_credentials(self) -> Any:
        """Return the ambient or profile credentials, or those of the role assumed with them."""
        if self._keys is not None:
            return self._keys
        if self._credentials is None:
            self._guard()
        own: AioCredentials | None = await super().get_credentials()
        if own is None or self._account.role_arn is None:
            return own
        self.tried.origin = credential_source.ROLE
        if self._assumed is None:
            args, name = (
                {"RoleSessionName": self._account.session_name},
                self._account.external_id_file,
            )
            if name is not None:
                try:
                    content = named_files.read(name, _LONGEST_EXTERNAL_ID)
                    args["ExternalId"] = content.decode().strip()
                except (OSError, ValueError) as error:
                    raise credential_source.no_external_id(name, error) from None
            fetcher = AioAssumeRoleCredentialFetcher(
                partial(self.create_client, region_name=self._sts_region),
                own,
                self._account.role_arn,
                extra_args=args,
                cache={},
            )
            # STS is called when they are first used.
            fetch = fetcher.fetch_credentials
            self._assumed = AioDeferredRefreshableCredentials(fetch, "assume-role")
        return self._assumed

    def _guard(self) -> None:
        """Record each source that the SDK tries, and keep the SDK from prompting a person."""
        # The SDK has no hooks for any of this: tests/unit/vendor holds each attribute in place.
        for provider in self.get_component("credential_provider").providers:
            provider.load = partial(self._load, provider, provider.load)
            match provider:
                case AioAssumeRoleProvider():
                    provider._prompter = self._refuse_mfa  # noqa: SLF001 -- the SDK offers no other way
                case AioAssumeRoleWithWebIdentityProvider():
                    provider._token_loader_cls = partial(partial, _stripped)  # noqa: SLF001 -- see above
                case AioContainerProvider():
                    # The SDK sends the line break at the end of the token's file, too.
                    path = os.environ.get(_TOKEN_FILE)
                    token = {} if path is None else {_TOKEN: _stripped(path)}
                    others = {k: v for k, v in os.environ.items() if k != _TOKEN_FILE}
                    provider._environ = others | token  # noqa: SLF001 -- see above
                    _bound(provider._fetcher)  # noqa: SLF001 -- see above
                case AioInstanceMetadataProvider():
                    _bound(provider._role_fetcher)  # noqa: SLF001 -- see above

    async def _load(
        self, provider: Any, load: Callable[[], Awaitable[AioCredentials | None]]
    ) -> AioCredentials | None:
        """Load from one provider; refuse any profile of its chain that has ``mfa_serial``."""
        self.tried.origin = provider.METHOD
        profiles, visited = self.full_config.get("profiles", {}), set[str]()
        # Before anything is sent, as a profile further down the chain may need a person.
        assumes = isinstance(provider, AioAssumeRoleProvider)
        name: str | None = self.tried.profile if assumes else None
        while name is not None and name not in visited:
            visited.add(name)
            profile = profiles.get(name, {})
            if "role_arn" in profile and "web_identity_token_file" not in profile:
                if "mfa_serial" in profile:
                    raise credential_source.refuse_mfa(
                        dataclasses.replace(self.tried, profile=name)
                    )
                name = profile.get("source_profile")
            else:
                name = None
        return await load()

    def _refuse_mfa(self, _prompt: str) -> str:
        raise credential_source.refuse_mfa(self.tried)


def region(account: Account) -> str | None:
    """Return the region that the AWS files or ``AWS_DEFAULT_REGION`` name, if any; blocking."""
    session = AioSession(profile=account.profile)
    with suppress(BotoCoreError):  # reported where credentials are fetched
        found: str | None = session.get_config_variable("region")
        return found
    return None


def quiet() -> None:
    """Keep the SDK from logging, with tracebacks, what is reported as the account's failure."""
    for name in ("credentials", "tokens", "utils"):
        for library in ("aiobotocore", "botocore"):
            logging.getLogger(f"{library}.{name}").setLevel(logging.CRITICAL)


def _bound(fetcher: Any) -> None:
    """Bound the responses of a metadata service, whose session the SDK makes itself."""
    session = fetcher._session  # noqa: SLF001 -- the SDK offers no other way
    get = session._get_session  # noqa: SLF001 -- see above

    async def bounded(proxy_url: str | None) -> Direct:
        return Direct(await get(proxy_url))

    session._get_session = bounded  # noqa: SLF001 -- see above


def _refuse_unreadable(parsed: Mapping[str, Any], **_: Any) -> None:
    """Refuse unreadable credentials before the SDK fails over them in its own ways."""
    for name, value in parsed.items():
        inner = value.items() if isinstance(value, dict) else [(name, value)]
        for found, each in inner:
            if each is UNREADABLE:
                raise UnreadableAnswerError(found)


def _stripped(path: str) -> str:
    """Return the text of a token's file without the line break at its end."""
    return Path(path).read_text("utf-8").strip()
