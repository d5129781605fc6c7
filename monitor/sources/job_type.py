"""A kind of AWS job, as declared: its requests, its fields, and the meaning of its states."""

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
"""Stands for a part of the state that no poll has given yet."""
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
class MissingRule:
    """An error that means that the job does not exist."""

    code: str
    where: Expression | None


@dataclass(frozen=True, slots=True)
class DescribeOperation:
    """The request for one job, and the expressions that read its response."""

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
    """The way to the next page: by the page's token, or by its last row."""

    param: str
    token: Expression | None
    last_id: Expression | None
    more: Expression | None


@dataclass(frozen=True, slots=True)
class ListOperation:
    """The request for a page of ``page_size`` jobs if set, and the expressions for a row."""

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
    describe: DescribeOperation
    listing: ListOperation | None
    decisive: str
    phases: Mapping[str, Phase]
    aliases: Mapping[str, str]
    severities: Mapping[str, Severity]
    errors: Mapping[str, Mapping[str, str]]
    missing: tuple[MissingRule, ...]
    irrevocable: frozenset[Phase]
    reopens: bool
    final: tuple[Mapping[str, frozenset[str]], ...]
    grace: float
    grace_interval: float
    fields: tuple[Field, ...]
    warnings: tuple[Problem, ...] = ()
    """Problems that may be intended, but leave jobs out."""

    @property
    def describe_operation(self) -> str:
        """The operation that describes one job."""
        return self.describe.operation

    @property
    def list_operation(self) -> str | None:
        """The operation that lists jobs, if there is one."""
        return self.listing.operation if self.listing else None

    @property
    def listed(self) -> str:
        """The listing's request in one comparable form; empty if there is none."""
        if self.listing is None:
            return ""
        request = [self.listing.operation, self.listing.params]
        return json.dumps(request, sort_keys=True, default=str)

    @property
    def lists_states(self) -> bool:
        """Whether a row of the listing has the whole state."""
        return self.listing is not None and self.listing.state.keys() >= self.describe.state.keys()

    @property
    def state_globs(self) -> Mapping[str, Phase]:
        """Patterns of its states, with ``*`` for a part that may be any text."""
        phases = {**self.phases, UNKNOWN: Phase.UNKNOWN}
        return {
            "/".join(state if name == self.decisive else "*" for name in self.describe.state): phase
            for state, phase in phases.items()
        }

    def with_grace(self, seconds: float | None, interval: float | None = None) -> JobType:
        """Return this type with another grace, or interval in it; ``None`` changes nothing."""
        return replace(
            self, grace=seconds or self.grace, grace_interval=interval or self.grace_interval
        )

    def unwatched(self) -> frozenset[str]:
        """Return the kept fields whose change alone is not reported."""
        return frozenset(field.name for field in self.fields if not field.watch)

    def accepts_id(self, job_id: str) -> bool:
        """Return whether this can be the id of a job."""
        return len(job_id) <= self.id_max_length and bool(self.id_pattern.fullmatch(job_id))

    def params(self, job_id: str) -> Mapping[str, Any]:
        """Return the parameters that describe a job; ``accepts_id`` must hold for its id."""
        # A group that takes no part in the match would be None, which no parameter can hold.
        match = self.id_pattern.fullmatch(job_id)
        groups = match.groupdict(default="") if match else {}
        filled: Mapping[str, Any] = _filled(self.describe.params, {**groups, "id": job_id})
        return filled

    def normal_part(self, name: str, value: str) -> str:
        """Return the preferred spelling of a state."""
        return self.aliases.get(value, value) if name == self.decisive else value

    def parts_from_error(self, code: str) -> Mapping[str, str | None] | None:
        """Return the parts of the state that an error stands for, if it is declared so."""
        parts = self.errors.get(normal_code(code))
        return parts and {name: parts.get(name) for name in self.describe.state}

    def means_missing(self, code: str, response: Mapping[str, Any]) -> bool:
        """Return whether an error, its ``code`` normalised, means that the job does not exist."""
        return any(
            rule.code == code and (not rule.where or rule.where(response)) for rule in self.missing
        )

    def judge(self, parts: Mapping[str, str | None], before: Phase | None) -> Verdict | None:
        """Classify a state; ``None`` if a job that was ``before`` cannot have come to it."""
        state = parts.get(self.decisive)
        phase = self.phases.get(state, Phase.UNKNOWN) if state else Phase.UNKNOWN
        if before in self.irrevocable and not phase.terminal:
            # A response from a replica that lags behind: the phase cannot be left again.
            return None
        severity = self.severities.get(state) if state else None
        ending = Ending.OPEN
        if phase.terminal and not self.reopens:
            final = not self.final or any(
                all(parts.get(name) in values for name, values in condition.items())
                for condition in self.final
            )
            ending = Ending.FINAL if final else Ending.GRACE
        return Verdict(
            state="/".join(parts.get(name) or UNKNOWN for name in self.describe.state),
            phase=phase,
            severity=severity or _DEFAULT_SEVERITY.get(phase, Severity.INFO),
            ending=ending,
            classified=state is None or state in self.phases,
        )


def _filled(template: Any, values: Mapping[str, str]) -> Any:
    """Put the values into the placeholders of a template, at any depth."""
    match template:
        case str():
            # A name that is not known stays: model_check has reported it when it was read.
            return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), template)
        case dict():
            return {key: _filled(value, values) for key, value in template.items()}
        case list():
            return [_filled(value, values) for value in template]
    return template
