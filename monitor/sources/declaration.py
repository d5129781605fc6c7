"""The YAML form of a job type (docs/job-types.md explains it to its users)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from monitor.config import Duration, QuotaSettings, Section
from monitor.model import Phase, Severity
from monitor.sources import jmespath_check, sanitize

_PLAIN_PATH = re.compile(r"\w+(\[-?\d*\])?(\.\w+(\[-?\d*\])?)*")


def _named_parts(value: Any) -> Any:
    """Read ``state: Job.Status`` as ``{Status: Job.Status}``."""
    if not isinstance(value, str):
        return value
    names = re.findall(r"[A-Za-z_]\w*", value)
    if not names or not _PLAIN_PATH.fullmatch(value):
        raise ValueError("not a plain path; give the part of the state a name: {Status: …}")
    return {names[-1]: value}


def _under(key: str) -> BeforeValidator:
    """Let a bare text stand for a mapping with only ``key``."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


def _compiled(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error.msg}") from None
    return value


Path = Annotated[str, AfterValidator(lambda value: jmespath_check.parse(value).text)]
"""A JMESPath expression."""

State = Annotated[dict[str, Path], BeforeValidator(_named_parts), Field(min_length=1)]
"""Part of the state → its path; one plain path is a state of one part."""


class DeclarationPart(BaseModel):
    """A part of a declaration: immutable, and strict about its keys."""

    model_config = Section.model_config


NO_PARTS = frozenset(
    {"id", "state", "reason", "created_at", "updated_at", "since", "since_ms", "items"}
)
"""Names that a part of an id cannot have: a row or a placeholder has them already."""


class IdForm(DeclarationPart):
    """The parts of a job's id, joined by slashes: part → its path in an item, or null.

    The keys that are not named here are the parts. Null means that an item does not repeat it.
    """

    model_config = ConfigDict(**{**Section.model_config, "extra": "allow"})
    __pydantic_extra__: dict[str, Path | None]

    pattern: Annotated[str, AfterValidator(_compiled)] | None = None
    """A regular expression that the whole id matches; named groups can fill parameters."""
    max_length: int = Field(default=255, ge=1, le=2048)
    """The most characters of an id."""
    path: Path | None = None
    """The path to the whole id, in place of parts; left out only where an item has none."""

    @property
    def parts(self) -> dict[str, str | None]:
        """The parts in their order; the whole id is the part ``id``."""
        return dict(self.__pydantic_extra__) or {"id": self.path}

    @property
    def whole_pattern(self) -> str:
        """The given pattern, or the one that splits the id into its parts."""
        if self.pattern is not None or len(self.parts) == 1:
            return self.pattern or r"\S+"
        # Only the first part may hold slashes, so that there is one way to split an id.
        first, *others = self.parts
        rest = (rf"(?P<{name}>[^/\s]+(?: [^/\s]+)*)" for name in others)
        return "/".join((rf"(?P<{first}>\S+(?: \S+)*)", *rest))

    @model_validator(mode="after")
    def _has_parts(self) -> Self:
        for name in self.__pydantic_extra__:
            if not re.fullmatch(r"[A-Za-z_]\w*", name) or name in NO_PARTS:
                raise ValueError(f'"{name}" cannot be the name of a part')
        if self.__pydantic_extra__ and self.path is not None:
            raise ValueError("give either path, or the parts of the id")
        groups = re.compile(self.whole_pattern).groupindex
        if len(self.parts) == 1 and (same := self.__pydantic_extra__.keys() & groups):
            raise ValueError(f'"{same.pop()}" is the whole id; give the group another name')
        if len(self.parts) > 1 and (lacking := self.parts.keys() - groups):
            raise ValueError(f"the pattern has no group for the part {', '.join(sorted(lacking))}")
        return self


class DescribeForm(DeclarationPart):
    """The request for one job, or for several."""

    operation: str
    """The operation, as AWS spells it."""
    params: dict[str, Any]
    """Its parameters; ``{id}`` stands for the job's id, ``{name}`` for a part or group of it."""
    items: Path | None = None
    """The path to the item, or the list of items, that all other paths start at."""
    at_once: int = Field(default=1, ge=1, le=1000)
    """The most ids that share a request."""
    missing_if: Path | None = None
    """True of a successful response that says that the job does not exist."""
    unprocessed: Path | None = None
    """The path to ids that the items lack for a passing reason; any other such id is missing."""


class FieldForm(DeclarationPart):
    """A value that is kept beside the state."""

    path: Path
    as_: Literal["value", "text", "texts", "last4", "count"] = Field(default="value", alias="as")
    """``text``: free text; ``texts``: a list of them; ``last4``: its last four characters;
    ``count``: the length of a list; ``value``: a number, boolean, time, or name."""
    max_length: int = Field(default=sanitize.LIMIT, ge=1, le=sanitize.LIMIT)
    """The most characters kept of each text."""
    watch: bool = True
    """Report a change of it alone as ``job.updated``."""
    unless: Literal["include_tracking_number"] | None = None
    """The option of a watch that keeps the whole value instead."""


class MissingRuleForm(DeclarationPart):
    """An error that means that the job does not exist."""

    code: str
    """The error's code; case and the ending ``Exception`` do not matter."""
    where: Path | None = None
    """A condition on the error's own content that must hold as well."""


class PageSizeForm(DeclarationPart):
    """The number of rows to request per page."""

    param: str
    value: int = Field(ge=1)


class NextForm(DeclarationPart):
    """The way to the next page: by a token, or by the last row's id."""

    param: str
    """The parameter that takes the token or id."""
    path: Path | None = None
    """The path to the token; no token means that it is the last page."""
    last_id: Path | None = None
    """The path to the marker of a row."""
    more: Path | None = None
    """The path to the flag that more pages follow."""

    @model_validator(mode="after")
    def _one_style(self) -> Self:
        marker = self.last_id is not None and self.more is not None
        half = (self.last_id is None) != (self.more is None)
        if half or marker == (self.path is not None):
            raise ValueError("give either path, or both last_id and more")
        return self


class ParentForm(DeclarationPart):
    """The request that lists the parents of jobs, such as the clusters of tasks."""

    operation: str
    params: dict[str, Any] = {}
    items: Path
    """The path to the names, or other ids, of the parents on a page."""
    page_size: PageSizeForm | None = None
    next: NextForm | None = None
    """As for a listing: the model says it where it is left out."""


class ListForm(DeclarationPart):
    """A request that lists jobs; a row is read like an item of a describe.

    With ``id``, the older form, nothing is inferred: what is left out, a row does not have.
    """

    operation: str
    of: str | None = None
    """The parent that it is sent for; ``{parent}`` fills parameters."""
    params: dict[str, Any] = {}
    """``{since}`` and ``{since_ms}`` stand for the start of the last complete sweep."""
    items: Path | None = None
    """The path to a page's rows; the model says it where there is but one list."""
    row: dict[str, Path | dict[str, Path] | None] = {}
    """Part of the id, ``state``, ``reason``, ``created_at`` or ``updated_at`` → its path in a row,
    where it differs from that in an item; null where a row does not have it."""
    id: Path | None = None
    """The path to the job's id; this path and those below start at the row."""
    state: Annotated[dict[str, Path], BeforeValidator(_named_parts)] = {}
    """As above; parts that a row does not have are left out."""
    updated_at: Path | None = None
    created_at: Path | None = None
    reason: Path | None = None
    page_size: PageSizeForm | None = None
    next: NextForm | None = None
    """The model says it where it is left out; without a token, one page lists everything."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        older = bool(self.state or self.updated_at or self.created_at or self.reason)
        if older and self.id is None:
            raise ValueError("give id as well; or put these into row: where a row differs")
        if self.id is not None and (self.row or self.items is None):
            raise ValueError("with id, give items, and what else a row has, but no row:")
        return self


class EventsForm(DeclarationPart):
    """The EventBridge events that concern a job."""

    source: str
    detail_type: str
    id: Path | dict[str, Path]
    """The path to the id in the event, or part of the id → its path."""


PhaseEntry = str | Annotated[dict[str, Path], Field(min_length=1, max_length=1)]
"""A state, or a state → the condition on the item under which it means the phase."""


class Declaration(DeclarationPart):
    """One kind of AWS job."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*(\.[a-z0-9][a-z0-9-]*)+$")
    """Such as ``glue.job-run``: the service, a dot, the kind of job."""
    service: str
    """The SDK's name of the service."""
    description: str = ""
    region: str | None = None
    """The one region of a global service; all requests are signed for it."""
    regions: list[str] = []
    """The regions that the service is known to have; any if left out."""
    interval: Duration = 60.0
    """Default time between two polls of a job."""
    quota: QuotaSettings = QuotaSettings(rate=2, burst=5)
    """Default request budget per account and region."""
    id: IdForm = Field(default_factory=lambda: IdForm.model_validate({}))
    describe: DescribeForm
    state: State
    phase_from: str | None = None
    """The part of the state that decides the phase, where there are several."""
    phases: dict[Phase, list[PhaseEntry]]
    """Phase → the states that mean it; of those with a condition, the first that holds counts."""
    aliases: dict[str, str] = {}
    """Another spelling of a state → the one to use."""
    severity: dict[str, Severity] = {}
    """State → severity, where it is not the phase's own."""
    errors: dict[str, dict[str, str]] = {}
    """Error code → the parts of the state that it stands for."""
    missing: list[Annotated[MissingRuleForm, _under("code")]] = []
    """Errors that mean that the job does not exist."""
    irrevocable: list[Phase] = []
    """Phases after which a response with an open state must be stale."""
    reopens: bool = False
    """An ended job may become busy again, as a named resource does."""
    final: list[dict[str, list[str]]] = []
    """An ended job can no longer change if one of these holds (part → states)."""
    grace: Duration = 90 * 86400.0
    """Time for which an ended job that may still change is polled."""
    grace_interval: Duration = 3600.0
    """Time between two polls of such a job."""
    updated_at: Path | None = None
    created_at: Path | None = None
    reason: Path | None = None
    """The free text about the state."""
    fields: dict[str, Annotated[FieldForm, _under("path")]] = {}
    """Name → a value to keep; every other member is dropped."""
    secret: list[Path] = []
    """Members that are never kept, and whose value is removed from every kept text."""
    reveal: list[Path] = []
    """Members that may be kept though the model marks them as sensitive."""
    listings: list[ListForm] = Field(default=[], alias="list")
    """How jobs are listed; a single listing needs no list."""
    of: dict[str, ParentForm] = {}
    """Parent → how parents of this kind are listed."""
    events: EventsForm | None = None
    console_url: str | None = None
    """A link to the job in the AWS console: ``https://{console}/…``. Placeholders are ``{region}``,
    ``{id}``, the parts and groups of the id, ``{account}``, and the names of ``fields``."""

    @field_validator("listings", mode="before")
    @classmethod
    def _one_listing(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @property
    def decisive(self) -> str:
        """The part of the state that decides the phase."""
        return self.phase_from or next(iter(self.state))

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.region is not None and self.regions:
            raise ValueError("region and regions exclude each other")
        if len(self.state) > 1 and self.phase_from is None:
            raise ValueError("a state of several parts needs phase_from")
        for key in ("irrevocable", "final"):
            if self.reopens and getattr(self, key):
                raise ValueError(f"reopens and {key} exclude each other: no end is for good")
        return self
