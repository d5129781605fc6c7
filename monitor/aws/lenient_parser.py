"""The SDK's parsers, made to survive what is wrong with a part of an answer.

The SDK gives up a whole answer for one time that cannot be; these parsers put a mark in its
place. A large answer is parsed beside the event loop, and a crowded one not at all.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import anyio
import anyio.to_thread
from aiobotocore.parsers import PROTOCOL_PARSERS, AioResponseParserFactory
from botocore.parsers import ResponseParserError
from botocore.utils import parse_timestamp

from monitor.aws.response_body import AnswerTooLargeError
from monitor.aws.unreadable import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Coroutine

LARGE = 64 * 1024
"""Bytes of a body that is still parsed, and read, on the event loop: some milliseconds of work."""

MOST_VALUES = 150_000
"""Values that an answer may have; the parser for JSON lets no other thread run meanwhile."""

_MARKS = (b",", b"[", b"{", b"<", b'="', b"='")
"""Every value of JSON or XML has one of these near it."""

_PIECE = 16 * 1024
_AT_ONCE = 2
_ERROR = 300
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_LONGEST_TIME = 64
_FIRST_MILLISECONDS = 1e11
_LAST_MILLISECONDS = 1e14
"""As seconds, these would be the years 5138 and 3 million."""


def moment(value: Any) -> datetime:
    """Return a time that is written as seconds or milliseconds since 1970, or in ISO 8601.

    The time is aware only if it comes as a number, or names its zone itself.

    Raises:
        ValueError, TypeError, OverflowError or OSError: it cannot be read.
    """
    if isinstance(value, str) and len(value) > _LONGEST_TIME:
        raise ValueError("too long for a time")
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return datetime.fromisoformat(value)
    if isinstance(value, bool):
        raise TypeError("a truth is not a time")
    number = float(value)
    if _FIRST_MILLISECONDS <= abs(number) < _LAST_MILLISECONDS:
        number /= 1000
    return datetime.fromtimestamp(number, UTC)


def lenient_moment(value: Any) -> Any:
    """Return a time as the SDK's parsers want it, or the mark if it cannot be read."""
    try:
        return moment(value)
    except (ValueError, TypeError, OverflowError, OSError):
        pass
    if not isinstance(value, str) or len(value) > _LONGEST_TIME or _NUMBER.fullmatch(value):
        return UNREADABLE
    try:
        return parse_timestamp(value)
    except Exception:  # noqa: BLE001 -- a parser of anybody's dates raises anything
        return UNREADABLE


class ParserFactory(AioResponseParserFactory):  # type: ignore[misc]  # aiobotocore is untyped
    """Makes the parsers of one session."""

    def __init__(self) -> None:
        """Begin without any answer."""
        super().__init__()
        self.set_parser_defaults(timestamp_parser=lenient_moment)
        self._limiter = anyio.CapacityLimiter(_AT_ONCE)

    def create_parser(self, protocol_name: str) -> Any:
        """Return a parser for one answer."""
        parser = _PARSERS[protocol_name](**self._defaults)
        parser.limiter = self._limiter
        return parser


class _Lenient:
    """What each of the SDK's parsers is mixed with."""

    limiter: anyio.CapacityLimiter

    async def parse(self, response: dict[str, Any], shape: Any) -> dict[str, Any]:
        """Return the parsed answer, always a mapping."""
        parsing = super().parse(response, shape)  # type: ignore[misc]  # of the SDK's parser
        body, status = response["body"], response["status_code"]
        if isinstance(body, bytes) and len(body) > LARGE:
            parsed = await anyio.to_thread.run_sync(
                _parsed_in_thread, parsing, body, status, limiter=self.limiter
            )
        else:
            parsed = await parsing
        if status < _ERROR:
            if not isinstance(parsed, dict):
                raise ResponseParserError("the answer is not a mapping")
            return parsed
        # The SDK itself relies on these members of an error's answer, whatever came.
        answer = parsed if isinstance(parsed, dict) else {}
        error = answer.get("Error", {})
        if not isinstance(error, dict):
            answer["Error"] = {}
        elif not isinstance(error.get("Code", ""), str):
            answer["Error"] = {**error, "Code": ""}
        return answer

    def _parse_shape(self, shape: Any, node: Any) -> Any:
        try:
            return super()._parse_shape(shape, node)  # type: ignore[misc]
        except (RecursionError, MemoryError):
            raise
        except Exception:  # noqa: BLE001 -- whatever the SDK raises over a value of another kind
            return UNREADABLE

    def _handle_list(self, shape: Any, node: Any) -> Any:
        """The SDK would take a text for a list of letters."""
        in_header = shape.serialization.get("location") == "header"
        if isinstance(node, dict) or (isinstance(node, str) and not in_header):
            raise TypeError("not a list")
        return super()._handle_list(shape, node)  # type: ignore[misc]

    def _parse_xml_string_to_dom(self, xml_string: bytes) -> ET.Element:
        """Parse in pieces, so that other threads get their turn between them.

        A document type could make little text into much, and AWS never sends one.
        """
        if b"<!DOCTYPE" in xml_string:
            raise ResponseParserError("a document type")
        parser = ET.XMLParser(target=ET.TreeBuilder(), encoding="utf-8")  # noqa: S314 -- bounded
        try:
            for start in range(0, len(xml_string), _PIECE):
                parser.feed(xml_string[start : start + _PIECE])
            root: ET.Element = parser.close()
        except ET.ParseError:
            # The SDK's own error holds the whole body.
            raise ResponseParserError("not XML") from None
        return root


def _parsed_in_thread(parsing: Coroutine[Any, Any, Any], body: bytes, status: int) -> Any:
    """Run a parser to its end without a loop: it waits for nothing, as the whole body is there."""
    try:
        if sum(map(body.count, _MARKS)) > MOST_VALUES:
            raise AnswerTooLargeError("the response has too many values", status)
        parsing.send(None)
    except StopIteration as end:
        return end.value
    finally:
        parsing.close()
    raise ResponseParserError("the answer is not complete")


_PARSERS = {
    protocol: type(f"Lenient{parser.__name__}", (_Lenient, parser), {})
    for protocol, parser in PROTOCOL_PARSERS.items()
}
