"""Groups of commands: those of the program, and those whose default is to list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

HELP = {"help_option_names": ["-h", "--help"]}
"""The settings of the outermost group; all commands in it inherit them."""

_LIST = "list"


class _Commands(Mapping[str, Any]):
    """Commands by name, each imported and built when it is needed first."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            module, _, attribute = self._places[name].partition(":")
            found = getattr(import_module(module), attribute)
            if isinstance(found, typer.Typer):
                made: Any = typer.main.get_group(found)
                made.name = name
            else:
                alone = typer.Typer(add_completion=False)
                alone.command(name)(found)
                made = typer.main.get_command(alone)
            self._made[name] = made
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def lazy(places: Mapping[str, str]) -> type[TyperGroup]:
    """Return a class of group whose commands are at ``module:attribute``.

    The library would import all commands to run one, which takes longer than most of them.
    """

    class LazyGroup(TyperGroup):
        def __init__(self, **attrs: Any) -> None:
            super().__init__(**attrs)
            self.commands = _Commands(places)  # type: ignore[assignment]  # nothing adds to it

    return LazyGroup


class ListingGroup(TyperGroup):
    """A group whose ``list`` need not be written."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take options without a command as those of ``list``."""
        options = args and args[0].startswith("-") and args[0] not in ctx.help_option_names
        # While a shell completes, nothing yet may also become the name of a command.
        if options or not (args or ctx.resilient_parsing):
            args = [_LIST, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Complete the names of the commands, and the options of ``list``."""
        found = super().shell_complete(ctx, incomplete)
        listing = self.commands[_LIST]
        if incomplete.startswith("-"):
            with listing.make_context(_LIST, [], parent=ctx, resilient_parsing=True) as inner:
                known = {one.value for one in found}
                more = listing.shell_complete(inner, incomplete)
                found += [one for one in more if one.value not in known]
        return found
