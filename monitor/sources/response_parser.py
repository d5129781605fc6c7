"""The parser of AWS responses: it checks them, and keeps only declared fields, in UTC."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from monitor.aws import lenient_parser
from monitor.aws.unreadable import UNREADABLE
from monitor.model import (
    PHASE_PART,
    Job,
    Observation,
    Page,
    ParentPage,
    SkippedRow,
    shared_fields,
    shared_text,
)
from monitor.sources import sanitize

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from monitor.sources.jmespath_check import Expression
    from monitor.sources.job_type import (
        Field,
        ItemForm,
        JobType,
        ListOperation,
        Paging,
        ParentOperation,
    )

MOST_ROWS = 10_000
"""Rows that a page may have; the largest AWS pages have a thousand."""

_CONTENT_TYPES = frozenset({
    "application/cbor", "application/json", "application/x-amz-json-1.0",
    "application/x-amz-json-1.1", "application/xml", "text/xml",
})  # fmt: skip
_MOST_TEXTS = 50
_LONGEST_TEXT = 1024 * 1024


class MalformedError(Exception):
    """A response that fails a check; ``code`` names the check, and no value is shown."""

    def __init__(self, code: str, hint: str) -> None:
        """Take the failed check and a hint that quotes nothing."""
        super().__init__(f"{code}: {hint}")
        self.code = code
        self.hint = hint


class MissingJobError(Exception):
    """A valid response that says that the job does not exist."""


class UnprocessedJobError(Exception):
    """A valid response that leaves a job out, and says that it may show it later."""


JobError: TypeAlias = MalformedError | MissingJobError | UnprocessedJobError
"""Why a response shows nothing of a job that it was asked for."""


@dataclass(frozen=True, slots=True)
class PollTimes:
    """The times when a request was sent and when its response was complete."""

    asked_at: datetime
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Secrets:
    """Texts that must not reappear: ``whole`` in names, ``inner`` in free text.

    Where a secret is not ``known``, as it could not be read, no text can be kept.
    """

    whole: tuple[str, ...]
    inner: tuple[str, ...]
    known: bool = True

    @classmethod
    def of(cls, found: Iterable[Any]) -> Secrets:
        """Prepare the values of the secret members of one response."""
        values = list(found)
        texts = tuple(_strings(values))
        unreadable = any(
            value is UNREADABLE or (isinstance(value, list) and UNREADABLE in value)
            for value in values
        )
        if unreadable or any(len(one) > _LONGEST_TEXT for one in texts):
            return cls((), (), known=False)
        return cls(sanitize.needles(texts), sanitize.needles(texts, inner=True))

    def clean(self, value: str, limit: int = sanitize.LIMIT, *, free: bool = False) -> str:
        """Return a text without the secrets; ``free`` marks free text."""
        if not self.known:
            raise MalformedError("BadSecret", "a secret member cannot be read")
        return sanitize.clean(value, self.inner if free else self.whole, limit)


class ResponseParser:
    """Parses the responses for one job type in one account and region.

    ``options`` are the watch's, such as ``include_tracking_number``. Every method
    raises MalformedError where the id or state is unreadable, and leaves out other such fields.
    """

    def __init__(
        self, job_type: JobType, account: str, region: str, options: frozenset[str]
    ) -> None:
        """Bind the parser to a job type, account and region."""
        self._type = job_type
        self._account = account
        self._region = region
        self._options = options

    def observations(
        self, jobs: Sequence[Job], response: Mapping[str, Any], times: PollTimes
    ) -> Iterator[tuple[Job, Observation | JobError]]:
        """Yield what the response for ``jobs`` shows of each of them."""
        how = self._type.describe
        if how.missing_if and how.missing_if(response):
            yield from ((job, MissingJobError()) for job in jobs)
            return
        found = how.items(response) if how.items else response
        if not how.many:
            yield from ((job, self._answer(job, found, times)) for job in jobs)
            return
        wanted = {self._repeated(self._type.parts(job.id)): job for job in jobs}
        # Those that nobody asked for are under None; so is a value that is not a list.
        shown: dict[Job | None, list[Any]] = {}
        for item in found if isinstance(found, list) else (None,):
            job = wanted.get(self._repeated(_read_all(how.item.id, item)))
            shown.setdefault(job, []).append(item)
        for asked in jobs:
            items = shown.get(asked, [])
            if any(item != items[0] for item in items):
                yield asked, MalformedError("TwoAnswers", "the response shows the job in two ways")
            elif items:
                yield asked, self._answer(asked, items[0], times)
            else:
                yield asked, self._left_out(asked, response, strange=None in shown)

    def _left_out(self, job: Job, response: Mapping[str, Any], *, strange: bool) -> JobError:
        """Return why the items of a response lack a job; ``strange`` if one is of no such job."""
        read = self._type.describe.unprocessed
        later = read(response) if read else None
        if isinstance(later, list) and any(
            part in later for part in self._repeated(self._type.parts(job.id)) if part
        ):
            return UnprocessedJobError()
        if strange:
            # One of the items may be this job's, under an id that nobody expects.
            return MalformedError("WrongId", "the response is for another job")
        return MissingJobError()

    def _repeated(self, parts: Mapping[str, Any]) -> tuple[str | None, ...]:
        """Return those parts of an id that an item repeats; none that is not a text."""
        repeated = (name for name, read in self._type.describe.item.id.items() if read)
        values = (parts.get(name) for name in repeated)
        return tuple(value if isinstance(value, str) else None for value in values)

    def _answer(self, job: Job, item: Any, times: PollTimes) -> Observation | JobError:
        try:
            return self._item(job, item, times)
        except MalformedError as error:
            return error

    def _item(self, job: Job, item: Any, times: PollTimes) -> Observation:
        """Parse the item of one job."""
        how = self._type.describe.item
        if self._repeated(_read_all(how.id, item)) != self._repeated(self._type.parts(job.id)):
            raise MalformedError("WrongId", "the response is for another job")
        # A number that is shortened to its last four digits may stand whole in free text.
        shortened = [
            field.read
            for field in self._type.fields
            if field.form == "last4" and not self._is_whole(field)
        ]
        secrets = Secrets.of(read(item) for read in (*how.secrets, *shortened))
        parts = self._parts(how, item, secrets)
        found = self._observation(job, how, item, times, secrets, parts)
        fields, unreadable = {}, list(found.unreadable)
        for field in self._type.fields:
            try:
                fields[field.name] = self._field(field, item, secrets)
            except MalformedError:
                unreadable.append(field.name)
        return replace(found, fields=shared_fields(fields), unreadable=tuple(unreadable))

    def page(
        self,
        listing: ListOperation,
        response: Mapping[str, Any],
        times: PollTimes,
        *,
        first: bool,
        parent: str | None = None,
    ) -> Page:
        """Parse one page; the caller must notice a token that repeats.

        An unreadable row is skipped. A listing is malformed if its ``first`` page is the only
        one and has only such rows.
        """
        items = _items(listing.items, listing.paging, response)
        token, torn = _next(listing.paging, response, items) if listing.paging else (None, False)
        rows: list[Observation] = []
        skipped: list[SkippedRow] = []
        for position, item in enumerate(items):
            try:
                rows.append(self._row(listing, item, times, parent))
            except MalformedError as error:
                if first and token is None and not rows and position == len(items) - 1:
                    raise
                skipped.append(SkippedRow(position, error.code))
        return Page(tuple(rows), token, torn, tuple(skipped))

    def parents(self, form: ParentOperation, response: Mapping[str, Any]) -> ParentPage:
        """Parse one page of the names of parents; anything but text is left out."""
        items = _items(form.items, form.paging, response)
        token, torn = _next(form.paging, response, items) if form.paging else (None, False)
        texts = [item for item in items if isinstance(item, str) and item]
        # No id of a job can hold the others, so they are not worth a listing.
        names = tuple(text for text in texts if text.isprintable())
        return ParentPage(names, token, torn or len(texts) < len(items))

    def _row(
        self, listing: ListOperation, item: Any, times: PollTimes, parent: str | None
    ) -> Observation:
        parts = _read_all(listing.row.id, item)
        if "id" in parts:
            whole = parts["id"]
            job_id = whole if isinstance(whole, str) and self._type.accepts_id(whole) else None
        else:
            if listing.parent in parts:
                parts[listing.parent] = parts[listing.parent] or parent
            job_id = self._type.join(parts)
        if job_id is None:
            raise MalformedError("BadRow", "a row has no valid id")
        secrets = Secrets.of(read(item) for read in listing.row.secrets)
        state = self._parts(listing.row, item, secrets, partial=not listing.lists_states)
        job = Job(self._type.name, self._account, self._region, job_id)
        found = self._observation(job, listing.row, item, times, secrets, state)
        return replace(found, parent=parent) if listing.parent else found

    def _observation(
        self,
        job: Job,
        form: ItemForm,
        data: Any,
        times: PollTimes,
        secrets: Secrets,
        parts: dict[str, str | None],
    ) -> Observation:
        """Read what a response and a row may both have beside the id and the state."""
        found: dict[str, Any] = {}
        unreadable: list[str] = []
        for name, read in (
            ("reason", form.reason),
            ("updated_at", form.updated_at),
            ("created_at", form.created_at),
        ):
            value = read(data) if read else None
            try:
                if value is not None and name == "reason":
                    found[name] = shared_text(secrets.clean(_string(value), free=True)) or None
                elif value is not None:
                    found[name] = utc(value)
            except MalformedError:
                unreadable.append(name)
        return Observation(
            job=job,
            asked_at=times.asked_at,
            seen_at=times.seen_at,
            parts=parts,
            fields={},
            unreadable=tuple(unreadable),
            **found,
        )

    def _parts(
        self, form: ItemForm, data: Any, secrets: Secrets, *, partial: bool = False
    ) -> dict[str, str | None]:
        """Read every part of the state, in the declared order, and a conditional phase."""
        parts: dict[str, str | None] = {}
        for name in self._type.describe.item.state:
            value: Any = form.state[name](data) if name in form.state else None
            if value is None and partial:
                parts[name] = None
                continue
            cleaned = ""
            if isinstance(value, str) and (
                value in self._type.phases or value in self._type.aliases
            ):
                # Known to all, so no secret, even if the text of some query is the same word.
                cleaned = value
            elif isinstance(value, str) and len(value) <= _LONGEST_TEXT:
                cleaned = sanitize.clean(value, secrets.whole)
            if not cleaned:
                raise MalformedError("NoState", f"the response has no {name}")
            parts[name] = self._type.normal_part(name, cleaned)
        state = parts[self._type.decisive]
        if state is not None and state in self._type.conditional:
            parts[PHASE_PART] = self._type.phase_of(state, data) if form.shows_phase else None
        return parts

    def _is_whole(self, field: Field) -> bool:
        return field.unless is not None and field.unless in self._options

    def _field(self, field: Field, response: Mapping[str, Any], secrets: Secrets) -> Any:
        """Return a field's JSON value; ``None`` where the response has none."""
        value, limit = field.read(response), field.max_length
        form = "value" if self._is_whole(field) and field.form != "count" else field.form
        if value is None:
            return 0 if form == "count" else None
        if form in {"count", "texts"} and not isinstance(value, list):
            raise MalformedError("BadField", "a list was expected")
        match form:
            case "count":
                return len(value)
            case "last4":
                return sanitize.clean(_string(value)[-4:])
            case "text":
                return secrets.clean(_string(value), limit, free=True)
            case "texts":
                return [
                    secrets.clean(_string(one), limit, free=True) for one in value[:_MOST_TEXTS]
                ]
        return _scalar(value, secrets, limit)


def _read_all(form: Mapping[str, Expression | None], item: Any) -> dict[str, Any]:
    """Read the parts of an id that an item has."""
    return {name: read(item) if read else None for name, read in form.items()}


def _items(read: Expression, paging: Paging | None, response: Mapping[str, Any]) -> list[Any]:
    """Return the rows; a page that only says that it is the last one has none."""
    items = read(response)
    if isinstance(items, list):
        if len(items) > MOST_ROWS:
            raise MalformedError("TooManyRows", f"a page has more than {MOST_ROWS} rows")
        return items
    # The SDK reads an HTML page or an empty body as a response without any member, so a page
    # needs rows, a word on whether more follow, or the head of a response of AWS.
    more = paging.more(response) if paging and paging.more else None
    token = paging.token(response) if paging and paging.token else None
    if items is None and (isinstance(more, bool) or token or _has_content(response)):
        return []
    raise MalformedError("NoRows", "the response is not a listing")


def _has_content(response: Mapping[str, Any]) -> bool:
    """Return whether AWS sent a body of its own kind, in which a list may just be left out."""
    head = response.get("ResponseMetadata", {})
    headers = head.get("HTTPHeaders", {})
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    empty = headers.get("content-length") == "0"
    return bool(head.get("RequestId")) and not empty and kind in _CONTENT_TYPES


def _next(paging: Paging, response: Any, items: list[Any]) -> tuple[str | None, bool]:
    """Return the next page's token, and whether the page says "more" without a marker."""
    if paging.token is not None:
        token = paging.token(response)
        return (None if token is None else _string(token)) or None, False
    if not paging.more or paging.more(response) is not True:
        return None, False
    if paging.last_id is None:
        return None, True
    # The last row may be unreadable; the marker of the row before it works as well.
    for marker in map(paging.last_id, reversed(items)):
        if isinstance(marker, str) and marker:
            return marker, False
    return None, True


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
