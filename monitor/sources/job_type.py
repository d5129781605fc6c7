"""A kind of AWS job, as declared: its requests, its fields, and the meaning of its states."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from monitor.aws.errors import normal_code
from monitor.model import PHASE_PART, Ending, Phase, Severity, Verdict
from monitor.sources import console_url

if TYPE_CHECKING:
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
class PhaseRule:
    """A phase that a state means where ``when`` holds of the item, or always without it."""

    state: str
    when: Expression | None
    phase: Phase


@dataclass(frozen=True, slots=True)
class ItemForm:
    """The expressions that read one item of a describe, or one row of a listing.

    ``id`` has the parts of the id with their expressions; ``None`` is a part that is known
    otherwise: from the request, or from the parent. ``shows_phase`` is set where the item has
    all that conditional phases need.
    """

    id: Mapping[str, Expression | None]
    state: Mapping[str, Expression]
    updated_at: Expression | None
    created_at: Expression | None
    reason: Expression | None
    secrets: tuple[Expression, ...]
    shows_phase: bool = True


@dataclass(frozen=True, slots=True)
class DescribeOperation:
    """The request for one job or several, and the items of its response.

    Without ``items`` the whole response is the item. ``many`` is set where they are a list,
    ``slot`` is the place in ``params`` that takes up to ``at_once`` ids.
    """

    operation: str
    params: Mapping[str, Any]
    items: Expression | None
    many: bool
    at_once: int
    slot: tuple[str | int, ...]
    missing_if: Expression | None
    unprocessed: Expression | None
    item: ItemForm


@dataclass(frozen=True, slots=True)
class Paging:
    """The way to the next page: by the page's token, or by its last row."""

    param: str
    token: Expression | None
    last_id: Expression | None
    more: Expression | None


@dataclass(frozen=True, slots=True)
class ListOperation:
    """The request for a page of ``page_size`` jobs if set, and the expressions for a row.

    ``parent`` names the kind of parent that it is sent for, and the placeholder that it fills.
    ``lists_states`` is set if a row shows the state. A row may still not show what a conditional
    phase needs; then that row is not the whole.
    """

    operation: str
    parent: str | None
    params: Mapping[str, Any]
    page_size: int | None
    items: Expression
    row: ItemForm
    paging: Paging | None
    lists_states: bool

    @property
    def windowed(self) -> bool:
        """Whether it leaves out jobs that are older than the last sweep."""
        return "{since" in str(self.params)

    @property
    def listed(self) -> str:
        """The request in one comparable form."""
        return json.dumps([self.operation, self.params], sort_keys=True, default=str)


@dataclass(frozen=True, slots=True)
class ParentOperation:
    """The request for a page of parents; ``items`` reads their names."""

    operation: str
    params: Mapping[str, Any]
    items: Expression
    paging: Paging | None


@dataclass(frozen=True, slots=True)
class EventRule:
    """The EventBridge events that concern a job; ``id`` reads the parts of its id from one."""

    source: str
    detail_type: str
    id: Mapping[str, Expression]


@dataclass(frozen=True, slots=True)
class Number:
    """A placeholder in a parameter that takes a number."""

    template: str


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
    listings: tuple[ListOperation, ...]
    parents: ParentOperation | None
    events: EventRule | None
    decisive: str
    phases: Mapping[str, Phase]
    rules: tuple[PhaseRule, ...]
    """Those of the states in ``conditional``, in the order of the declaration."""
    conditional: frozenset[str]
    revealed: tuple[str, ...]
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
    console_url: str | None = None
    """The template of a link to a job in the AWS console."""
    warnings: tuple[Problem, ...] = ()
    """Problems that may be intended, but leave jobs out."""

    @property
    def describe_operation(self) -> str:
        """The operation that describes one job."""
        return self.describe.operation

    @property
    def at_once(self) -> int:
        """The most jobs that share a describe."""
        return self.describe.at_once

    @property
    def list_operations(self) -> tuple[str, ...]:
        """The operations that list jobs, and their parents."""
        every = [self.parents.operation] if self.parents else []
        return tuple(dict.fromkeys((*every, *(one.operation for one in self.listings))))

    @property
    def parent(self) -> str | None:
        """The kind of parent that jobs are listed for, such as ``cluster``."""
        return next((one.parent for one in self.listings if one.parent), None)

    @property
    def parent_operation(self) -> str | None:
        """The operation that lists the parents, if there is one."""
        return self.parents.operation if self.parents else None

    @property
    def polls_by_sweep(self) -> bool:
        """Whether a sweep shows the whole state of every open job, so that none is described."""
        listings = self.listings
        return bool(listings) and all(one.lists_states and not one.windowed for one in listings)

    @property
    def state_globs(self) -> Mapping[str, Phase]:
        """Patterns of its states, with ``*`` for a part that may be any text."""
        phases = {**self.phases, UNKNOWN: Phase.UNKNOWN}
        return {
            "/".join(
                state if name == self.decisive else "*" for name in self.describe.item.state
            ): phase
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
        # A NUL or half of a pair of surrogates has no form in a store, in JSON or on a terminal.
        legible = len(job_id) <= self.id_max_length and job_id.isprintable()
        return legible and bool(self.id_pattern.fullmatch(job_id))

    @property
    def id_form(self) -> str:
        """What an id looks like, for people: its parts, or else its pattern."""
        parts = self.describe.item.id
        return "/".join(map(str.upper, parts)) if len(parts) > 1 else self.id_pattern.pattern

    def parts(self, job_id: str) -> Mapping[str, str]:
        """Return the parts and groups of an id; ``accepts_id`` must hold for it."""
        match = self.id_pattern.fullmatch(job_id)
        # A group that takes no part in the match would be None, which no parameter can hold.
        groups = match.groupdict(default="") if match else {}
        own = self.describe.item.id
        return {**dict.fromkeys(own, job_id), **groups, "id": job_id} if len(own) == 1 else groups

    def join(self, parts: Mapping[str, Any]) -> str | None:
        """Return the id that ``parts`` make, if all are there and it is valid."""
        found = ((name, parts.get(name)) for name in self.describe.item.id)
        texts = {name: text for name, text in found if isinstance(text, str) and text}
        if len(texts) < len(self.describe.item.id):
            return None
        job_id = "/".join(texts.values())
        # A slash in a part may split the id elsewhere; then it would be the id of another job.
        split = self.parts(job_id).items() if self.accepts_id(job_id) else ()
        return job_id if texts.items() <= set(split) else None

    def params(self, *job_ids: str) -> Mapping[str, Any]:
        """Return the parameters that describe jobs; ``accepts_id`` must hold for each id.

        Several ids must have the same ``request_key``.
        """
        each = [filled(self.describe.params, self._values(job_id)) for job_id in job_ids]
        params: dict[str, Any] = each[0]
        if len(each) > 1:
            _at(params, self.describe.slot)[:] = [_at(one, self.describe.slot)[0] for one in each]
        return params

    def console_link(
        self, job_id: str, region: str, account_id: str | None, fields: Mapping[str, Any]
    ) -> str | None:
        """Return the link to a job in the AWS console, if there is one and all of it is known."""
        # The id may be one that an earlier form of this type accepted.
        if self.console_url is None or not self.accepts_id(job_id):
            return None
        kept = {name: value for name, value in fields.items() if isinstance(value, str)}
        values = {**kept, **self._values(job_id), "account": account_id}
        return console_url.fill(self.console_url, region, values)

    def request_key(self, job_id: str) -> str:
        """Return what jobs that share a describe have in common."""
        params = filled(self.describe.params, self._values(job_id))
        if self.describe.slot:
            _at(params, self.describe.slot).clear()
        return json.dumps(params, sort_keys=True, default=str)

    def _values(self, job_id: str) -> Mapping[str, str]:
        return {**self.parts(job_id), "id": job_id}

    def normal_part(self, name: str, value: str) -> str:
        """Return the preferred spelling of a state."""
        return self.aliases.get(value, value) if name == self.decisive else value

    def parts_from_error(self, code: str) -> Mapping[str, str | None] | None:
        """Return the parts of the state that an error stands for, if it is declared so."""
        given = self.errors.get(normal_code(code))
        if given is None:
            return None
        parts = {name: given.get(name) for name in self.describe.item.state}
        state = parts[self.decisive]
        if state is not None and state in self.conditional:
            parts[PHASE_PART] = self.phase_of(state, {})
        return parts

    def means_missing(self, code: str, response: Mapping[str, Any]) -> bool:
        """Return whether an error, its ``code`` normalised, means that the job does not exist."""
        return any(
            rule.code == code and (not rule.where or rule.where(response)) for rule in self.missing
        )

    def phase_of(self, state: str, item: Any) -> Phase:
        """Return the phase of a conditional state: the first rule that holds counts."""
        holding = (
            rule.phase
            for rule in self.rules
            if rule.state == state and (rule.when is None or rule.when(item))
        )
        return next(holding, Phase.UNKNOWN)

    def judge(self, parts: Mapping[str, str | None], before: Phase | None) -> Verdict | None:
        """Classify a state; ``None`` if a job that was ``before`` cannot have come to it."""
        state = parts.get(self.decisive)
        if state in self.conditional:
            # What the conditions made of the item; a row may not have shown what they need.
            phase = Phase(parts.get(PHASE_PART) or Phase.UNKNOWN)
        else:
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
            state="/".join(parts.get(name) or UNKNOWN for name in self.describe.item.state),
            phase=phase,
            severity=severity or _DEFAULT_SEVERITY.get(phase, Severity.INFO),
            ending=ending,
            # Of a state that has conditions alone, none may hold.
            classified=state is None
            or (state in self.phases and parts.get(PHASE_PART) != Phase.UNKNOWN),
        )


def filled(template: Any, values: Mapping[str, str]) -> Any:
    """Put the values into the placeholders of a template, at any depth."""
    match template:
        case str():
            # A name that is not known stays: model_check has reported it when it was read.
            return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), template)
        case Number():
            text = filled(template.template, values)
            return int(text) if text.isdecimal() else text
        case Mapping():
            return {key: filled(value, values) for key, value in template.items()}
        case list():
            return [filled(value, values) for value in template]
    return template


def _at(params: Any, slot: tuple[str | int, ...]) -> Any:
    for key in slot:
        params = params[key]
    return params
