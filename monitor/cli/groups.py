"""Exceptions as task groups raise them: in groups, which may hold groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

E = TypeVar("E", bound=Exception)


def leaves(group: BaseExceptionGroup[E]) -> Iterator[E]:
    """Go through the exceptions themselves."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
