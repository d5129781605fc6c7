"""What the monitor needs to know of a kind of sink: one value for each, in ``sinks.KINDS``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from monitor.aws.clients import Clients
    from monitor.interfaces import Sink

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Preview:
    """One event as it would go out; ``headers`` are whatever goes beside the body."""

    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class SinkTools:
    """What the daemon lends to a sink; the sink closes none of it."""

    now: Callable[[], datetime]
    """The UTC time."""
    clients: Clients | None = None
    """Required by a sink in AWS."""


@dataclass(frozen=True, slots=True)
class SinkKind(Generic[S, T]):
    """One kind of sink: ``S`` are its settings, ``T`` is what they and their files come to."""

    settings: type[S]
    load: Callable[[str, S, T | None], T]
    """(name, settings, what they came to before) → the target. Blocks on the file system, uses no
    network, and raises ConfigurationError with every problem; no text repeats a secret."""
    open: Callable[[T, SinkTools], AbstractAsyncContextManager[Sink]]
    """Build the sink, and release what it holds at the end."""
    files: Callable[[S], list[str]] = lambda _: []
    """Name the files that ``load`` reads."""
    rereads: bool = True
    """A change of these files reopens the sink without a reload."""
    sample: Callable[[str, S], T] | None = None
    """As ``load``, but opens no file that holds a secret; by default, ``load`` opens none."""
    preview: Callable[[T, Sequence[Mapping[str, Any]]], list[Preview]] | None = None
    """Show events as they go out, with every secret hidden; by default as they are."""
    permission: Callable[[T], tuple[str, str]] | None = None
    """Name the IAM action that the sink needs, and the ARN that it is needed on."""
