"""Arguments of several commands: what to choose from a store, and which daemon to ask."""

from __future__ import annotations

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
    from monitor.stores.store import SqlStore
    from monitor.tools.api_client import DaemonClient

Since = Annotated[
    str | None,
    typer.Option(metavar="AGE|TIME", help="Such as 2h, or 2026-03-01T12:00:00Z (UTC)."),
]
Job = Annotated[str | None, typer.Option(help="A job's id, or its whole key.")]
Matches = tuple[tuple[str, tuple[str, ...]], ...]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="The most rows to print.")]
ServerUrl = Annotated[
    str | None,
    typer.Option("--server", metavar="URL", help="Ask the daemon that listens there."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Holds a bearer token for --server."),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Authorities (PEM) to trust for --server instead of the system's."
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


async def require_places(found: Matches, settings: Settings, store: SqlStore) -> None:
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


def require_sink(settings: Settings, name: str, option: str = "") -> None:
    """Require a configured sink.

    Raises:
        ConfigurationError: no sink has that name.
    """
    if name not in settings.sinks:
        raise unknown(option, "sink", name, settings.sinks)


async def require_known_sink(settings: Settings, store: SqlStore, name: str) -> None:
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


def server(url: str | None, token_file: Path | None, ca_file: Path | None) -> ServerOptions | None:
    """Return the daemon that ``--server`` names, if it is given.

    Raises:
        ConfigurationError: files are given without ``--server``.
    """
    if url is not None:
        return ServerOptions(url, token_file, ca_file)
    for option, file in (("--token-file", token_file), ("--ca-file", ca_file)):
        if file is not None:
            raise mistake(option, "needs --server")
    return None
