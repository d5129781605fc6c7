"""A kind of AWS job, as declared: what to ask, what to keep, and what a state means."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from monitor.aws.errors import normal_code
from monitor.model import Ending, Phase, Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.errors import Problem
    from monitor.sources.jmespath_check import Expression

UNKNOWN = "Unknown"
"""What stands for a part of the state that no look has told."""
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_DEFAULT_SEVERITY = {
    Phase.FAILED: Severity.ERROR,
    Phase.EXPIRED: Severity.ERROR,
    Phase.CANCELED: Severity.WARNING,
}


@dataclass(frozen=True, slots=True)
class Field:
    """A value that is kept beside the state; ``form`` is one of the declaration's ``as``."""

    name: str
    read: Expression
    form: str
    max_length: int
    watch: bool
    unless: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error that says that there is no such job."""

    code: str
    where: Expression | None


@dataclass(frozen=True, slots=True)
class Describe:
    """How one job is asked for, and how its answer is read."""

    operation: str
    params: Mapping[str, Any]
    id: Expression | None
    missing_if: Expression | None
    state: Mapping[str, Expression]
    updated_at: Expression | None
    created_at: Expression | None
    reason: Expression | None
    secrets: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Paging:
    """How the next page is asked for: by the page's token, or by its last row."""

    param: str
    token: Expression | None
    last_id: Expression | None
    more: Expression | None


@dataclass(frozen=True, slots=True)
class Listing:
    """How jobs are listed, with ``page_size`` of them a page if set, and how a row is read."""

    operation: str
    params: Mapping[str, Any]
    page_size: int | None
    items: Expression
    id: Expression
    state: Mapping[str, Expression]
    updated_at: Expression | None
    created_at: Expression | None
    reason: Expression | None
    secrets: tuple[Expression, ...]
    paging: Paging | None


@dataclass(frozen=True, slots=True)
class JobType:
    """A checked declaration; fits ``interfaces.JobType``.

    ``region`` is set for a service with one global endpoint, and is what requests
    are signed for; ``regions`` are the known ones, or empty. ``interval``, ``grace``
    and ``grace_interval`` are in seconds, ``rate`` in requests per second. Error
    codes are normalised as ``normal_code`` does.
    """

    name: str
    service: str
    description: str
    region: str | None
    regions: tuple[str, ...]
    interval: float
    rate: float
    burst: int
    id_pattern: re.Pattern[str]
    id_max_length: int
    describe: Describe
    listing: Listing | None
    decisive: str
    phases: Mapping[str, Phase]
    aliases: Mapping[str, str]
    severities: Mapping[str, Severity]
    errors: Mapping[str, Mapping[str, str]]
    missing: tuple[Refusal, ...]
    irrevocable: frozenset[Phase]
    reopens: bool
    final: tuple[Mapping[str, frozenset[str]], ...]
    grace: float
    grace_interval: float
    fields: tuple[Field, ...]
    warnings: tuple[Problem, ...] = ()
    """What may be meant so, but leaves jobs out."""

    @property
    def describe_operation(self) -> str:
        """The operation that asks for one job."""
        return self.describe.operation

    @property
    def list_operation(self) -> str | None:
        """The operation that lists jobs, if there is one."""
        return self.listing.operation if self.listing else None

    @property
    def listed(self) -> str:
        """What its listing is asked for, in one form; empty if there is none."""
        if self.listing is None:
            return ""
        asked = [self.listing.operation, self.listing.params]
        return json.dumps(asked, sort_keys=True, default=str)

    @property
    def lists_states(self) -> bool:
        """Whether a row of the listing tells the whole state."""
        return self.listing is not None and self.listing.state.keys() >= self.describe.state.keys()

    @property
    def state_globs(self) -> Mapping[str, Phase]:
        """What its states look like, with ``*`` for a part that may be any text."""
        told = {**self.phases, UNKNOWN: Phase.UNKNOWN}
        return {
            "/".join(state if name == self.decisive else "*" for name in self.describe.state): phase
            for state, phase in told.items()
        }

    def with_grace(self, seconds: float | None, interval: float | None = None) -> JobType:
        """Return this type with another grace, or other looks in it; ``None`` changes nothing."""
        return replace(
            self, grace=seconds or self.grace, grace_interval=interval or self.grace_interval
        )

    def unwatched(self) -> frozenset[str]:
        """The kept fields whose change alone is no news."""
        return frozenset(field.name for field in self.fields if not field.watch)

    def accepts_id(self, job_id: str) -> bool:
        """Whether this can be the id of a job."""
        return len(job_id) <= self.id_max_length and bool(self.id_pattern.fullmatch(job_id))

    def params(self, job_id: str) -> Mapping[str, Any]:
        """Return the parameters that ask for a job, whose id is an acceptable one."""
        match = self.id_pattern.fullmatch(job_id)
        groups = match.groupdict(default="") if match else {}
        filled: Mapping[str, Any] = _filled(self.describe.params, {**groups, "id": job_id})
        return filled

    def normal_part(self, name: str, value: str) -> str:
        """Return the first-class spelling of a state."""
        return self.aliases.get(value, value) if name == self.decisive else value

    def parts_told_by(self, code: str) -> Mapping[str, str | None] | None:
        """Return the parts of the state that an error tells, if it is one that does."""
        told = self.errors.get(normal_code(code))
        return told and {name: told.get(name) for name in self.describe.state}

    def denies(self, code: str, answer: Mapping[str, Any]) -> bool:
        """Whether an error, its ``code`` normalised, says that there is no such job."""
        return any(
            one.code == code and (not one.where or one.where(answer)) for one in self.missing
        )

    def judge(self, parts: Mapping[str, str | None], before: Phase | None) -> Verdict | None:
        """Classify a state; ``None`` if a job that was ``before`` cannot have come to it."""
        told = parts.get(self.decisive)
        phase = self.phases.get(told, Phase.UNKNOWN) if told else Phase.UNKNOWN
        if before in self.irrevocable and not phase.terminal:
            return None
        return Verdict(
            state="/".join(parts.get(name) or UNKNOWN for name in self.describe.state),
            phase=phase,
            severity=self._severity(told, phase),
            ending=self._ending(parts, phase),
            classified=told is None or told in self.phases,
        )

    def _severity(self, told: str | None, phase: Phase) -> Severity:
        own = self.severities.get(told) if told else None
        return own or _DEFAULT_SEVERITY.get(phase, Severity.INFO)

    def _ending(self, parts: Mapping[str, str | None], phase: Phase) -> Ending:
        if not phase.terminal or self.reopens:
            return Ending.OPEN
        final = not self.final or any(_holds(condition, parts) for condition in self.final)
        return Ending.FINAL if final else Ending.GRACE


def _holds(condition: Mapping[str, frozenset[str]], parts: Mapping[str, str | None]) -> bool:
    return all(parts.get(name) in values for name, values in condition.items())


def _filled(template: Any, values: Mapping[str, str]) -> Any:
    """Put the values into the placeholders of a template, at any depth."""
    match template:
        case str():
            return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), template)
        case dict():
            return {key: _filled(value, values) for key, value in template.items()}
        case list():
            return [_filled(value, values) for value in template]
    return template
