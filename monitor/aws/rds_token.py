"""Tokens for Amazon RDS in the place of a password: signed URLs that are valid for 15 minutes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import anyio
import anyio.to_thread
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest

from monitor.aws import service_models, sessions
from monitor.aws.credentials import CredentialCache
from monitor.config import Account, file_digest, postgresql_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from botocore.credentials import ReadOnlyCredentials

    from monitor.aws.process_groups import ProcessGroups
    from monitor.config import StoreSettings

_SERVICE = "rds-db"
_VALID_FOR = 900
"""Seconds; RDS takes none that is valid for longer."""
_DEADLINE = 30.0
_TIMEOUT = 10.0


def token(credentials: ReadOnlyCredentials, url: postgresql_url.PostgresqlUrl, region: str) -> str:
    """Return a token for the user and the host of a database URL."""
    query = urlencode({"Action": "connect", "DBUser": url.user})
    # RDS compares the host as its endpoint is written, in lower case, and the port always.
    request = AWSRequest("GET", f"https://{url.host}:{url.port}/?{query}")
    SigV4QueryAuth(credentials, _SERVICE, region, expires=_VALID_FOR).add_auth(request)
    signed: str = request.url
    return signed.removeprefix("https://")


@asynccontextmanager
async def signing(
    store: StoreSettings,
    accounts: Mapping[str, Account],
    groups: ProcessGroups | None = None,
) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Yield what makes a token for the store; it raises PollError without credentials.

    ``groups`` records the helpers that fetch credentials.
    """
    url = postgresql_url.parse(store.url)
    region = store.region or url.aws_region
    account = accounts.get(store.account, Account())
    models = service_models.loader()
    sessions.quiet()
    await anyio.to_thread.run_sync(service_models.warm_up, models, "sts")
    config = sessions.client_config(_TIMEOUT, _TIMEOUT, 1)
    keys = CredentialCache(
        partial(sessions.Session, account, models, config, region),
        lambda: file_digest.digest(sessions.files(account)),
        deadline=_DEADLINE,
        patience=_DEADLINE + 5,
        groups=groups,
    )

    async def make() -> str:
        return token(await keys.get_frozen_credentials(), url, region)

    try:
        yield make
    finally:
        await keys.aclose()
