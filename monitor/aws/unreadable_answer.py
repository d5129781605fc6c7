"""The error for an answer of which something that is needed cannot be read."""

from __future__ import annotations

from botocore.parsers import ResponseParserError


class UnreadableAnswerError(ResponseParserError):  # type: ignore[misc]  # botocore is untyped
    """An answer in which something that is needed cannot be read."""

    def __init__(self, name: str) -> None:
        """Take the name that the service's model has for it."""
        super().__init__(name)
        self.name = name
