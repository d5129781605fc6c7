"""The ids that AWS gave the configured accounts: from the configuration, a role, or AWS itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import anyio

from monitor import logs
from monitor.aws import identity
from monitor.config import Account
from monitor.errors import PollError

if TYPE_CHECKING:
    from monitor.aws.clients import Clients
    from monitor.interfaces import Clock
    from monitor.metrics import Metrics
    from monitor.runtime.reconfigure import ConfigState

CHECK = 5.0
"""Seconds between two checks for accounts whose id is to be fetched."""
RETRY = 300.0
"""Seconds after which an id that could not be fetched is fetched again."""


class AccountIds:
    """Knows the ids; fetches them beside all else, so that no poll or delivery waits for one."""

    def __init__(
        self, state: ConfigState, clients: Clients, metrics: Metrics, clock: Clock
    ) -> None:
        """Fetch nothing yet."""
        self._state = state
        self._clients = clients
        self._metrics = metrics
        self._clock = clock
        self._fetched: dict[str, tuple[Account, str]] = {}
        self._failed: dict[str, tuple[Account, float]] = {}
        self._log = logs.get()

    def of(self, name: str) -> str | None:
        """Return the id of an account, if it is known."""
        account = self._state.loaded.settings.accounts.get(name, Account())
        fetched = self._fetched.get(name)
        # Of other credentials under the same name, the answer is that of another time.
        return account.given_id or (fetched[1] if fetched and fetched[0] == account else None)

    async def fetch(self) -> NoReturn:
        """Fetch what the configuration wants, once each, and show all in the metrics."""
        while True:
            settings = self._state.loaded.settings
            for name, account in settings.accounts.items():
                again = self._failed.get(name)
                waits = again and again[0] == account and self._clock.monotonic() < again[1]
                if account.fetch_account_id and self.of(name) is None and not waits:
                    # Its credentials are good in the partition in which it is used.
                    own = (each.regions for each in settings.watches if each.account == name)
                    region = next((region for regions in own for region in regions), "us-east-1")
                    await self._fetch(name, account, region)
            names = dict.fromkeys(("default", *settings.accounts))
            self._metrics.set_account_ids((name, of) for name in names if (of := self.of(name)))
            await anyio.sleep(CHECK)

    async def _fetch(self, name: str, account: Account, region: str) -> None:
        try:
            found = await identity.account_id(self._clients, name, region, self._clock.now)
        except PollError as error:
            if name not in self._failed:
                why = {"reason": error.reason.value, "code": error.code}
                self._log.warning(logs.ACCOUNT_ID_UNKNOWN, account=name, **why)
            self._failed[name] = account, self._clock.monotonic() + RETRY
        else:
            self._failed.pop(name, None)
            self._fetched[name] = account, found
