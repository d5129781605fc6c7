"""AWS sessions: one per account, with its credentials and endpoint overrides."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig
from aiobotocore.credentials import (
    AioAssumeRoleCredentialFetcher,
    AioCredentials,
    AioDeferredRefreshableCredentials,
)
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession

from monitor import __version__
from monitor.aws.bodies import BoundedResponse
from monitor.aws.parsing import ParserFactory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiobotocore.session import ClientCreatorContext
    from aiohttp import ClientSession
    from botocore.loaders import Loader

    from monitor.config import Account


def files(account: Account, environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Name the files that a session of ``account`` is made from, whether they exist or not."""
    named = (
        environ.get("AWS_CONFIG_FILE", "~/.aws/config"),
        environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        *filter(None, [account.external_id_file]),
    )
    return [Path(os.path.expanduser(name)) for name in named]  # noqa: PTH111 -- fails on no user


class Direct:
    """Sends requests to where they were meant to go, and nowhere else."""

    def __init__(self, session: ClientSession) -> None:
        """Wrap the session that really sends."""
        self._session = session

    async def request(self, *args: Any, **kwargs: Any) -> BoundedResponse:
        """Return the first answer, redirect or not; its body is read within a bound."""
        found = await self._session.request(*args, allow_redirects=False, **kwargs)
        return BoundedResponse(found)


class DirectHTTP(AIOHTTPSession):  # type: ignore[misc]  # aiobotocore is untyped
    """The SDK's HTTP session, made not to follow redirects.

    A redirect would carry the session token, and a web identity token in a body, to
    whatever host it names; no API that is watched here redirects.
    """

    async def _get_session(self, proxy_url: str | None) -> Direct:
        return Direct(await super()._get_session(proxy_url))


def client_config(connect_timeout: float, read_timeout: float, connections: int) -> AioConfig:
    """Return what every client is made with; timeouts in seconds.

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
    so the overrides must be where clients are made.
    """

    def __init__(self, account: Account, models: Loader, config: AioConfig, region: str) -> None:
        """Read the AWS configuration files and the external id; blocking.

        ``region`` is where STS is asked unless the AWS configuration names another.

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
        self._external_id = _external_id(account)
        self._sts_region = self.get_config_variable("region") or region
        self._assumed: AioDeferredRefreshableCredentials | None = None

    def create_client(self, service_name: str, **kwargs: Any) -> ClientCreatorContext:
        """Return a client, at the account's own endpoint if it has one for the service."""
        url = self._account.endpoint_urls.get(service_name)
        return super().create_client(
            service_name, **({"endpoint_url": url} if url else {}), **kwargs
        )

    async def get_credentials(self) -> AioCredentials | None:
        """Return the ambient or profile credentials, or those of the role assumed with them."""
        own: AioCredentials | None = await super().get_credentials()
        if own is None or self._account.role_arn is None:
            return own
        self._assumed = self._assumed or self._assume(own, self._account.role_arn)
        return self._assumed

    def _assume(self, own: AioCredentials, role_arn: str) -> AioDeferredRefreshableCredentials:
        """Return credentials that ask STS when first used, and again before they expire."""
        args = {"RoleSessionName": self._account.session_name}
        if self._external_id is not None:
            args["ExternalId"] = self._external_id
        fetcher = AioAssumeRoleCredentialFetcher(
            functools.partial(self.create_client, region_name=self._sts_region),
            own,
            role_arn,
            extra_args=args,
            cache={},
        )
        return AioDeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")


def _external_id(account: Account) -> str | None:
    if account.external_id_file is None:
        return None
    return Path(account.external_id_file).read_text("utf-8").strip()
