"""Names for a shell that completes: found quickly, and none where nothing is known.

No mistake in a configuration and no daemon that is down may disturb a half-typed line.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import arguments, options
from monitor.model import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from monitor.cli.arguments import ServerOptions
    from monitor.config import Settings

WITHIN = 2.0
"""Seconds for which a daemon is asked: whoever pressed a key waits."""
MOST = 200
"""Jobs that are offered."""

Completion = list[str]


def one_of(names: Iterable[str]) -> Callable[[str], Completion]:
    """Return a completion of fixed names."""
    known = [*names]

    # The library reads the annotations, so that these must exist when it runs.
    def complete(incomplete: str) -> list[str]:
        return _fitting(known, incomplete)

    return complete


def configured(
    named: Callable[[Settings], Iterable[str]],
) -> Callable[[typer.Context, str], Completion]:
    """Return a completion of names of the configuration."""

    # The library reads the annotations, so that these must exist when it runs.
    def complete(ctx: typer.Context, incomplete: str) -> Completion:
        try:
            return _fitting(named(options.load(_config(ctx))), incomplete)
        except Exception:  # noqa: BLE001 -- see above
            return []

    return complete


sinks = configured(lambda settings: settings.sinks)
watches = configured(lambda settings: [one.name for one in settings.watches])
accounts = configured(lambda settings: {"default", *settings.accounts})
regions = configured(lambda settings: [each for one in settings.watches for each in one.regions])
labels = configured(
    lambda settings: [
        f"{name}={value}" for one in settings.watches for name, value in one.labels.items()
    ]
)


def types(ctx: typer.Context, incomplete: str) -> Completion:
    """Complete the job types, the user's own included."""
    from monitor.sources import declarations

    def own(settings: Settings) -> Iterable[str]:
        directory = settings.job_types_dir
        return declarations.own_names(Path(directory)) if directory else ()

    found = [*declarations.built_in(), *configured(own)(ctx, incomplete)]
    return _fitting(found, incomplete)


kinds = one_of(Kind)
"""Complete the kinds of events."""


def job_keys(ctx: typer.Context, incomplete: str) -> Completion:
    """Complete the keys of the jobs that a daemon follows."""
    return _fitting((key for key, _ in _jobs(ctx, [("q", incomplete)])), incomplete)


def job_ids(ctx: typer.Context, incomplete: str) -> Completion:
    """Complete the ids of the jobs that a daemon follows, of the type that is given."""
    type_ = ctx.params.get("type_")
    asked = [("q", incomplete), *([("type", type_)] if type_ else [])]
    return _fitting((id_ for _, id_ in _jobs(ctx, asked)), incomplete)


Job = Annotated[
    str | None, typer.Option(help="A job's id, or its whole key.", autocompletion=job_keys)
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        "-l",
        metavar="NAME=VALUE",
        help="May be repeated; then each must fit.",
        autocompletion=labels,
    ),
]

Type = Annotated[
    str,
    typer.Argument(metavar="TYPE", help="Such as panorama.package-import.", autocompletion=types),
]
Key = Annotated[
    str,
    typer.Argument(
        metavar="KEY", help="As jobs -o name prints it: type/…/id.", autocompletion=job_keys
    ),
]
JobId = Annotated[
    str, typer.Argument(metavar="ID", help="The id of the job.", autocompletion=job_ids)
]
Sink = Annotated[
    str, typer.Option("--sink", "-s", metavar="NAME", help="Which sink.", autocompletion=sinks)
]


def _fitting(names: Iterable[str], incomplete: str) -> Completion:
    return sorted({str(name) for name in names if str(name).startswith(incomplete)})


def _config(ctx: typer.Context) -> list[Path] | None:
    given = ctx.params.get("config")
    return [Path(each) for each in given] if given else None


def _jobs(ctx: typer.Context, asked: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return keys and ids of the jobs of a daemon: the one that is named, or the own one."""
    try:
        return _ask(_daemon(ctx), [one for one in asked if one[1]])
    except Exception:  # noqa: BLE001 -- see above
        return []


def _daemon(ctx: typer.Context) -> ServerOptions:
    given: dict[str, Any] = ctx.params
    token, ca = given.get("token_file"), given.get("ca_file")
    files = [Path(each) if each else None for each in (token, ca)]
    config = _config(ctx)
    named = arguments.server(given.get("server"), *files, local=config)
    if named:
        return named
    from monitor.config import loader
    from monitor.tools import healthcheck

    address = healthcheck.own_address(loader.load_server(options.paths(config), os.environ))
    host = f"[{address.host}]" if ":" in address.host else address.host
    scheme = "https" if address.tls else "http"
    return arguments.ServerOptions(f"{scheme}://{host}:{address.port}", *files)


def _ask(daemon: ServerOptions, asked: list[tuple[str, str]]) -> list[tuple[str, str]]:
    import anyio

    async def ask() -> list[tuple[str, str]]:
        with anyio.fail_after(WITHIN):
            async with daemon.opened() as client:
                found, _ = await client.jobs(asked, MOST)
        return [(one.key, one.id) for one in found]

    return anyio.run(ask)
