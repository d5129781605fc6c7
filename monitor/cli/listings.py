"""Print a listing once or again and again: as a table, JSON, YAML, or names."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from inspect import Signature, getdoc, signature
from signal import SIGINT, SIGTERM, SIGWINCH
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, get_type_hints

import orjson
import typer

from monitor.cli import arguments, options, output, terminal
from monitor.cli.tables import Look, lines
from monitor.errors import DaemonError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from monitor.cli.arguments import ServerOptions
    from monitor.cli.tables import Table
    from monitor.config import Settings
    from monitor.stores.reader import LedgerReader
    from monitor.tools.api_client import DaemonClient

T = TypeVar("T")


class ListFormat(StrEnum):
    """The form in which a listing is printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


ListOutput = Annotated[ListFormat, typer.Option("--output", "-o", help="How to print.")]
Colour = Annotated[
    terminal.When,
    typer.Option("--color", help="When to use colours; auto heeds NO_COLOR and the terminal."),
]
EVERY = "2s"
_SHORTEST = 0.2
"""Seconds between two refreshes: more often, nobody can read it."""


@dataclass(frozen=True, slots=True)
class ListOptions:
    """How a listing is to be printed, as the options say."""

    output: ListFormat = ListFormat.TABLE
    watch: bool = False
    every: str = EVERY
    color: terminal.When = terminal.When.AUTO

    @property
    def is_table(self) -> bool:
        """True if people read it."""
        return self.output in {ListFormat.TABLE, ListFormat.WIDE}

    def look(self) -> Look:
        """Return what a table is made for now."""
        wide = self.output is ListFormat.WIDE
        return Look(datetime.now(UTC), wide, terminal.width(), terminal.colours(self.color))


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """What was found, and remarks on it for people.

    ``empty`` is printed where there are no rows, in place of what the table says then.
    """

    items: Sequence[T]
    notes: Sequence[str] = ()
    empty: str = ""


@asynccontextmanager
async def of_daemon(
    daemon: ServerOptions, ask: Callable[[DaemonClient], Awaitable[Found[T]]]
) -> AsyncIterator[Callable[[], Awaitable[Found[T]]]]:
    """Open a daemon, and yield what asks it."""
    async with daemon.opened() as client:
        yield partial(ask, client)


async def all_of(
    asked: Awaitable[Sequence[T]], fits: Callable[[T], bool] = lambda _one: True
) -> Found[T]:
    """Wait for what a daemon returns, and keep what fits."""
    return Found([one for one in await asked if fits(one)])


@asynccontextmanager
async def of_store(
    config: list[Path] | None, ask: Callable[[Settings, LedgerReader], Awaitable[Found[T]]]
) -> AsyncIterator[Callable[[], Awaitable[Found[T]]]]:
    """Open the store of a configuration, and yield what reads it."""
    from monitor.tools.ledger import read_ledger

    settings = options.load_own(config)
    async with read_ledger(settings) as store:
        yield partial(ask, settings, store)


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """What a command lists: from a daemon, or else from the store beside one."""

    table: Table[T]
    of_daemon: Callable[[DaemonClient], Awaitable[Found[T]]]
    of_store: Callable[[Settings, LedgerReader], Awaitable[Found[T]]] | None = None


def command(
    commands: typer.Typer, *, stored: bool = True
) -> Callable[[Callable[..., Listed[Any]]], None]:
    """Add ``list`` to a group, made of a function that takes the options of this listing alone.

    All others are declared here. It gets the ``daemon`` that is asked, which is ``None`` for the
    store; without ``stored`` there is always one.
    """

    def run(
        *,
        config: options.Config = None,
        server: arguments.ServerUrl = None,
        token_file: arguments.TokenFile = None,
        ca_file: arguments.CaFile = None,
        watch: Annotated[
            bool,
            typer.Option(
                "--watch", "-w", help="Keep it up to date until Ctrl-C; in a pipe, add changes."
            ),
        ] = False,
        interval: Annotated[
            str, typer.Option(metavar="DURATION", help="Between two refreshes with --watch.")
        ] = EVERY,
        color: Colour = terminal.When.AUTO,
        output: ListOutput = ListFormat.TABLE,
        listed: Any,
        **own: Any,
    ) -> None:
        named = (server, token_file, ca_file)
        daemon = arguments.server(*named, local=config)
        if daemon is None and not stored:
            daemon = arguments.required_server(*named)
        found: Listed[Any] = listed(daemon=daemon, **own)
        if daemon:
            opened = partial(of_daemon, daemon, found.of_daemon)
        else:
            assert found.of_store is not None  # noqa: S101 -- it is given where it is stored
            opened = partial(of_store, config, found.of_store)
        follow(found.table, opened, ListOptions(output, watch, interval, color))

    def add(listed: Callable[..., Listed[Any]]) -> None:
        hints = get_type_hints(listed, include_extras=True)
        own = [
            each.replace(annotation=hints[each.name])
            for each in signature(listed).parameters.values()
            if each.name != "daemon"
        ]
        first, *shared = signature(run, eval_str=True).parameters.values()
        declared = [*([first] if stored else []), *own, *shared[:-2]]
        made: Any = partial(run, listed=listed)
        # The library reads the options of a command from these.
        made.__signature__ = Signature(declared)
        made.__annotations__ = {each.name: each.annotation for each in declared}
        commands.command("list", help=getdoc(listed))(made)

    return add


def show(table: Table[T], found: Found[T], form: ListOptions) -> None:
    """Print a listing once."""
    if form.is_table:
        empty = found.empty or table.empty
        text = "\n".join(lines(table, found.items, form.look())) if found.items else empty
        typer.echo(text, color=True)
        for note in found.notes:
            typer.echo(note, err=True)
        return
    if form.output is ListFormat.NAME:
        for item in found.items:
            typer.echo(output.text(table.name(item)))
        return
    data = [table.data(item) for item in found.items]
    (output.show_json if form.output is ListFormat.JSON else output.show_yaml)(data)


def follow(
    table: Table[T],
    opened: Callable[[], AbstractAsyncContextManager[Callable[[], Awaitable[Found[T]]]]],
    form: ListOptions,
) -> None:
    """Print a listing, with ``--watch`` until a signal ends it.

    ``opened`` opens what is asked, and gives a function that asks it.
    """
    import anyio

    seconds = arguments.duration("--interval", form.every) or 0.0
    if seconds < _SHORTEST:
        raise arguments.mistake("--interval", "is too short", f"write {_SHORTEST}s or more")

    async def run() -> None:
        async with opened() as ask:
            if not form.watch:
                show(table, await ask(), form)
                return
            live = form.is_table and terminal.is_capable()
            view = _Screen(table, form) if live else _Log(table, form)
            await _watched(ask, view, seconds)

    anyio.run(run)


class _Screen(Generic[T]):
    """Draws over the last listing, on a screen of its own."""

    def __init__(self, table: Table[T], form: ListOptions) -> None:
        self._table = table
        self._form = form
        self._found: Found[T] | None = None
        self._at = ""
        self._trouble = ""

    def show(self, found: Found[T]) -> None:
        self._found, self._trouble = found, ""
        self._at = f"{datetime.now(UTC):%H:%M:%S} UTC"
        self.redraw()

    def trouble(self, error: DaemonError) -> None:
        self._trouble = f"error: {error}"
        self.redraw()

    def redraw(self) -> None:
        if self._found is None:
            return
        items, look = self._found.items, self._form.look()
        empty = self._found.empty or self._table.empty
        shown = lines(self._table, items, look) if items else [empty]
        status = self._trouble or f"{self._at}, every {self._form.every}; Ctrl-C ends it"
        terminal.draw(shown, [*self._found.notes, status])


class _Log(Generic[T]):
    """Appends what is new or has changed."""

    def __init__(self, table: Table[T], form: ListOptions) -> None:
        self._table = table
        self._form = form
        self._shown: dict[str, bytes] = {}
        self._begun = False
        self._failing = False

    def show(self, found: Found[T]) -> None:
        self._failing = False
        data = {self._table.name(item): self._table.data(item) for item in found.items}
        now = {
            # What changes with every poll does not count as a change.
            name: orjson.dumps({key: value[key] for key in value if key not in _PASSING})
            for name, value in data.items()
        }
        fresh = [
            item
            for item in found.items
            if self._shown.get(name := self._table.name(item)) != now[name]
        ]
        self._shown = now
        if self._form.is_table:
            if not self._begun:
                self._begun = True
                show(self._table, found, self._form)
            elif fresh:
                rows = lines(self._table, fresh, self._form.look())[1:]
                typer.echo("\n".join(rows), color=True)
        for item in fresh if not self._form.is_table else ():
            name = self._table.name(item)
            typer.echo(self._one(name, data[name]), nl=False)
        sys.stdout.flush()

    def _one(self, name: str, value: Any) -> str:
        match self._form.output:
            case ListFormat.JSON:
                return f"{orjson.dumps(value).decode()}\n"
            case ListFormat.YAML:
                return f"---\n{output.yaml_text(value)}"
        return f"{output.text(name)}\n"

    def trouble(self, error: DaemonError) -> None:
        if not self._failing:
            typer.echo(f"error: {error}", err=True)
        self._failing = True


_PASSING = frozenset({"last_look_at", "next_look_at", "last_success_at", "request_rate", "rate"})
"""What changes with every poll."""


async def _watched(
    ask: Callable[[], Awaitable[Found[T]]], view: _Screen[T] | _Log[T], seconds: float
) -> None:
    """Ask and show until a signal comes; an outage after the first answer is waited out."""
    import anyio

    async def refresh() -> None:
        while True:
            await anyio.sleep(seconds)
            try:
                view.show(await ask())
            except DaemonError as error:
                if not error.passing:
                    raise
                view.trouble(error)

    with anyio.open_signal_receiver(SIGINT, SIGTERM, SIGWINCH) as received:
        async with anyio.create_task_group() as tasks:

            async def obey() -> None:
                async for number in received:
                    if number != SIGWINCH:
                        tasks.cancel_scope.cancel()
                    elif isinstance(view, _Screen):
                        view.redraw()

            tasks.start_soon(obey)
            first = await ask()
            with terminal.screen() if isinstance(view, _Screen) else nullcontext():
                view.show(first)
                await refresh()
