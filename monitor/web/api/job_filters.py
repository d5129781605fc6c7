"""The filters and the order of a list of jobs."""

from __future__ import annotations

from functools import cache, cached_property
from string import ascii_lowercase, ascii_uppercase
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from monitor import model
from monitor.model import Phase
from monitor.recording.router import matcher
from monitor.web.api.forms import Form, Glob, Limit, Since, Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from monitor.interfaces import JobStatus


_ASCII_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


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
    watch: Text | None = None
    """The name of a watch."""
    state: list[Glob] = Field(default=[], max_length=32)
    """One of these states, or a glob on it, such as ``AtAWS/*``; may be repeated."""
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
    reason: Text | None = None
    """Text in the reason; case is ignored."""
    changed_before: Since | None = None
    """In the present state since this time or longer: an age, or a time."""
    changed_since: Since | None = None
    """In the present state since this time or shorter."""
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

    @property
    def counts_suffice(self) -> bool:
        """True if only place and phase decide, by which jobs are counted."""
        texts = (self.q, self.watch, self.reason, self.changed_before, self.changed_since)
        flags = (self.stuck, self.missing, self.blind)
        return not (self.label or self.state or any(one is not None for one in (*texts, *flags)))

    @cached_property
    def takes_type(self) -> Callable[[str], bool]:
        """Match a job type against ``type``; many jobs share one, which is matched once."""
        return cache(matcher([] if self.type is None else [self.type]))

    @cached_property
    def takes_state(self) -> Callable[[str], bool]:
        """Match a state against ``state``."""
        return cache(matcher(self.state))

    @property
    def flagged(self) -> bool:
        """Whether only jobs with a problem match, which no ended job has."""
        return bool(self.stuck or self.missing or self.blind)

    @property
    def having(self) -> model.ArchivedFilter:
        """What archived jobs are searched for; ``fits`` compares the rest."""
        return model.ArchivedFilter(
            text=self.reason if self.q is None else self.q,
            takes_state=self.takes_state if self.state else None,
            changed_since=self.changed_since,
            changed_before=self.changed_before,
        )

    def takes_place(self, place: tuple[str, str, str]) -> bool:
        """Match a type, account and region."""
        type_, account, region = place
        return (
            self.takes_type(type_)
            and self.account in {None, account}
            and self.region in {None, region}
        )


def fits(one: JobStatus, asked: JobsQuery) -> bool:
    """Return whether a job matches every filter."""
    flags = ((asked.stuck, one.stuck), (asked.missing, one.missing), (asked.blind, one.blind))
    if not (
        asked.takes_place((one.job.type, one.job.account, one.job.region))
        and asked.watch in {None, one.watch}
        and (not asked.state or asked.takes_state(one.snapshot.state if one.snapshot else ""))
        and (not asked.phase or phase_of(one) in asked.phase)
        and all(wanted in {None, has} for wanted, has in flags)
        and all(has_label(one.labels, label) for label in asked.label)
        and _is_of_age(one, asked)
    ):
        return False
    reason = (one.snapshot.reason if one.snapshot else None) or ""
    if asked.reason is not None and not holds(reason, asked.reason):
        return False
    return asked.q is None or holds(searched_text(one), asked.q)


def searched_text(one: JobStatus) -> str:
    """Return the text of a job that is searched: what the store has of it, and its labels."""
    known = one.snapshot
    stored = model.searched_text(one.job.key, known.state, known.reason) if known else one.job.key
    return "\n".join((stored, *label_texts(one.labels)))


def label_texts(labels: Mapping[str, str]) -> Iterator[str]:
    """Yield the texts of labels that are searched."""
    return (f"{name}{sign}{value}" for name, value in labels.items() for sign in "=:")


def holds(text: str, wanted: str) -> bool:
    """Return whether ``wanted`` is in ``text``, whatever its case.

    It is the rule of ``LedgerReader.jobs``: ASCII letters match each other alone, and no Kelvin
    sign is a "k". Text with others, which the store is not asked for, is compared by all of
    Unicode.
    """
    if wanted.isascii():
        return wanted.translate(_ASCII_LOWER) in text.translate(_ASCII_LOWER)
    return wanted.casefold() in text.casefold()


def _is_of_age(one: JobStatus, asked: JobsQuery) -> bool:
    if asked.changed_before is None and asked.changed_since is None:
        return True
    changed = one.snapshot.changed_at if one.snapshot else None
    return (
        changed is not None
        and (asked.changed_before is None or changed <= asked.changed_before)
        and (asked.changed_since is None or changed >= asked.changed_since)
    )


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
