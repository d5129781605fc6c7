"""Exception groups, as task groups raise them; they may be nested."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

E = TypeVar("E", bound=Exception)


def leaves(group: BaseExceptionGroup[E]) -> Iterator[E]:
    """Yield the exceptions inside a group."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
