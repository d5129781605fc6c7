"""A mark that stands for a value in an answer that could not be read."""

from __future__ import annotations

from typing import Final


class Unreadable:
    """A value that is not known; it is neither true nor equal to anything but itself."""

    __slots__ = ()

    def __bool__(self) -> bool:
        """Count as false, so that no condition holds by it."""
        return False

    def __repr__(self) -> str:
        """Tell nothing of the value."""
        return "unreadable"


UNREADABLE: Final = Unreadable()
"""Stands where an answer has something of another kind than the service's model says."""
