"""Arguments that choose among what is stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from monitor import replay
from monitor.config import parse_duration
from monitor.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from monitor.config import Settings

Since = Annotated[
    str | None,
    typer.Option(metavar="AGE|TIME", help="Such as 2h, or 2026-03-01T12:00:00Z (UTC)."),
]
Job = Annotated[str | None, typer.Option(help="A job's id, or its whole key.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="The most rows to print.")]


def moment(value: str | None) -> datetime | None:
    """Read an age (``2h``) or a time in ISO form, UTC if it does not say.

    Raises:
        BadParameter: it is neither.
    """
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
        message = "is no age, such as 2h, and no time, such as 2026-03-01T12:00:00Z"
        raise typer.BadParameter(message, param_hint="--since") from None


def matches(given: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Read ``key=glob`` or ``key=glob,glob``.

    Raises:
        BadParameter: a key is unknown.
    """
    return tuple(_match(each) for each in given)


def _match(given: str) -> tuple[str, tuple[str, ...]]:
    key, equals, globs = given.partition("=")
    if not equals or not (key in replay.KEYS or key.startswith(replay.LABEL)):
        known = ", ".join(replay.KEYS)
        message = f"write KEY=GLOB with a key of {known} or labels.NAME"
        raise typer.BadParameter(message, param_hint="--match")
    return key, tuple(globs.split(","))


def require_sink(settings: Settings, name: str) -> str:
    """Return the name of a sink that is configured.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if name in settings.sinks:
        return name
    known = ", ".join(settings.sinks) or "none"
    raise ConfigurationError([Problem("", "", f"there is no sink {name!r}", f"known: {known}")])
