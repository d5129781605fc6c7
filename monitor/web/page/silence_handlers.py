"""The page ``/silences``: who keeps what from being sent, until when, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from monitor.web.page.rendering import Renderings, html

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from monitor.model import Silence

MOST = 200
"""Silences that are shown; of the expired ones there may be many."""

_STATUSES = ("active", "pending", "expired")


@dataclass(frozen=True, slots=True)
class SilenceRow:
    """One silence; each of ``matches`` says in words what it holds."""

    id: str
    status: str
    matches: Sequence[str]
    starts_at: datetime
    ends_at: datetime
    author: str
    comment: str

    @classmethod
    def of(cls, silence: Silence, now: datetime) -> SilenceRow:
        """View a silence at a time."""
        return cls(
            id=silence.id,
            status=silence.status(now),
            matches=[in_words(each) for each in silence.match],
            starts_at=silence.starts_at,
            ends_at=silence.ends_at,
            author=silence.author,
            comment=silence.comment,
        )


class SilencePage:
    """The handler."""

    def __init__(self, renderings: Renderings) -> None:
        """Render with ``renderings``."""
        self._renderings = renderings

    async def list(self, _request: web.Request) -> web.Response:
        """Show the silences: active ones first, then pending and expired ones."""
        quiet = self._renderings.parts.quiet
        if quiet is None:
            raise web.HTTPNotFound
        page = await self._renderings.view()
        rows = [SilenceRow.of(each, page.now) for each in quiet.silences()]
        rows.sort(key=lambda row: (_STATUSES.index(row.status), row.ends_at))
        render = self._renderings.templates.silences
        hidden = max(0, len(rows) - MOST)
        return html(await self._renderings.beside(render, page, rows[:MOST], hidden))


def in_words(match: Mapping[str, Any]) -> str:
    """Write a match as ``phase failed or expired, team=vision``."""
    parts = []
    for key, value in match.items():
        if isinstance(value, dict):
            parts += [f"{name}={_either(each)}" for name, each in value.items()]
        else:
            parts.append(f"{key} {_either(value)}")
    return ", ".join(parts)


def _either(value: Any) -> str:
    return " or ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
