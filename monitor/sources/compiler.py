"""A declaration that was found good becomes the job type that the loops work with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from monitor.aws.errors import normal_code
from monitor.sources.jmespath_check import parse
from monitor.sources.job_type import Describe, Field, JobType, Listing, Paging, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from monitor.sources.declaration import Declaration, ListForm
    from monitor.sources.jmespath_check import Expression


def job_type(
    form: Declaration, secrets: tuple[Expression, ...], row_secrets: tuple[Expression, ...]
) -> JobType:
    """Compile a declaration; the expressions read what an answer, or a row, must not tell."""
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
        describe=_describe(form, secrets),
        listing=_listing(form.listing, row_secrets),
        decisive=form.decisive,
        phases={state: phase for phase, states in form.phases.items() for state in states},
        aliases=form.aliases,
        severities=form.severity,
        errors={normal_code(code): parts for code, parts in form.errors.items()},
        missing=tuple(Refusal(normal_code(one.code), _maybe(one.where)) for one in form.missing),
        irrevocable=frozenset(form.irrevocable),
        reopens=form.reopens,
        final=tuple({k: frozenset(v) for k, v in one.items()} for one in form.final),
        grace=form.grace,
        grace_interval=form.grace_interval,
        fields=tuple(_fields(form)),
    )


def _maybe(path: str | None) -> Expression | None:
    return None if path is None else parse(path)


def _all(paths: Mapping[str, str]) -> dict[str, Expression]:
    return {name: parse(path) for name, path in paths.items()}


def _describe(form: Declaration, secrets: tuple[Expression, ...]) -> Describe:
    return Describe(
        operation=form.describe.operation,
        params=form.describe.params,
        id=_maybe(form.id.path),
        missing_if=_maybe(form.describe.missing_if),
        state=_all(form.state),
        updated_at=_maybe(form.updated_at),
        created_at=_maybe(form.created_at),
        reason=_maybe(form.reason),
        secrets=secrets,
    )


def _fields(form: Declaration) -> Iterable[Field]:
    for name, one in form.fields.items():
        yield Field(name, parse(one.path), one.as_, one.max_length, one.watch, one.unless)


def _listing(form: ListForm | None, secrets: tuple[Expression, ...]) -> Listing | None:
    if form is None:
        return None
    size: dict[str, Any] = {form.page_size.param: form.page_size.value} if form.page_size else {}
    return Listing(
        operation=form.operation,
        params={**form.params, **size},
        page_size=form.page_size.value if form.page_size else None,
        items=parse(form.items),
        id=parse(form.id),
        state=_all(form.state),
        updated_at=_maybe(form.updated_at),
        created_at=_maybe(form.created_at),
        reason=_maybe(form.reason),
        secrets=secrets,
        paging=_paging(form),
    )


def _paging(form: ListForm) -> Paging | None:
    following = form.next
    if following is None:
        return None
    return Paging(
        following.param,
        _maybe(following.path),
        _maybe(following.last_id),
        _maybe(following.more),
    )
