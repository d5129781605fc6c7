"""``job-monitor jobs``: list the watched jobs and their states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer
from typer.core import TyperGroup

from monitor.cli import arguments, options
from monitor.cli import output as tables
from monitor.cli.options import Format
from monitor.model import Phase  # noqa: TC001 -- typer reads the annotation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from monitor.cli.arguments import ServerOptions
    from monitor.config import Settings, Watch
    from monitor.web.api.job_filters import JobsQuery
    from monitor.web.api.schemas import JobView

_SHOWN = ("type", "account", "region", "id", "state", "phase")
_FIELDS = (
    *("key", "type", "account", "region", "id", "watch", "labels"),
    *("state", "phase", "severity", "reason", "fields", "sequence"),
    *("first_seen_at", "changed_at", "updated_at", "ended_at", "last_look_at"),
    *("stuck", "missing"),
)
"""What both the store and a daemon know of a job, by the names of the HTTP API."""


AS_STORED = (
    "As of the store: polls that find no change write nothing."
    " For the times of the last polls, name the daemon: --server URL"
)


class _Listing(TyperGroup):
    """A group whose ``list`` need not be written."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take options without a command as those of ``list``."""
        helps = set(ctx.help_option_names)
        if not args or (args[0].startswith("-") and args[0] not in helps):
            args = ["list", *args]
        return super().parse_args(ctx, args)


commands = typer.Typer(cls=_Listing, help="List the watched jobs (the default command).")


_Choice = Mapping[str, Any]
"""Which jobs are wanted, by the names of the HTTP API; what is not given is ``None`` or empty."""


@dataclass(slots=True)
class _KnownNames:
    """What there is to be chosen by."""

    types: set[str] = field(default_factory=set)
    accounts: set[str] = field(default_factory=lambda: {"default"})
    regions: set[str] = field(default_factory=set)
    labels: set[tuple[str, str]] = field(default_factory=set)

    def add(self, watches: Iterable[Watch]) -> None:
        """Know what watches name."""
        for watch in watches:
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


@commands.command("list")
def list_(  # noqa: PLR0913 -- each is an option
    *,
    config: options.Config = None,
    type_: Annotated[
        str | None, typer.Option("--type", metavar="GLOB", help="Such as panorama.*.")
    ] = None,
    account: Annotated[str | None, typer.Option(help="Only those of one account.")] = None,
    region: Annotated[str | None, typer.Option(help="Only those in one AWS region.")] = None,
    phase: Annotated[
        list[Phase] | None, typer.Option(help="May be repeated for any of several.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", "-l", metavar="NAME=VALUE", help="May be repeated; then each must fit."
        ),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option("--query", "-q", help="Text in the key, state, reason or a label."),
    ] = None,
    limit: arguments.Limit = 100,
    server: arguments.ServerUrl = None,
    token_file: arguments.TokenFile = None,
    ca_file: arguments.CaFile = None,
    output: options.Output = Format.TABLE,
) -> None:
    """List jobs by key: from the store beside a daemon, or from a daemon with --server.

    The store holds every job that AWS has ever listed, with the time of
    its last write: polls that find no change write nothing. A daemon lists
    the jobs that it follows, with the time of the last poll.
    """
    from monitor.tools import stored_jobs

    choice: dict[str, Any] = {"type": type_, "account": account, "region": region, "q": query}
    choice |= {"phase": phase or [], "label": label or []}
    asked = stored_jobs.query({name: value for name, value in choice.items() if value})
    daemon = arguments.server(server, token_file, ca_file)
    if daemon:
        found, total = anyio.run(_from_daemon, daemon, choice, limit)
    else:
        found, total = anyio.run(_from_store, options.load_own(config), choice, asked, limit)
    if output is Format.JSON:
        tables.show_json([{name: getattr(one, name) for name in _FIELDS} for one in found])
        return
    seen = "last_poll" if daemon else "last_stored"
    rows = [
        {name: getattr(one, name) for name in _SHOWN}
        | {"since": one.changed_at, seen: one.last_look_at}
        for one in found
    ]
    tables.show(rows, output, "There are no such jobs.", aged=("since", seen))
    if found and not daemon:
        typer.echo(AS_STORED, err=True)
    if total > len(found):
        typer.echo(f"{len(found)} of {total} jobs are shown; see --limit.", err=True)


async def _from_store(
    settings: Settings, choice: _Choice, asked: JobsQuery, limit: int
) -> tuple[Sequence[JobView], int]:
    from monitor.app import open_ledger, with_added
    from monitor.tools import stored_jobs
    from monitor.web.api.schemas import JobView

    async with open_ledger(settings) as store:
        counts = await store.job_counts()
        sources = await store.sources()
        watches = with_added(settings, await store.watches()).watches
        known = _KnownNames()
        known.add(watches)
        known.accounts.update(settings.accounts, (each.source.account for each in sources))
        known.regions.update(each.source.region for each in sources)
        for (type_, account, region), _ in counts:
            known.types.add(type_)
            known.accounts.add(account)
            known.regions.add(region)
        known.require(choice)
        found, total = await stored_jobs.StoredJobs(store, watches).list(counts, asked, limit)
    return [JobView.of(job) for job in found], total


async def _from_daemon(
    server: ServerOptions, choice: _Choice, limit: int
) -> tuple[Sequence[JobView], int]:
    from monitor.tools import wait_on_daemon

    named = [
        (name, str(each))
        for name, value in choice.items()
        if value
        for each in (value if isinstance(value, list) else [value])
    ]
    async with server.opened() as client:
        found, total = await client.jobs(named, limit)
        if found or not named:
            return found, total
        # Nothing fits: an unknown name is a mistake of the command line.
        known = _KnownNames()
        known.add(wait_on_daemon.read_watches(await client.watches()))
        sources = await client.sources()
    known.accounts.update(source.account for source in sources)
    known.regions.update(source.region for source in sources)
    known.require(choice)
    return found, total
