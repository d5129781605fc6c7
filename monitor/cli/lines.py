"""Transitions as lines for the eye."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

import typer

from monitor.model import TERMINAL, Job, Kind

if TYPE_CHECKING:
    from monitor.model import Transition

_COLOURS = {"info": "green", "warning": "yellow", "error": "red"}


def transition_line(transition: Transition) -> str:
    """Return one line: when, which job, what changed, and how narrowly it was seen."""
    subject = transition.subject
    name = f"{subject.type}/{subject.id}" if isinstance(subject, Job) else subject.key
    when = transition.before.astimezone(UTC).strftime("%H:%M:%S UTC")
    told = typer.style(_told(transition), fg=_colour(transition))
    return f"{when}  {name:<40} {told}{_window(transition)}"


def _told(transition: Transition) -> str:
    current = transition.current
    match transition.kind:
        case Kind.STATE_CHANGED if transition.previous:
            return f"{transition.previous.state} -> {current.state}  [{current.phase}]"
        case Kind.UPDATED:
            changed = ", ".join(change.field for change in transition.changes)
            return f"{current.state}  changed: {changed}"
        case Kind.SOURCE_UNAVAILABLE | Kind.SOURCE_RECOVERED:
            return current.state
        case _:
            verb = transition.kind.partition(".")[2]
            return f"{verb}: {current.state}  [{current.phase}]"


def _colour(transition: Transition) -> str | None:
    ended = transition.current.phase in TERMINAL and not transition.baseline
    if transition.kind is Kind.DISCOVERED and not ended:
        return "bright_black"
    return _COLOURS[transition.severity]


def _window(transition: Transition) -> str:
    if transition.after is None or transition.kind is not Kind.STATE_CHANGED:
        return ""
    seconds = (transition.before - transition.after).total_seconds()
    return typer.style(f"  (within {seconds:.1f} s)", dim=True)
