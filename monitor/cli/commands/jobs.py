"""``job-monitor jobs``: list the watched jobs and their states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import arguments, completions, listings
from monitor.cli.groups import ListingGroup
from monitor.cli.listings import Found, Listed
from monitor.cli.tables import COLOURS, Column, Table
from monitor.model import Phase  # noqa: TC001 -- typer reads the annotation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from monitor.config import Settings, Watch
    from monitor.stores.reader import LedgerReader
    from monitor.tools.api_client import DaemonClient
    from monitor.web.api.job_filters import JobsQuery
    from monitor.web.api.job_schemas import JobView

AS_STORED = (
    "As of the store: polls that find no change write nothing."
    " For the times of the last polls, name the daemon: --server URL"
)
_LIVE = (
    *("interval", "next_look_at", "failing", "finished", "blind"),
    *("acknowledged", "silenced"),
)
"""What only a daemon knows of a job; in the objects of a store they are null."""
_OPTIONS = {
    "q": "--query",
    "watch": "--watch-name",
    "blind": "--stale",
    "changed_before": "--older-than",
    "changed_since": "--newer-than",
}
"""Options that have another name than the parameter of the HTTP API."""
SORTS = {
    "name": "key",
    "age": "changed_at",
    "state": "state",
    "phase": "phase",
    "first-seen": "first_seen_at",
    "last-poll": "last_look_at",
}
"""The orders, by the names of the HTTP API; by age, the longest in its state comes first."""

commands = typer.Typer(cls=ListingGroup, help="List the watched jobs (the default command).")


_Choice = Mapping[str, Any]
"""Which jobs are wanted, by the names of the HTTP API; what is not given is ``None`` or empty."""


@dataclass(slots=True)
class _KnownNames:
    """What there is to be chosen by."""

    types: set[str] = field(default_factory=set)
    accounts: set[str] = field(default_factory=lambda: {"default"})
    regions: set[str] = field(default_factory=set)
    labels: set[tuple[str, str]] = field(default_factory=set)
    watches: set[str] = field(default_factory=set)

    def add(self, watches: Iterable[Watch]) -> None:
        """Know what watches name."""
        for watch in watches:
            self.watches.add(watch.name)
            self.types.add(watch.type)
            self.accounts.add(watch.account)
            self.regions.update(watch.regions)
            self.labels.update(watch.labels.items())

    def require(self, choice: _Choice) -> None:
        """Require all names of a choice; raise ConfigurationError, which names the known ones."""
        from monitor.web.api.job_filters import label_readings

        if choice["type"] is not None:
            arguments.require_match("type", [choice["type"]], self.types, "--type")
        for what, known in (("account", self.accounts), ("region", self.regions)):
            if choice[what] is not None and choice[what] not in known:
                raise arguments.unknown(f"--{what}", what, choice[what], known)
        if choice["watch"] is not None and choice["watch"] not in self.watches:
            raise arguments.unknown("--watch-name", "watch", choice["watch"], self.watches)
        names = {name for name, _ in self.labels}
        for label in choice["label"]:
            readings = label_readings(label)
            if any(reading in self.labels for reading in readings):
                continue
            name, value = next((one for one in readings if one[0] in names), readings[0])
            if name not in names:
                raise arguments.unknown("--label", "label", name, names)
            values = {known for label, known in self.labels if label == name}
            raise arguments.unknown("--label", f"value of {name}", value, values)


@listings.command(commands)
def list_(  # noqa: PLR0913 -- each is an option
    *,
    type_: Annotated[
        str | None,
        typer.Option(
            "--type", metavar="GLOB", help="Such as panorama.*.", autocompletion=completions.types
        ),
    ] = None,
    account: Annotated[
        str | None,
        typer.Option(help="Only those of one account.", autocompletion=completions.accounts),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(help="Only those in one AWS region.", autocompletion=completions.regions),
    ] = None,
    watch_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Only those of one watch.", autocompletion=completions.watches
        ),
    ] = None,
    label: completions.Labels = None,
    phase: Annotated[
        list[Phase] | None, typer.Option(help="May be repeated for any of several.")
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="As AWS spells it; may be repeated for any of several."),
    ] = None,
    stuck: Annotated[
        bool | None, typer.Option("--stuck/--no-stuck", help="In its state for too long, or not.")
    ] = None,
    missing: Annotated[
        bool | None, typer.Option("--missing/--no-missing", help="Not found by AWS, or found.")
    ] = None,
    stale: Annotated[
        bool | None,
        typer.Option("--stale/--no-stale", help="Without a poll for too long; needs --server."),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE|TIME", help="In its state for longer, such as 2h."),
    ] = None,
    newer_than: Annotated[
        str | None, typer.Option(metavar="AGE|TIME", help="In its state for a shorter time.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Text in the reason of the state.")
    ] = None,
    query: Annotated[
        str | None,
        typer.Option("--query", "-q", help="Text in the key, state, reason or a label."),
    ] = None,
    sort: Annotated[
        str,
        typer.Option(
            metavar="|".join(SORTS),
            help="By age: in its state longest first; -age is the reverse.",
            autocompletion=completions.one_of([*SORTS, *(f"-{each}" for each in SORTS)]),
        ),
    ] = "name",
    limit: arguments.Limit = 100,
    daemon: arguments.ServerOptions | None,
) -> Listed[Any]:
    """List jobs: from the store beside a daemon, or from a daemon with --server.

    The store holds every job that AWS has ever listed, with the time of
    its last write: polls that find no change write nothing. A daemon lists
    the jobs that it follows, with the time of the last poll.
    """
    choice = {
        "type": type_,
        "account": account,
        "region": region,
        "watch": watch_name,
        "q": query,
        "phase": phase or [],
        "label": label or [],
        "state": state or [],
        "reason": reason,
        "stuck": stuck,
        "missing": missing,
        "blind": stale,
        "changed_before": older_than,
        "changed_since": newer_than,
        "sort": _order(sort),
    }
    read_query(choice)  # a mistake is one whoever is asked
    if stale is not None and not daemon:
        remedy = "name it with --server, or leave this out"
        raise arguments.mistake("--stale", "is known to a daemon alone", remedy)
    shown = table("LAST POLL") if daemon else table("LAST STORED", stored=True)
    return Listed(shown, partial(_of_daemon, choice, limit), partial(_of_store, choice, limit))


def _order(sort: str) -> str:
    down, name = ("-", sort[1:]) if sort.startswith("-") else ("", sort)
    if name not in {*SORTS, *SORTS.values()}:
        raise arguments.unknown("--sort", "order", sort, SORTS)
    return f"{down}{SORTS.get(name, name)}"


def _given(choice: _Choice) -> dict[str, Any]:
    return {name: value for name, value in choice.items() if value not in (None, [])}


def read_query(choice: _Choice) -> JobsQuery:
    """Read the filters.

    Raises:
        ConfigurationError: an option is wrong.
    """
    from pydantic import ValidationError

    from monitor.web.api.job_filters import JobsQuery

    try:
        return JobsQuery.model_validate(_given(choice))
    except ValidationError as error:
        wrong = error.errors()[0]
    name, message = str(wrong["loc"][0]), str(wrong["msg"]).removeprefix("Value error, ")
    raise arguments.mistake(_OPTIONS.get(name, f"--{name}"), message[:1].lower() + message[1:])


def table(seen: str, *, stored: bool = False) -> Table[JobView]:
    """Return the way in which jobs are listed; ``seen`` is the head of the last poll's age."""

    def data(one: JobView) -> dict[str, Any]:
        unknown = dict.fromkeys(_LIVE) if stored else {}
        return one.model_dump(mode="json") | unknown

    return Table(
        columns=(
            Column("TYPE", lambda one: one.type, least=10, spare=2, common=True),
            Column("ACCOUNT", lambda one: one.account, least=7, spare=5, common=True),
            Column("REGION", lambda one: one.region, least=9, spare=4, common=True),
            Column("ID", lambda one: one.id, least=14),
            Column("STATE", lambda one: one.state, least=8, colour=_colour),
            Column("PHASE", lambda one: one.phase.value, colour=_colour),
            Column("AGE", lambda one: one.changed_at, stamp="SINCE"),
            Column(seen, lambda one: one.last_look_at, spare=15),
            Column("FLAGS", _flags, colour=lambda one: "yellow" if _flags(one) else None),
            Column("WATCH", lambda one: one.watch, wide=True),
            Column(
                "LABELS",
                lambda one: ",".join(f"{name}={one.labels[name]}" for name in sorted(one.labels)),
                wide=True,
            ),
            Column("REASON", lambda one: one.reason, least=14, spare=6),
        ),
        name=lambda one: one.key,
        data=data,
        empty="There are no such jobs.",
    )


def _colour(one: JobView) -> str | None:
    return COLOURS[one.severity]


def _flags(one: JobView) -> str:
    flags = {"stuck": one.stuck, "missing": one.missing, "stale": one.blind}
    flags |= {"acknowledged": one.acknowledged is not None, "silenced": bool(one.silenced)}
    return ",".join(name for name, raised in flags.items() if raised)


def _listing(found: Sequence[JobView], total: int, *notes: str) -> Found[JobView]:
    more = f"{len(found)} of {total} jobs are shown; see --limit."
    remarks = (*(notes if found else ()), *((more,) if total > len(found) else ()))
    return Found(found, remarks)


async def _of_store(
    choice: _Choice, limit: int, settings: Settings, store: LedgerReader
) -> Found[JobView]:
    from monitor.tools import stored_jobs
    from monitor.web.api.job_schemas import JobView

    counts = await store.job_counts()
    sources = await store.sources()
    watches: Sequence[Watch] = settings.watches
    if added := await store.watches():
        from monitor.runtime import runtime_watches

        watches = runtime_watches.with_added(settings, added).watches
    known = _KnownNames()
    known.add(watches)
    known.accounts.update(settings.accounts, (each.source.account for each in sources))
    known.regions.update(each.source.region for each in sources)
    for (type_, account, region), _ in counts:
        known.types.add(type_)
        known.accounts.add(account)
        known.regions.add(region)
    known.require(choice)
    stored = stored_jobs.StoredJobs(store, watches)
    found, total = await stored.list(counts, read_query(choice), limit)
    return _listing([JobView.of(job) for job in found], total, AS_STORED)


async def _of_daemon(choice: _Choice, limit: int, client: DaemonClient) -> Found[JobView]:
    given = _given(choice)
    if given["sort"] == "key":
        del given["sort"]  # the default, also of an older daemon
    named = [
        (name, str(each).lower() if isinstance(each, bool) else str(each))
        for name, value in given.items()
        for each in (value if isinstance(value, list) else [value])
    ]
    found, total = await client.jobs(named, limit)
    if not found and named:
        # Nothing fits: an unknown name is a mistake of the command line.
        from monitor.tools import wait_on_daemon

        known = _KnownNames()
        known.add(wait_on_daemon.read_watches(await client.watches()))
        sources = await client.sources()
        known.accounts.update(source.account for source in sources)
        known.regions.update(source.region for source in sources)
        known.require(choice)
    return _listing(found, total)
