"""Arguments of several commands: what to choose from a store, and which daemon to ask."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import output
from monitor.delivery import replay
from monitor.errors import ConfigurationError, Problem
from monitor.model import Kind, Phase, Severity
from monitor.recording.router import fits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from contextlib import AbstractAsyncContextManager

    from monitor.config import Settings
    from monitor.stores.reader import LedgerReader
    from monitor.tools.api_client import DaemonClient

SERVER_VARIABLE = "JOB_MONITOR_SERVER"
TOKEN_FILE_VARIABLE = "JOB_MONITOR_TOKEN_FILE"  # noqa: S105 -- the name of a variable
CA_FILE_VARIABLE = "JOB_MONITOR_CA_FILE"

Since = Annotated[
    str | None,
    typer.Option(metavar="AGE|TIME", help="Such as 2h, or 2026-03-01T12:00:00Z (UTC)."),
]
Labels = frozenset[tuple[str, str]]
Matches = tuple[tuple[str, tuple[str, ...]], ...]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="The most rows to print.")]
ServerUrl = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help=f"Ask the daemon that listens there [{SERVER_VARIABLE}, unless --config is given].",
    ),
]
Author = Annotated[str | None, typer.Option(help="By default the name of your user.")]
Comment = Annotated[str, typer.Option(help="Why, for others to read.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help=f"Holds a bearer token for --server [{TOKEN_FILE_VARIABLE}]."
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Authorities (PEM) to trust for --server instead of the system's "
        f"[{CA_FILE_VARIABLE}].",
    ),
]

_CLOSED: dict[str, Collection[str]] = {
    "kind": tuple(Kind),
    "phase": tuple(Phase),
    "severity": tuple(Severity),
}
_PLACES = frozenset({"type", "account", "region"})
_MOST_NAMED = 20


def moment(value: str | None) -> datetime | None:
    """Read an age (``2h``) or an ISO 8601 time, in UTC unless it names a zone.

    Raises:
        ConfigurationError: it is neither.
    """
    from monitor.config import parse_duration

    if value is None:
        return None
    try:
        return datetime.now(UTC) - timedelta(seconds=parse_duration(value))
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(value)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        remedy = "write an age, such as 2h, or a time, such as 2026-03-01T12:00:00Z"
        raise mistake("--since", "is neither an age nor a time", remedy) from None


def duration(option: str, value: str | None) -> float | None:
    """Read a duration (``2h``) in seconds.

    Raises:
        ConfigurationError: it is not a duration.
    """
    from monitor.config import parse_duration

    try:
        return None if value is None else parse_duration(value)
    except ValueError as error:
        raise mistake(option, str(error)) from None


def labels(given: Iterable[str]) -> Labels:
    """Read ``name=value``, as often as it is given.

    Raises:
        ConfigurationError: one is written otherwise.
    """
    found = set()
    for each in given:
        name, equals, value = each.partition("=")
        if not (name and equals):
            raise mistake("--label", "must be written name=value")
        found.add((name, value))
    return frozenset(found)


def author(name: str | None) -> str:
    """Return who does something: as named, or else the user of this process."""
    try:
        return name or getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        raise mistake("--author", "is missing", "write --author NAME") from None


def matches(given: Iterable[str]) -> Matches:
    """Read ``key=glob`` or ``key=glob,glob``.

    Raises:
        ConfigurationError: a key is unknown, or a value of a key whose values are all known.
    """
    found = []
    for each in given:
        key, equals, globs = each.partition("=")
        if not (key in replay.KEYS or key.startswith(replay.LABEL)):
            raise unknown("--match", "key", key, [*replay.KEYS, f"{replay.LABEL}NAME"])
        if not equals:
            raise mistake("--match", f"{key} has no value", f"write {key}=GLOB")
        found.append((key, tuple(globs.split(","))))
    for key, values in found:
        if key in _CLOSED:
            require_match(key, values, _CLOSED[key])
    return tuple(found)


async def require_places(found: Matches, settings: Settings, store: LedgerReader) -> None:
    """Require that matched types, accounts and regions are configured or in the store.

    Raises:
        ConfigurationError: one is neither.
    """
    if not any(key in _PLACES for key, _ in found):
        return
    stored = await store.places()
    known = {
        "type": {watch.type for watch in settings.watches},
        "account": {"default", *settings.accounts},
        "region": {region for watch in settings.watches for region in watch.regions},
    }
    for key, globs in found:
        if key in _PLACES:
            require_match(key, globs, known[key] | {getattr(place, key) for place in stored})


def require_match(
    key: str, globs: Iterable[str], known: Collection[str], option: str = "--match"
) -> None:
    """Require that each glob matches a known name; the empty one matches a missing value.

    Raises:
        ConfigurationError: one matches none of ``known``.
    """
    for glob in globs:
        if glob and not any(fits((glob,), name) for name in known):
            raise unknown(option, key, glob, known)


def require_name(option: str, what: str, name: str, known: Collection[str]) -> None:
    """Require a known name.

    Raises:
        ConfigurationError: nothing has that name.
    """
    if name not in known:
        raise unknown(option, what, name, known)


def require_sink(settings: Settings, name: str, option: str = "") -> None:
    """Require a configured sink.

    Raises:
        ConfigurationError: no sink has that name.
    """
    require_name(option, "sink", name, settings.sinks)


async def require_known_sink(settings: Settings, store: LedgerReader, name: str) -> None:
    """Require a sink that is configured, or is still in the store.

    Raises:
        ConfigurationError: no sink has that name.
    """
    if name not in settings.sinks:
        stored = await store.sinks()
        if name not in stored:
            raise unknown("--sink", "sink", name, {*settings.sinks, *stored})


def unknown(option: str, what: str, word: str, known: Iterable[str]) -> ConfigurationError:
    """Return the error for an unknown name; it lists the known ones and the nearest."""
    from monitor.config import similar

    names = sorted(filter(None, known))
    more = f", and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    listed = f"known: {', '.join(names[:_MOST_NAMED]) or 'none'}{more}"
    near = similar(word, names)
    return mistake(option, f'unknown {what} "{word}"', f"{near} {listed}".strip())


def mistake(option: str, message: str, remedy: str = "") -> ConfigurationError:
    """Return the error for a wrong option."""
    problem = Problem("", option, output.text(message), remedy)
    return ConfigurationError([problem])


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The address of a daemon, and the files with credentials for it."""

    url: str
    token_file: Path | None
    ca_file: Path | None

    def opened(self) -> AbstractAsyncContextManager[DaemonClient]:
        """Open a client; entering it raises ConfigurationError if an option is wrong."""
        from monitor.tools.api_client import open_client

        return open_client(self.url, self.token_file, self.ca_file)


def required_server(
    url: str | None, token_file: Path | None, ca_file: Path | None
) -> ServerOptions:
    """Return the daemon that ``--server`` or the environment names.

    Raises:
        ConfigurationError: neither does.
    """
    found = server(url, token_file, ca_file)
    if found is None:
        raise mistake("--server", "is missing", f"write --server URL, or set {SERVER_VARIABLE}")
    return found


def server(
    url: str | None, token_file: Path | None, ca_file: Path | None, *, local: object = None
) -> ServerOptions | None:
    """Return the daemon that ``--server`` or the environment names, if one does.

    What is written counts more than the environment: it is not heeded where ``local`` options,
    such as ``--config``, ask for something else.

    Raises:
        ConfigurationError: files are given without ``--server``.
    """
    if url is None and not local:
        named = os.environ.get(SERVER_VARIABLE, "").strip()
        # A map holds the settings of a daemon's server.
        url = named if named and not named.startswith("{") else None
    if url is not None:
        return ServerOptions(
            url,
            token_file or _file_of(TOKEN_FILE_VARIABLE),
            ca_file or _file_of(CA_FILE_VARIABLE),
        )
    for option, file in (("--token-file", token_file), ("--ca-file", ca_file)):
        if file is not None:
            raise mistake(option, "needs --server")
    return None


def _file_of(variable: str) -> Path | None:
    named = os.environ.get(variable)
    return Path(named) if named else None
