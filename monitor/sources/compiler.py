"""The compiler from a checked declaration to the job type that the poll loops use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from monitor.aws.errors import normal_code
from monitor.sources.jmespath_check import parse
from monitor.sources.job_type import (
    EventRule,
    Field,
    JobType,
    MissingRule,
    Paging,
    PhaseRule,
)

if TYPE_CHECKING:
    from monitor.model import Phase
    from monitor.sources.declaration import Declaration, NextForm
    from monitor.sources.jmespath_check import Expression
    from monitor.sources.job_type import DescribeOperation, ListOperation, ParentOperation


def job_type(
    form: Declaration,
    describe: DescribeOperation,
    listings: tuple[ListOperation, ...],
    parents: ParentOperation | None,
) -> JobType:
    """Compile a declaration; its operations are checked and compiled already."""
    rules = [
        PhaseRule(state, maybe(path), phase)
        for phase, entries in form.phases.items()
        for entry in entries
        for state, path in (entry.items() if isinstance(entry, dict) else [(entry, None)])
    ]
    conditional = frozenset(rule.state for rule in rules if rule.when)
    phases: dict[str, Phase] = {}
    # What a state means where no condition holds comes before what it means where one does.
    for rule in sorted(rules, key=lambda one: one.when is not None):
        phases.setdefault(rule.state, rule.phase)
    events = None
    if (given := form.events) is not None:
        # A single path reads the whole id.
        paths = given.id if isinstance(given.id, dict) else {next(iter(form.id.parts)): given.id}
        ids = {name: parse(path) for name, path in paths.items()}
        events = EventRule(given.source, given.detail_type, ids)
    return JobType(
        name=form.name,
        service=form.service,
        description=form.description,
        region=form.region,
        regions=tuple(form.regions),
        interval=form.interval,
        rate=form.quota.rate,
        burst=form.quota.burst,
        id_pattern=re.compile(form.id.whole_pattern),
        id_max_length=form.id.max_length,
        describe=describe,
        listings=listings,
        parents=parents,
        events=events,
        decisive=form.decisive,
        phases=phases,
        rules=tuple(rule for rule in rules if rule.state in conditional),
        conditional=conditional,
        revealed=tuple(form.reveal),
        aliases=form.aliases,
        severities=form.severity,
        errors={normal_code(code): parts for code, parts in form.errors.items()},
        missing=tuple(MissingRule(normal_code(one.code), maybe(one.where)) for one in form.missing),
        irrevocable=frozenset(form.irrevocable),
        reopens=form.reopens,
        final=tuple({k: frozenset(v) for k, v in one.items()} for one in form.final),
        grace=form.grace,
        grace_interval=form.grace_interval,
        fields=tuple(
            Field(name, parse(one.path), one.as_, one.max_length, one.watch, one.unless)
            for name, one in form.fields.items()
        ),
        console_url=form.console_url,
    )


def maybe(path: str | None) -> Expression | None:
    """Compile an expression, if there is one."""
    return None if path is None else parse(path)


def paging(form: NextForm | None) -> Paging | None:
    """Compile the way to the next page, if there is one."""
    if form is None:
        return None
    return Paging(form.param, maybe(form.path), maybe(form.last_id), maybe(form.more))
