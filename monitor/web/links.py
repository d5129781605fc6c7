"""Links out of the monitor: to its own page, as users reach it, and to the AWS console."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from monitor.model import Job

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.config import ServerSettings


@dataclass(frozen=True, slots=True)
class PageLinks:
    """Builds links that start with ``server.external_url``.

    Each is plain ASCII without spaces, quotes, brackets or ``|``: it can stand in Markdown, in an
    HTML attribute and in JSON as it is.
    """

    base: str
    """The URL without a slash at its end."""

    @classmethod
    def of(cls, server: ServerSettings) -> PageLinks | None:
        """Return the links of a configuration; ``None`` where it does not say the URL."""
        return cls(server.external_url.rstrip("/")) if server.external_url else None

    def jobs(self) -> str:
        """Return the link to the page of all jobs."""
        return f"{self.base}/"

    def job(self, key: str) -> str:
        """Return the link to the page of one job."""
        # In the query, as an id may be ``..`` or hold slashes.
        return f"{self.base}/job?{urlencode({'key': key}, safe='/:')}"

    def watch(self, name: str) -> str:
        """Return the link to the jobs of one watch."""
        return f"{self.base}/?{urlencode({'watch': name})}"


class Linked(Protocol):
    """A job type, as far as links need it."""

    def console_link(
        self, job_id: str, region: str, account_id: str | None, fields: Mapping[str, Any]
    ) -> str | None:
        """Return the link to a job in the AWS console, if there is one."""
        ...


@dataclass(frozen=True, slots=True)
class EventLinks:
    """Adds to an event what the configuration of today says about it, not that of its time.

    The ledger holds none of this: an event that is replayed after a move of the page leads to where
    the page is now.
    """

    page: PageLinks | None
    types: Mapping[str, Linked]
    """Those of the present watches; jobs of other types have no link to the console."""

    def added_to(
        self, event: Mapping[str, Any], account_id: str | None = None
    ) -> Mapping[str, Any]:
        """Return the event with ``data.links`` and ``data.account_id``, if they are known."""
        data = event["data"]
        added: dict[str, Any] = {} if account_id is None else {"account_id": account_id}
        if "job" in data and (found := self._of(data["job"], data["fields"], account_id)):
            added["links"] = found
        return {**event, "data": {**data, **added}} if added else event

    def console(self, job: Job, account_id: str | None, fields: Mapping[str, Any]) -> str | None:
        """Return the link to a job in the AWS console, if there is one."""
        job_type = self.types.get(job.type)
        if job_type is None:
            return None
        return job_type.console_link(job.id, job.region, account_id, fields)

    def _of(
        self, about: Mapping[str, Any], fields: Mapping[str, Any], account_id: str | None
    ) -> dict[str, str]:
        job = Job(about["type"], about["account"], about["region"], about["id"])
        page = self.page.job(job.key) if self.page else None
        links = {"job": page, "console": self.console(job, account_id, fields)}
        return {name: link for name, link in links.items() if link}
