"""The filters and the order of a list of jobs."""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from monitor.model import Phase
from monitor.recording.router import matcher
from monitor.web.api.params import Form, Glob, Limit, Text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from monitor.interfaces import JobStatus


def _label(text: str) -> str:
    if not label_readings(text):
        raise ValueError("must be written name=value")
    return text


def label_readings(text: str) -> list[tuple[str, str]]:
    """Return the labels that a filter may mean: ``name=value``, or the former ``name:value``."""
    parts = (text.partition(sign) for sign in "=:")
    return [(name, value) for name, sign, value in parts if sign and name]


class JobsQuery(Form):
    """Filters and order of jobs; a job must match every filter."""

    q: Text | None = None
    """Text in the key, the state, the reason or a label; case is ignored."""
    type: Glob | None = None
    """A job type, or a glob on it, such as ``panorama.*``."""
    account: Text | None = None
    """The name of an account."""
    region: Text | None = None
    """An AWS region."""
    phase: list[Phase] = Field(default=[])
    """One of these phases; may be repeated."""
    label: list[Annotated[Text, AfterValidator(_label)]] = Field(default=[])
    """``name=value``; may be repeated, and then every label must match."""
    stuck: bool | None = None
    """Jobs whose state has not changed for too long, or all others."""
    missing: bool | None = None
    """Jobs that no longer exist according to AWS, or all others."""
    blind: bool | None = None
    """Jobs whose status is stale, or all others."""
    sort: Literal[
        "key",
        "-key",
        "changed_at",
        "-changed_at",
        "first_seen_at",
        "-first_seen_at",
        "last_look_at",
        "-last_look_at",
        "state",
        "-state",
        "phase",
        "-phase",
    ] = "key"
    """Ascending, or descending with a dash before it."""
    limit: Limit = 100
    """The most jobs on a page."""
    cursor: Text | None = None
    """The ``next_cursor`` of the page before, which had the same ``sort``."""

    @cached_property
    def takes_type(self) -> Callable[[str], bool]:
        """Match a job type against ``type``; many jobs share one, which is matched once."""
        return cache(matcher([] if self.type is None else [self.type]))


def fits(one: JobStatus, asked: JobsQuery) -> bool:
    """Return whether a job matches every filter."""
    flags = ((asked.stuck, one.stuck), (asked.missing, one.missing), (asked.blind, one.blind))
    if not (
        asked.takes_type(one.job.type)
        and asked.account in {None, one.job.account}
        and asked.region in {None, one.job.region}
        and (not asked.phase or phase_of(one) in asked.phase)
        and all(wanted in {None, has} for wanted, has in flags)
        and all(has_label(one.labels, label) for label in asked.label)
    ):
        return False
    if asked.q is None:
        return True
    texts = [one.job.key]
    texts += [f"{name}{sign}{value}" for name, value in one.labels.items() for sign in "=:"]
    if one.snapshot:
        texts += [one.snapshot.state, one.snapshot.reason or ""]
    return any(asked.q.casefold() in each.casefold() for each in texts)


def has_label(labels: Mapping[str, str], text: str) -> bool:
    """Return whether ``labels`` match a filter, as ``label_readings`` reads it."""
    return any(labels.get(name) == value for name, value in label_readings(text))


def phase_of(one: JobStatus) -> Phase:
    """Return the phase of a job; unknown until AWS has returned it."""
    return one.snapshot.phase if one.snapshot else Phase.UNKNOWN


def _by_time(moment: datetime | None) -> tuple[float]:
    return (moment.timestamp() if moment else 0.0,)


RANKS: Mapping[str, Callable[[JobStatus], tuple[Any, ...]]] = {
    "key": lambda _: (),
    "state": lambda one: (one.snapshot.state if one.snapshot else "",),
    "phase": lambda one: (phase_of(one).value,),
    "changed_at": lambda one: _by_time(one.snapshot.changed_at if one.snapshot else None),
    "first_seen_at": lambda one: _by_time(one.snapshot.first_seen_at if one.snapshot else None),
    "last_look_at": lambda one: _by_time(one.polled_at),
}
"""The sort key of each order; the key of the job is always the last part."""
