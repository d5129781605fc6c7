"""The template of a link to a job in the AWS console: checked when read, filled when needed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from monitor.sources.jmespath_check import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OWN = ("console", "region", "account", "id")
"""Placeholders of every job type; ``console`` is the host of the region's console."""

LONGEST = 1000
"""Characters of a template."""

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_HOST = re.compile(r"\{console\}|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_PLAIN = re.compile(r"[A-Za-z0-9/?#&=:;@!$*+,._~%-]*")
_CONSOLES = (
    (re.compile(r"us-gov-[a-z]+-\d"), "console.amazonaws-us-gov.com"),
    (re.compile(r"cn-[a-z]+-\d"), "console.amazonaws.cn"),
    (re.compile(r"(?!us-gov|eusc)[a-z]{2}-(?!iso)[a-z]+-\d"), "console.aws.amazon.com"),
)
"""The console of each partition; the isolated ones have addresses that are not public."""


def problem(template: str, names: Iterable[str]) -> tuple[str, str] | None:
    """Return what is wrong with a template, and the remedy; ``names`` can be placeholders too."""
    start, (host, slash, rest) = template[:8], template[8:].partition("/")
    path = slash + rest
    if start != "https://" or not _HOST.fullmatch(host):
        return "is not an https URL with a fixed host", 'begin it with "https://{console}/"'
    known = {*OWN, *names}
    for name in _PLACEHOLDER.findall(path):
        if name not in known:
            return f'"{name}" is not declared', suggestion(name, known)
    if not _PLAIN.fullmatch(_PLACEHOLDER.sub("", path)):
        return (
            "has characters that a URL cannot hold",
            "write them as %20, and a placeholder as {id}",
        )
    if len(template) > LONGEST:
        return f"is longer than {LONGEST} characters", "shorten it"
    return None


def fill(template: str, region: str, values: Mapping[str, str | None]) -> str | None:
    """Return the link for these values; ``None`` where one that it needs is not known.

    Values are quoted, so that they cannot lead elsewhere: of what has a meaning in a URL, only the
    colon stays, which ARNs are full of.
    """
    given = {**values, "region": region, "console": console(region)}
    if any(not given.get(name) for name in _PLACEHOLDER.findall(template)):
        return None
    return _PLACEHOLDER.sub(lambda found: quote(given[found[1]] or "", safe=":"), template)


def console(region: str) -> str | None:
    """Return the host of the console of a region; ``None`` where that is not public."""
    hosts = (f"{region}.{domain}" for form, domain in _CONSOLES if form.fullmatch(region))
    return next(hosts, None)
