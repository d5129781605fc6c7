"""Who is let in, and as which account."""

import time
from collections.abc import Callable, Mapping

from monitor.simulator import refusals, signing
from monitor.simulator.calls import DEFAULT_REGION, Call
from monitor.simulator.scenario import Credential
from monitor.simulator.signing import HttpRequest, NotLetInError, Refusal


class Gate:
    """Checks signatures where credentials are configured, else lets everybody in."""

    def __init__(
        self, credentials: Mapping[str, Credential], now: Callable[[], float] = time.time
    ) -> None:
        """Take the keys; `now` is the system's clock, by which SDKs sign even in virtual time."""
        self._accounts = {key: known.account for key, known in credentials.items()}
        self._keys = {
            key: signing.Key(known.secret, known.session_token, known.expired)
            for key, known in credentials.items()
        }
        self._now = now

    def account(self, http: HttpRequest, call: Call) -> str | None:
        """Return the caller's account; None for a caller that sees everything.

        Raises:
            ServiceError: the caller is not let in.
        """
        if not self._keys:
            return None
        try:
            claimed = signing.verify(http, self._keys, self._now())
        except NotLetInError as error:
            raise refusals.not_let_in(call.service, error.refusal) from None
        if claimed.service == "IngestionService" and claimed.region != DEFAULT_REGION:
            raise refusals.not_let_in(call.service, Refusal.WRONG_SCOPE)
        return self._accounts[claimed.access_key]
