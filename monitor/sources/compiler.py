"""The compiler from a checked declaration to the job type that the poll loops use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from monitor.aws.errors import normal_code
from monitor.sources.jmespath_check import parse
from monitor.sources.job_type import (
    DescribeOperation,
    Field,
    JobType,
    ListOperation,
    MissingRule,
    Paging,
)

if TYPE_CHECKING:
    from monitor.sources.declaration import Declaration, ListForm
    from monitor.sources.jmespath_check import Expression


def job_type(
    form: Declaration, secrets: tuple[Expression, ...], row_secrets: tuple[Expression, ...]
) -> JobType:
    """Compile a declaration; the expressions read the secrets of a response, and of a row."""
    return JobType(
        name=form.name,
        service=form.service,
        description=form.description,
        region=form.region,
        regions=tuple(form.regions),
        interval=form.interval,
        rate=form.quota.rate,
        burst=form.quota.burst,
        id_pattern=re.compile(form.id.pattern),
        id_max_length=form.id.max_length,
        describe=DescribeOperation(
            operation=form.describe.operation,
            params=form.describe.params,
            id=_maybe(form.id.path),
            missing_if=_maybe(form.describe.missing_if),
            state={name: parse(path) for name, path in form.state.items()},
            updated_at=_maybe(form.updated_at),
            created_at=_maybe(form.created_at),
            reason=_maybe(form.reason),
            secrets=secrets,
        ),
        listing=_listing(form.listing, row_secrets),
        decisive=form.decisive,
        phases={state: phase for phase, states in form.phases.items() for state in states},
        aliases=form.aliases,
        severities=form.severity,
        errors={normal_code(code): parts for code, parts in form.errors.items()},
        missing=tuple(
            MissingRule(normal_code(one.code), _maybe(one.where)) for one in form.missing
        ),
        irrevocable=frozenset(form.irrevocable),
        reopens=form.reopens,
        final=tuple({k: frozenset(v) for k, v in one.items()} for one in form.final),
        grace=form.grace,
        grace_interval=form.grace_interval,
        fields=tuple(
            Field(name, parse(one.path), one.as_, one.max_length, one.watch, one.unless)
            for name, one in form.fields.items()
        ),
    )


def _maybe(path: str | None) -> Expression | None:
    return None if path is None else parse(path)


def _listing(form: ListForm | None, secrets: tuple[Expression, ...]) -> ListOperation | None:
    if form is None:
        return None
    following = form.next
    size: dict[str, Any] = {form.page_size.param: form.page_size.value} if form.page_size else {}
    return ListOperation(
        operation=form.operation,
        params={**form.params, **size},
        page_size=form.page_size.value if form.page_size else None,
        items=parse(form.items),
        id=parse(form.id),
        state={name: parse(path) for name, path in form.state.items()},
        updated_at=_maybe(form.updated_at),
        created_at=_maybe(form.created_at),
        reason=_maybe(form.reason),
        secrets=secrets,
        paging=None
        if following is None
        else Paging(
            following.param,
            _maybe(following.path),
            _maybe(following.last_id),
            _maybe(following.more),
        ),
    )
