"""A request as it came over the wire."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """The parts that matter; path and query are as sent, `headers` ignores case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
