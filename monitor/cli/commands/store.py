"""``job-monitor store``: copy a whole store into another database, and check one."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path  # noqa: TC003 -- typer reads the annotation
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from monitor.cli import arguments, options, output
from monitor.cli.options import Format

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from monitor.config import Settings
    from monitor.config.settings import StoreSettings
    from monitor.stores.checking import StoreReport
    from monitor.stores.database import MakeToken

_URL = "sqlite:///absolute/path.db, or postgresql://user@host/db"

commands = typer.Typer(
    no_args_is_help=True, help="Copy a store into another database, and check one."
)


@commands.command("copy")
def copy(
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help=f"The store: {_URL}.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET",
            help="An empty database, likewise; by default the store of the configuration.",
        ),
    ] = None,
    *,
    source_config: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE|DIR",
            help="Copy the store of this configuration, in the place of SOURCE; may be repeated.",
        ),
    ] = None,
    config: options.Config = None,
) -> None:
    """Copy a store into another database, with all that is pending.

    Stop the daemon first, and start it with the new store afterwards. A copy
    that was interrupted goes on where it ended when you repeat the command.
    Until it has ended, no daemon starts with the target.
    """
    from monitor.stores import copying

    if source_config:
        if target is not None:
            remedy = "write SOURCE or --source-config"
            raise arguments.mistake("--source-config", "stands beside SOURCE", remedy)
        source, target = None, source
    elif source is None:
        remedy = "write the URL of a store, or --source-config FILE"
        raise arguments.mistake("SOURCE", "is missing", remedy)
    if target is not None and config:
        raise arguments.mistake("--config", "stands beside TARGET", "write TARGET or --config")
    line = _Line()

    async def run() -> int:
        async with (
            _place(source, partial(options.load_own, source_config)) as (old, old_token),
            _place(target, partial(options.load_own, config)) as (new, new_token),
        ):
            return await copying.copy(
                old, new, line.rows, source_token=old_token, target_token=new_token
            )

    total = anyio.run(run)
    line.end()
    typer.echo(f"Copied {total:,} rows. The target is the store now: start the daemon with it.")


@commands.command("check")
def check(
    url: Annotated[
        str | None,
        typer.Argument(metavar="STORE", help="By default the store of the configuration."),
    ] = None,
    *,
    config: options.Config = None,
    output_: options.Output = Format.TABLE,
) -> None:
    """Read a whole store, and name what is wrong in it; exit code 1 if anything is.

    Stop the daemon first. Nothing is changed.
    """
    from monitor.stores import checking

    line = _Line()

    async def read() -> StoreReport:
        async with _place(url, partial(options.load, config)) as (where, make_token):
            return await checking.check(where, line.reads, make_token)

    found = anyio.run(read)
    line.end()
    if output_ is Format.TABLE:
        _print(found)
    else:
        output.show_data(_data(found), output_)
    if found.problems:
        raise typer.Exit(1)


@asynccontextmanager
async def _place(
    url: str | None, load: Callable[[], Settings]
) -> AsyncIterator[tuple[str | StoreSettings, MakeToken | None]]:
    """Yield a store, at a URL or else of a configuration, and what makes its passwords."""
    from monitor.tools import ledger

    if url is not None:
        yield url, None
        return
    settings = load()
    async with ledger.signing(settings) as make_token:
        yield settings.database, make_token


def _data(found: StoreReport) -> Mapping[str, object]:
    return {"rows": dict(found.rows), "problems": list(found.problems)}


def _print(found: StoreReport) -> None:
    width = max(map(len, found.rows))
    for name, many in sorted(found.rows.items()):
        typer.echo(f"{name:<{width}}  {many:>12,}")
    for problem in found.problems:
        typer.secho(output.text(problem), fg="red" if sys.stdout.isatty() else None)
    if not found.problems:
        typer.echo("The store is in order.")


class _Line:
    """One line about the progress on standard error; nothing if that is a file."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def rows(self, table: str, done: int, total: int) -> None:
        self._draw(f"{table}: {done:,} of {total:,} rows")

    def reads(self, table: str) -> None:
        self._draw(f"reading {table}")

    def end(self) -> None:
        self._draw("")

    def _draw(self, text: str) -> None:
        if self._shown:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
