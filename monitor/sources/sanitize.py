"""The cleaner of texts from AWS, which takes out the secrets of their own response.

``redaction.clean_text`` knows no response: it hides what looks like a secret. Here the model says
which members are secret, so anything else is kept word for word. Pure, and linear in the length.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from monitor.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

LIMIT = 512
"""The most characters that are kept of a text."""

REMOVED = "[removed]"
"""The mark in place of a secret."""

_SHORTEST_SECRET = 8
_QUERY = re.compile(r"[?#]")


def clean(text: str, secrets: Iterable[str] = (), limit: int = LIMIT) -> str:
    """Return ``text`` on one line, without controls, URL queries, user names and ``secrets``.

    At most ``limit`` characters are kept; a longer text ends in an ellipsis.
    """
    kept = one_line(text)
    for secret in secrets:
        kept = kept.replace(secret, REMOVED)
    kept = " ".join(filter(None, map(_without_query, kept.split())))
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def needles(secrets: Iterable[str], *, inner: bool = False) -> tuple[str, ...]:
    """List the texts that must not reappear in a kept text, longest first.

    That is each secret of at least eight characters and each such line of it;
    with ``inner``, also what follows a colon in a line (``password:…``). Names that
    are kept for their own sake (a bucket) may well stand in a manifest, so only
    free text is searched for the inner values.
    """
    found: set[str] = set()
    for secret in secrets:
        lines = secret.splitlines()
        found.update(map(one_line, (secret, *lines)))
        if inner:
            found.update(one_line(line.partition(":")[2]) for line in lines)
    long = (part for part in found if len(part) >= _SHORTEST_SECRET)
    # A line of a secret must not be cut out of it before the whole of it is found.
    return tuple(sorted(long, key=lambda part: (-len(part), part)))


def _without_query(word: str) -> str:
    """Drop the query, fragment and user name of a URL; they may be credentials."""
    if "://" in word:
        scheme, *rest = _QUERY.split(word, maxsplit=1)[0].split("://")
        hosts = (location.partition("/") for location in rest)
        return "://".join((scheme, *(f"{h.rpartition('@')[2]}{s}{path}" for h, s, path in hosts)))
    head, _, query = word.partition("?")
    return head if "=" in query else word
