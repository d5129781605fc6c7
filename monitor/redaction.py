"""Cleans text and errors that came from elsewhere, so that they may be shown.

Cheap on every log line, and bounded whatever the text: nothing beyond the first
``LIMIT + _SLACK`` characters is ever read.
"""

from __future__ import annotations

import errno
import re
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from monitor.errors import MonitorError

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 1024
"""Characters kept of one text."""
HIDDEN = "***"

_SLACK = 256
_ITEMS = 32
_DEPTH = 3
_FRAMES = 15
_LINKS = 8
_LARGEST = 2**63 - 1

_NAMES = (
    r"authorization|secret|token|signature|passw|passphrase|pwd|credential|cookie|manifest"
    r"|(?:api|access|private|signing)[-_]?key|external[-_]?id"
)
_SECRET_NAME = re.compile(_NAMES, re.IGNORECASE)
# Every text that a pattern below can match holds one of these, which are found much faster.
_SUSPECTS = (
    *("authorization", "secret", "token", "signature", "passw", "passphrase", "pwd", "credential"),
    *("cookie", "manifest", "key", "external", "://", "whsec_", "akia", "asia", "bearer", "basic"),
    *("eyj", "-----begin"),
)
_QUOTED = r"\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?"
_PAIR = re.compile(
    rf"((?:{_NAMES})[\w.-]{{0,40}}[\\\"']{{0,3}}\s{{0,4}})"
    rf"(?:(:\s{{0,4}})(?:{_QUOTED}|[^\n]*)|(=\s{{0,4}})(?:{_QUOTED}|\S*))",
    re.IGNORECASE,
)
_ELEMENT = re.compile(
    rf"(<[\w:]{{0,40}}(?:{_NAMES})\w{{0,40}}[^<>]{{0,80}}>)"
    r"(?:<!\[CDATA\[.*?(?:\]\]>|\Z)|[^<]*)",
    re.IGNORECASE | re.DOTALL,
)
_BARE = re.compile(
    r"whsec_[\w+/=-]+"
    r"|(?:AKIA|ASIA)[A-Z0-9]{8,}"
    r"|(?i:bearer|basic)\s{1,4}[\w+/=.~-]{16,}"
    r"|eyJ[\w-]{8,}\.[\w.-]+"
    r"|-----BEGIN.*",
    re.DOTALL,
)
_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{0,30})://([^\s\"'<>\\]*)")
_AUTHORITY = re.compile(r"[^/?#]*")
_HOST = re.compile(r"(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?")
# Control characters, halves of surrogate pairs (no valid UTF-8), and what reorders or hides text.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
_BREAKS = re.compile(r"[\t\n\r\v\f]+")


def clean_text(text: str, limit: int = LIMIT) -> str:
    """Return ``text`` on one line of at most ``limit`` characters, without secrets.

    Hidden are values after names such as ``password`` or ``SessionToken``, AWS access
    keys, webhook secrets, bearer tokens and private keys, and of a URL all but scheme
    and host.
    """
    excerpt = text[: limit + _SLACK]
    if not excerpt.isprintable():
        excerpt = _UNPRINTABLE.sub("", excerpt)
    lowered = excerpt.lower()
    if any(suspect in lowered for suspect in _SUSPECTS):
        # URLs come first: what the other patterns hide in them would leave no host to show.
        excerpt = _URL.sub(_short_url, excerpt)
        excerpt = _ELEMENT.sub(rf"\g<1>{HIDDEN}", excerpt)
        excerpt = _PAIR.sub(lambda found: "".join(filter(None, found.groups())) + HIDDEN, excerpt)
        excerpt = _BARE.sub(HIDDEN, excerpt)
    if len(text) > limit + _SLACK:
        # A secret cut off at the end may not have been recognised; it is not shown.
        excerpt = excerpt[:-_SLACK]
    if not excerpt.isprintable():
        excerpt = _BREAKS.sub(" ", excerpt)
    return excerpt if max(len(text), len(excerpt)) <= limit else excerpt[: limit - 1] + "…"


def one_line(text: str) -> str:
    """Return ``text`` on one line, without controls and marks that hide or reorder text."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text)
    return " ".join(text.split())


def clean(value: Any, depth: int = _DEPTH) -> Any:
    """Return what may be shown of ``value``, as bounded JSON values.

    Of an object that is not a plain value only its class is named: its ``repr`` may hold
    anything. So it is with what is nested more than ``depth`` deep.
    """
    match value:
        case None | bool() | float():
            return value
        case str() | PurePath():
            return clean_text(str(value))
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case Mapping() if depth:
            return clean_fields(dict(islice(value.items(), _ITEMS)), depth)
        case Sequence() | AbstractSet() if depth:
            return [clean(item, depth - 1) for item in islice(value, _ITEMS)]
        case _:
            return _clean_object(value)


def clean_fields(fields: Mapping[Any, Any], depth: int = _DEPTH) -> dict[str, Any]:
    """Clean every value, and hide those whose key is the name of a secret."""
    cleaned = {}
    for key, item in fields.items():
        # No secret is a truth value, and whether one is set at all is worth knowing.
        harmless = item is None or isinstance(item, bool)
        secret = not harmless and _SECRET_NAME.search(str(key)[:LIMIT])
        cleaned[clean_text(str(key))] = HIDDEN if secret else clean(item, depth - 1)
    return cleaned


def describe(error: BaseException) -> str:
    """Describe where ``error`` and its causes were raised, without their messages.

    The message of an error of our own is kept, as it carries no secret; any other may
    hold the body of an answer.
    """
    lines = []
    for link in _chain(error):
        lines.append(_headline(link))
        # Of a file's path only the end, which is the same on every machine.
        for frame, line in deque(traceback.walk_tb(link.__traceback__), maxlen=_FRAMES):
            place = "/".join(PurePath(frame.f_code.co_filename).parts[-2:])
            lines.append(f"  {place}:{line} in {frame.f_code.co_qualname}")
    return "\n".join(lines)


def _short_url(found: re.Match[str]) -> str:
    scheme, rest = found.groups()
    if scheme in {"sqlite", "file"} and rest.startswith("/"):
        return f"{scheme}://{re.split('[?#]', rest, maxsplit=1)[0]}"
    authority = _AUTHORITY.match(rest)[0]  # type: ignore[index]  # it matches the empty text
    tail = rest[len(authority) :]
    host = authority.rpartition("@")[2]
    if "@" in tail or not _HOST.fullmatch(host):
        host = HIDDEN
    return f"{scheme}://{host}" + ("/…" if tail.strip("/") else tail)


def _clean_object(value: object) -> object:
    match value:
        case int() if abs(value) <= _LARGEST:
            return value
        case date():
            return value.isoformat()
        case BaseException():
            return _headline(value)
        case _:
            return f"<{type(value).__name__}>"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error``, the members of a group, and causes: each once, not too many."""
    waiting, seen = deque([error]), {id(error)}
    while waiting and len(seen) <= _LINKS:
        link = waiting.popleft()
        yield link
        members = link.exceptions if isinstance(link, BaseExceptionGroup) else ()
        context = None if link.__suppress_context__ else link.__context__
        for origin in (*members, link.__cause__ or context):
            # Chains may be circular, and an error may stand in several groups.
            if origin is not None and id(origin) not in seen:
                seen.add(id(origin))
                waiting.append(origin)


def _headline(error: BaseException) -> str:
    kind = type(error)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    if isinstance(error, MonitorError):
        return f"{name}: {clean_text(str(error))}"
    code = errno.errorcode.get(error.errno or 0) if isinstance(error, OSError) else None
    return f"{name}: {code}" if code else name
