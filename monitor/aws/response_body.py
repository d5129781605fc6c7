"""The body of an answer of AWS, read within a bound."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from botocore.parsers import ResponseParserError

if TYPE_CHECKING:
    from aiohttp import ClientResponse

LARGEST = 8 * 1024 * 1024
"""The most bytes of a body that are read; a page of a thousand rows has less than one million.

They are counted as they are kept: the SDK's HTTP session decompresses nothing.
"""


class AnswerTooLargeError(ResponseParserError):  # type: ignore[misc]  # botocore is untyped
    """An answer that is not read to its end, or not parsed; ``status`` is its HTTP status."""

    def __init__(self, hint: str, status: int | None = None) -> None:
        """Say in ``hint`` which bound it does not keep to."""
        super().__init__(hint)
        self.hint = hint
        self.status = status


class BoundedResponse:
    """An HTTP response of aiohttp whose body may be ``LARGEST`` bytes long."""

    def __init__(self, response: ClientResponse) -> None:
        """Wrap the response, of which no more than the head has been read."""
        self._response = response

    def __getattr__(self, name: str) -> Any:
        """Return whatever else there is of the response."""
        return getattr(self._response, name)

    async def read(self) -> bytes:
        """Return the body.

        Raises:
            AnswerTooLargeError: it is longer than it may be; the connection is closed.
        """
        body = bytearray()
        with ExitStack() as stack:
            # What is left of the body must not be taken for the next answer.
            stack.callback(self._response.close)
            if (self._response.content_length or 0) <= LARGEST:
                async for piece in self._response.content.iter_any():
                    body += piece
                    if len(body) > LARGEST:
                        break
                else:
                    stack.pop_all()
                    return bytes(body)
        hint = f"the response is longer than {LARGEST // 1024**2} MiB"
        raise AnswerTooLargeError(hint, self._response.status)
