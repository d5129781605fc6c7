"""The account that credentials belong to, as AWS names it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import anyio

from monitor.aws import errors
from monitor.aws.clients import ResponseMeta
from monitor.model import SourceKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from monitor.aws.clients import Clients

ACCOUNT_ID = re.compile(r"[0-9]{12}")
_TIMEOUT = 15.0


async def account_id(
    clients: Clients, account: str, region: str, now: Callable[[], datetime]
) -> str:
    """Return the account that the credentials of ``account`` belong to, by one request to STS.

    Raises:
        PollError: there was no answer, or none that names an account.
    """
    key, exchange = SourceKey("sts", account, region), ResponseMeta()
    operation = "GetCallerIdentity"
    try:
        await clients.ready(key)
        with anyio.fail_after(_TIMEOUT):
            answer = await clients.ask(key, operation, {}, exchange)
        found = str(answer.get("Account", ""))
        if ACCOUNT_ID.fullmatch(found):
            return found
        failure = errors.malformed("NoAccount", "the answer names no account", exchange)
    except Exception as error:  # noqa: BLE001  # whatever the SDK raises must end here
        failure = errors.failure(error, exchange, operation, lambda *_: False, now())
    # Not in the ``except`` block: it would keep the SDK's error, which may hold the answer.
    raise failure
