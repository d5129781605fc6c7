"""``job-monitor store``: copy a whole store into another database, and check one."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from monitor.cli import options, output
from monitor.cli.options import Format

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.stores.checking import StoreReport

_URL = "sqlite:///absolute/path.db, or postgresql://user@host/db"

commands = typer.Typer(
    no_args_is_help=True, help="Copy a store into another database, and check one."
)


@commands.command("copy")
def copy(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=f"The store: {_URL}.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="An empty database, likewise.")],
) -> None:
    """Copy a store into another database, with all that is pending.

    Stop the daemon first, and start it with the new store afterwards. A copy
    that was interrupted goes on where it ended when you repeat the command.
    Until it has ended, no daemon starts with the target.
    """
    from monitor.stores import copying

    line = _Line()
    total = anyio.run(partial(copying.copy, source, target, line.rows))
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
    from monitor.tools import ledger

    line = _Line()

    async def read() -> StoreReport:
        if url is not None:
            return await checking.check(url, line.reads)
        settings = options.load(config)
        async with ledger.signing(settings) as make_token:
            return await checking.check(settings.database, line.reads, make_token)

    found = anyio.run(read)
    line.end()
    if output_ is Format.TABLE:
        _print(found)
    else:
        output.show_data(_data(found), output_)
    if found.problems:
        raise typer.Exit(1)


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
