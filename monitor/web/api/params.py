"""Query parameters, bodies and cursors: read, and refused with every mistake named."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from heapq import nlargest, nsmallest
from typing import TYPE_CHECKING, Any, TypeVar, get_origin

import anyio
import orjson
from aiohttp import hdrs, web
from pydantic import (
    ValidationError,
)

from monitor import logs
from monitor.web.api.forms import (
    LARGEST,
    Form,
    Glob,
    Limit,
    Position,
    Seconds,
    Since,
    Text,
)
from monitor.web.problems import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Item = TypeVar("Item")
Asked = TypeVar("Asked", bound="Form")

__all__ = [
    "LARGEST",
    "Form",
    "Glob",
    "Limit",
    "Position",
    "Seconds",
    "Since",
    "Text",
    "body",
    "is_position",
    "json",
    "no_cursor",
    "page",
    "query",
]

BODY_WITHIN = 15.0
"""Seconds that a client may take to send a body."""
_DIGITS = len(str(LARGEST))


def is_position(text: str) -> bool:
    """Return True if ``text`` is a position of a ledger; one too long for ``int`` is none."""
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) <= LARGEST


def query(form: type[Asked], request: web.Request) -> Asked:
    """Read the query parameters; raise RefusedError (400) with every mistake."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(request.query):
        values = request.query.getall(name)
        field = form.model_fields.get(name)
        several = field is not None and get_origin(field.annotation) is list
        if not several and len(values) > 1:
            raise _mistaken([{"name": name, "message": "is given more than once"}], 400)
        found[name] = values if several else values[0]
    return _read(form, found, 400)


async def body(form: type[Asked], request: web.Request) -> Asked:
    """Read the JSON body; raise RefusedError (400 if it is not JSON, 422 if it is wrong)."""
    return _read(form, await json(request), 422)


async def json(request: web.Request) -> dict[str, Any]:
    """Read a body that is a JSON object; raise RefusedError (400, 408 or 422) if it is none."""
    try:
        with anyio.fail_after(BODY_WITHIN) as limit:
            content = await request.read()
    except (OSError, web.RequestPayloadError) as error:
        # A time-out of the connection is an error of the same class.
        if limit.cancelled_caught:
            message = f"the body did not arrive within {BODY_WITHIN:.0f} s"
            raise RefusedError(408, message, headers={hdrs.CONNECTION: "close"}) from None
        logs.get().debug(logs.REQUEST_ABORTED, path=request.path, error=type(error).__name__)
        raise RefusedError(400, "the body did not arrive whole") from None
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise RefusedError(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise RefusedError(422, "the body must be a JSON object")
    return value


def _read(form: type[Asked], value: dict[str, Any], status: int) -> Asked:
    try:
        return form.model_validate(value)
    except ValidationError as error:
        mistakes = []
        for detail in error.errors():
            name = ".".join(map(str, detail["loc"]))[:100].encode("utf-8", "replace").decode()
            message = str(detail["msg"]).removeprefix("Value error, ")
            if detail["type"] == "extra_forbidden":
                message = "is not known here"
                if len(detail["loc"]) == 1:
                    message += f"; there are {', '.join(form.model_fields) or 'none'}"
            mistakes.append({"name": name, "message": message[:1].lower() + message[1:]})
        raise _mistaken(mistakes, status) from None


def _mistaken(errors: Sequence[dict[str, str]], status: int) -> RefusedError:
    first = errors[0]
    return RefusedError(status, f"{first['name']} {first['message']}", errors=errors)


def page(
    items: Iterable[Item],
    rank: Callable[[Item], tuple[Any, ...]],
    *,
    sort: str,
    limit: int,
    cursor: str | None,
) -> tuple[list[Item], str | None]:
    """Return the items after ``cursor`` in the order ``sort``, and the cursor after them.

    ``rank`` gives JSON values that no two items share. A ``sort`` that begins with a dash
    is descending. What changes its place between two pages may be seen twice or not at all;
    what keeps it is seen once.

    Raises:
        RefusedError: the cursor is none, or is of another order.
    """
    down = sort.startswith("-")
    ranked = [(rank(item), item) for item in items]
    last = None if cursor is None else rank_of(cursor, sort)
    try:
        found = first_of(ranked, after=last, down=down, limit=limit + 1)
    except TypeError:
        raise no_cursor() from None
    shown = [item for _, item in found[:limit]]
    return shown, cursor_after(sort, found[limit - 1][0]) if len(found) > limit else None


def rank_of(cursor: str, sort: str) -> tuple[Any, ...]:
    """Return the rank after which a page begins.

    Raises:
        RefusedError: the cursor is none, or is of another order.
    """
    try:
        value = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        raise no_cursor() from None
    # The order is part of a cursor: in another one the same place means other items.
    if not isinstance(value, list) or value[:1] != [sort]:
        raise no_cursor()
    return tuple(value[1:])


def cursor_after(sort: str, rank: tuple[Any, ...]) -> str:
    """Return the cursor of the page after a rank."""
    return urlsafe_b64encode(orjson.dumps([sort, *rank])).decode().rstrip("=")


def first_of(
    ranked: Iterable[tuple[tuple[Any, ...], Item]],
    *,
    after: tuple[Any, ...] | None,
    down: bool,
    limit: int,
) -> list[tuple[tuple[Any, ...], Item]]:
    """Return the first items after a rank, in order, each with its rank."""
    if after is not None:
        ranked = [one for one in ranked if (one[0] < after if down else one[0] > after)]
    # Not sorted whole: a sort of a hundred thousand would hold up the event loop, too.
    return (nlargest if down else nsmallest)(limit, ranked, key=lambda one: one[0])


def no_cursor() -> RefusedError:
    """Refuse a cursor."""
    message = "is not one that a page of this listing gave, in this order"
    return _mistaken([{"name": "cursor", "message": message}], 400)
