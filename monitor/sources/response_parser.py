"""Answers of AWS become observations: checked, in UTC, and stripped to what may be kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from monitor.aws import lenient_parser
from monitor.aws.unreadable import UNREADABLE
from monitor.model import Job, Observation, Page, SkippedRow
from monitor.sources import sanitize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from monitor.sources.jmespath_check import Expression
    from monitor.sources.job_type import Describe, Field, JobType, Listing, Paging

T = TypeVar("T")

MOST_ROWS = 10_000
"""Rows that a page may have; the largest pages of AWS have a thousand."""

_MOST_TEXTS = 50
_LONGEST_TEXT = 1024 * 1024


class MalformedError(Exception):
    """An answer that cannot be true; ``code`` names the check, and no value is told."""

    def __init__(self, code: str, hint: str) -> None:
        """Say which check failed."""
        super().__init__(f"{code}: {hint}")
        self.code = code
        self.hint = hint


class MissingJobError(Exception):
    """A proper answer that says that there is no such job."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a request was asked, and when its answer was there."""

    asked_at: datetime
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Secrets:
    """What must not reappear: in a name that is kept, and in people's words.

    Where a secret is not ``known``, as it could not be read, no text can be kept.
    """

    whole: tuple[str, ...]
    inner: tuple[str, ...]
    known: bool = True

    @classmethod
    def of(cls, found: Iterable[Any]) -> Secrets:
        """Prepare what the secret members of one answer hold."""
        values = list(found)
        texts = tuple(_strings(values))
        if any(map(_is_unreadable, values)) or any(len(one) > _LONGEST_TEXT for one in texts):
            return cls((), (), known=False)
        return cls(sanitize.needles(texts), sanitize.needles(texts, inner=True))

    def clean(self, value: str, limit: int = sanitize.LIMIT, *, free: bool = False) -> str:
        """Return a text without the secrets; ``free`` says that it is people's words."""
        if not self.known:
            raise MalformedError("BadSecret", "a secret member cannot be read")
        return sanitize.clean(value, self.inner if free else self.whole, limit)


class Reader:
    """Reads the answers for one job type in one account and region.

    ``options`` are the watch's, such as ``include_tracking_number``. Every method
    raises MalformedError where the id or the state cannot be read; what else cannot is left out.
    """

    def __init__(
        self, job_type: JobType, account: str, region: str, options: frozenset[str]
    ) -> None:
        """Know whose answers are read."""
        self._type = job_type
        self._account = account
        self._region = region
        self._options = options

    def observation(self, job: Job, answer: Mapping[str, Any], moment: Moment) -> Observation:
        """Read the answer for one job; raises AbsentError if it says that there is none."""
        how = self._type.describe
        if how.missing_if and how.missing_if(answer):
            raise MissingJobError
        if how.id and how.id(answer) != job.id:
            raise MalformedError("WrongId", "the answer is not for the job that was asked for")
        secrets = Secrets.of(self._secret_values(answer))
        optional = _Optional(how, answer, secrets)
        fields = {
            field.name: value
            for field in self._type.fields
            if (value := optional.read(field.name, self._kept, field, answer, secrets)) is not _LEFT
        }
        return Observation(
            job=job,
            asked_at=moment.asked_at,
            seen_at=moment.seen_at,
            parts=self._parts(how.state, answer, secrets),
            fields=fields,
            reason=optional.reason,
            updated_at=optional.updated_at,
            created_at=optional.created_at,
            unreadable=tuple(optional.unreadable),
        )

    def page(
        self, listing: Listing, answer: Mapping[str, Any], moment: Moment, *, first: bool
    ) -> Page:
        """Read one page; a token that comes again and again is for the caller to notice.

        A row that cannot be read is skipped; a listing whose ``first`` page is the only one, and
        has nothing but such rows, is malformed.
        """
        items = _items(listing, answer)
        token, torn = _next(listing.paging, answer, items) if listing.paging else (None, False)
        rows: list[Observation] = []
        skipped: list[SkippedRow] = []
        for position, item in enumerate(items):
            try:
                rows.append(self._row(listing, item, moment))
            except MalformedError as error:
                if first and token is None and not rows and position == len(items) - 1:
                    raise
                skipped.append(SkippedRow(position, error.code))
        return Page(tuple(rows), token, torn, tuple(skipped))

    def _row(self, listing: Listing, item: Any, moment: Moment) -> Observation:
        job_id = listing.id(item)
        if not isinstance(job_id, str) or not self._type.accepts_id(job_id):
            raise MalformedError("BadRow", "a row has no proper id")
        secrets = Secrets.of(read(item) for read in listing.secrets)
        optional = _Optional(listing, item, secrets)
        return Observation(
            job=Job(self._type.name, self._account, self._region, job_id),
            asked_at=moment.asked_at,
            seen_at=moment.seen_at,
            parts=self._parts(listing.state, item, secrets, partial=not self._type.lists_states),
            fields={},
            reason=optional.reason,
            updated_at=optional.updated_at,
            created_at=optional.created_at,
            unreadable=tuple(optional.unreadable),
        )

    def _parts(
        self, state: Mapping[str, Expression], data: Any, secrets: Secrets, *, partial: bool = False
    ) -> dict[str, str | None]:
        """Read every part of the state, in the declared order."""
        found = {name: read(data) for name, read in state.items()}
        return {
            name: self._part(name, found.get(name), secrets, partial=partial)
            for name in self._type.describe.state
        }

    def _part(self, name: str, value: Any, secrets: Secrets, *, partial: bool) -> str | None:
        if value is None and partial:
            return None
        is_text = isinstance(value, str) and len(value) <= _LONGEST_TEXT
        cleaned = sanitize.clean(value, secrets.whole) if is_text else ""
        if not cleaned:
            raise MalformedError("NoState", f"the answer has no {name}")
        return self._type.normal_part(name, cleaned)

    def _secret_values(self, answer: Mapping[str, Any]) -> Iterator[Any]:
        yield from (read(answer) for read in self._type.describe.secrets)
        shortened = (field for field in self._type.fields if field.form == "last4")
        yield from (one.read(answer) for one in shortened if not self._is_whole(one))

    def _is_whole(self, field: Field) -> bool:
        return field.unless is not None and field.unless in self._options

    def _kept(self, field: Field, answer: Mapping[str, Any], secrets: Secrets) -> Any:
        """Return a field's JSON value; ``None`` where the answer tells nothing."""
        value = field.read(answer)
        if field.form == "count":
            return _count(value)
        if value is None:
            return None
        match "value" if self._is_whole(field) else field.form:
            case "last4":
                return sanitize.clean(_string(value)[-4:])
            case "text":
                return secrets.clean(_string(value), field.max_length, free=True)
            case "texts":
                return _texts(value, secrets, field.max_length)
        return _scalar(value, secrets, field.max_length)


_LEFT: Final = object()
"""Stands for a field that could not be read."""


class _Optional:
    """What an answer, or a row, may tell beside id and state: what cannot be read is left out."""

    def __init__(self, how: Describe | Listing, data: Any, secrets: Secrets) -> None:
        self.unreadable: list[str] = []
        self.reason = self._or_none("reason", _text, how.reason, data, secrets)
        self.updated_at = self._or_none("updated_at", _time, how.updated_at, data)
        self.created_at = self._or_none("created_at", _time, how.created_at, data)

    def read(self, name: str, read: Callable[..., Any], *args: Any) -> Any:
        """Return what ``read`` gives, or note the name and return ``_LEFT``."""
        try:
            return read(*args)
        except MalformedError:
            self.unreadable.append(name)
            return _LEFT

    def _or_none(self, name: str, read: Callable[..., T | None], *args: Any) -> T | None:
        found: T | None = self.read(name, read, *args)
        return None if found is _LEFT else found


def _items(listing: Listing, answer: Mapping[str, Any]) -> list[Any]:
    """Return the rows; a page that only says that it is the last one has none.

    The SDK reads an HTML page or an empty body as an answer without any member, so
    a page that has neither rows nor that word is no page.
    """
    items = listing.items(answer)
    if isinstance(items, list):
        if len(items) > MOST_ROWS:
            raise MalformedError("TooManyRows", f"a page has more than {MOST_ROWS} rows")
        return items
    more = listing.paging and listing.paging.more
    if items is None and more and isinstance(more(answer), bool):
        return []
    raise MalformedError("NoRows", "the answer is not a listing")


def _next(paging: Paging, answer: Any, items: list[Any]) -> tuple[str | None, bool]:
    """Return the next page's token, and whether the page says "more" without saying where."""
    if paging.token is not None:
        token = paging.token(answer)
        return (None if token is None else _string(token)) or None, False
    if not paging.more or paging.more(answer) is not True:
        return None, False
    if paging.last_id is None:
        return None, True
    # The last row may be a bad one; the marker of the one before it leads on as well.
    for marker in map(paging.last_id, reversed(items)):
        if isinstance(marker, str) and marker:
            return marker, False
    return None, True


def _time(read: Expression | None, data: Any) -> datetime | None:
    value = read(data) if read else None
    return None if value is None else utc(value)


def utc(value: Any) -> datetime:
    """Return a time in UTC, whatever time zone the SDK, or this machine, put it in.

    Numbers count seconds or, where that would be in a far future, milliseconds since 1970.
    """
    try:
        moment = value if isinstance(value, datetime) else lenient_parser.moment(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        pass
    raise MalformedError("BadTime", "a time cannot be read")


def _text(read: Expression | None, data: Any, secrets: Secrets) -> str | None:
    value = read(data) if read else None
    return None if value is None else secrets.clean(_string(value), free=True) or None


def _texts(value: Any, secrets: Secrets, limit: int) -> list[str]:
    if not isinstance(value, list):
        raise MalformedError("BadField", "a list was expected")
    return [secrets.clean(_string(one), limit, free=True) for one in value[:_MOST_TEXTS]]


def _count(value: Any) -> int:
    if value is not None and not isinstance(value, list):
        raise MalformedError("BadField", "a list was expected")
    return len(value or ())


def _scalar(value: Any, secrets: Secrets, limit: int) -> Any:
    match value:
        # More than 64 bits have no form in the store, and in most readers of JSON.
        case bool() | int() if -(2**63) <= value < 2**63:
            return value
        case float() if math.isfinite(value):
            return value
        case datetime():
            return utc(value).isoformat().replace("+00:00", "Z")
        case str() if len(value) <= _LONGEST_TEXT:
            return secrets.clean(value, limit)
    raise MalformedError("BadField", "a single value was expected")


def _string(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise MalformedError("BadField", "a text was expected")
    return value


def _is_unreadable(value: Any) -> bool:
    return value is UNREADABLE or (isinstance(value, list) and UNREADABLE in value)


def _strings(values: Iterable[Any]) -> Iterator[str]:
    """Yield every text within some values."""
    for value in values:
        match value:
            case str():
                yield value
            case dict():
                yield from _strings(value.values())
            case list():
                yield from _strings(value)
