"""Untrusted text made safe to keep and to show; pure, and linear in the text's length."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LIMIT = 512
"""The most characters that are kept of a text."""

REMOVED = "[removed]"
"""What stands where a secret stood."""

_SHORTEST_SECRET = 8
_QUERY = re.compile(r"[?#]")


def clean(text: str, secrets: Iterable[str] = (), limit: int = LIMIT) -> str:
    """Return ``text`` on one line, without controls, URL queries, user names and ``secrets``.

    At most ``limit`` characters are kept; a longer text ends in an ellipsis.
    """
    kept = _visible(text)
    for secret in secrets:
        kept = kept.replace(secret, REMOVED)
    kept = " ".join(filter(None, map(_without_query, kept.split())))
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def needles(secrets: Iterable[str], *, inner: bool = False) -> tuple[str, ...]:
    """List what must not reappear in a kept text, longest first.

    That is each secret of at least eight characters and each such line of it;
    with ``inner``, also what follows a colon in a line (``password:…``). Names that
    are kept for their own sake (a bucket) may well stand in a manifest, so only
    free text is searched for the inner values.
    """
    found = {_visible(part) for secret in secrets for part in _parts(secret, inner=inner)}
    return tuple(sorted((part for part in found if len(part) >= _SHORTEST_SECRET), key=_by_length))


def _by_length(text: str) -> tuple[int, str]:
    return -len(text), text


def _parts(secret: str, *, inner: bool) -> Iterable[str]:
    yield secret
    for line in secret.splitlines():
        yield line
        if inner:
            yield line.partition(":")[2]


def _visible(text: str) -> str:
    """Drop what does not print: controls, and marks that hide or reorder text."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text)
    return " ".join(text.split())


def _without_query(word: str) -> str:
    """Drop the query, fragment and user name of a URL; they may be credentials."""
    if "://" in word:
        scheme, *rest = _QUERY.split(word, maxsplit=1)[0].split("://")
        return "://".join((scheme, *map(_without_user, rest)))
    head, _, query = word.partition("?")
    return head if "=" in query else word


def _without_user(location: str) -> str:
    host, slash, path = location.partition("/")
    return host.rpartition("@")[2] + slash + path
