"""The YAML form of a job type (docs/job-types.md explains it to its users)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

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


def _checked(value: str) -> str:
    jmespath_check.parse(value)
    return value


def _compiled(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error.msg}") from None
    return value


Path = Annotated[str, AfterValidator(_checked)]
"""A JMESPath expression."""

State = Annotated[dict[str, Path], BeforeValidator(_named_parts), Field(min_length=1)]
"""Part of the state → where it stands; one plain path is a state of one part."""


class Form(BaseModel):
    """A part of a declaration: immutable, and strict about its keys."""

    model_config = Section.model_config


class IdForm(Form):
    """What a job's id looks like, and where an answer repeats it."""

    pattern: Annotated[str, AfterValidator(_compiled)] = r"\S+"
    """A regular expression that the whole id matches; named groups can fill parameters."""
    max_length: int = Field(default=255, ge=1, le=2048)
    """The most characters of an id."""
    path: Path | None = None
    """Where the answer repeats the id; left out only where it does not."""


class DescribeForm(Form):
    """How one job is asked for."""

    operation: str
    """The operation, as AWS spells it."""
    params: dict[str, Any]
    """Its parameters; ``{id}`` stands for the job's id, ``{name}`` for a group of its pattern."""
    missing_if: Path | None = None
    """True of an answer that is fine but says that there is no such job."""


class FieldForm(Form):
    """A value that is kept beside the state."""

    path: Path
    as_: Literal["value", "text", "texts", "last4", "count"] = Field(default="value", alias="as")
    """``text``: people's words; ``texts``: a list of them; ``last4``: its last four characters;
    ``count``: the length of a list; ``value``: a number, truth, time, or name."""
    max_length: int = Field(default=sanitize.LIMIT, ge=1, le=sanitize.LIMIT)
    """The most characters kept of each text."""
    watch: bool = True
    """Whether a change of it alone is told as ``job.updated``."""
    unless: Literal["include_tracking_number"] | None = None
    """The option of a watch that keeps the whole value instead."""


class RefusalForm(Form):
    """An error that says that there is no such job."""

    code: str
    """The error's code; case and the ending ``Exception`` do not matter."""
    where: Path | None = None
    """What must be true of the error's own content as well."""


class PageSizeForm(Form):
    """How many rows a page is asked to have."""

    param: str
    value: int = Field(ge=1)


class NextForm(Form):
    """How the next page is asked for: by a token, or by the last row's id."""

    param: str
    """The parameter that takes the token or id."""
    path: Path | None = None
    """Where a page tells the token; no token means that it is the last page."""
    last_id: Path | None = None
    """Where a row tells what marks it."""
    more: Path | None = None
    """Where a page tells whether there are more."""

    @model_validator(mode="after")
    def _one_style(self) -> Self:
        marker = self.last_id is not None and self.more is not None
        half = (self.last_id is None) != (self.more is None)
        if half or marker == (self.path is not None):
            raise ValueError("give either path, or both last_id and more")
        return self


class ListForm(Form):
    """How jobs are listed."""

    operation: str
    params: dict[str, Any] = {}
    items: Path
    """Where a page holds its rows."""
    id: Path
    """Where a row tells its job's id; this and what follows are read from the row."""
    state: Annotated[dict[str, Path], BeforeValidator(_named_parts)] = {}
    """As above; parts that a row does not tell are left out, all of them where it is only an id."""
    updated_at: Path | None = None
    created_at: Path | None = None
    reason: Path | None = None
    page_size: PageSizeForm | None = None
    next: NextForm | None = None
    """Left out where one page lists everything."""


class Declaration(Form):
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
    """Default time between two looks at a job."""
    quota: QuotaSettings = QuotaSettings(rate=2, burst=5)
    """Default request budget per account and region."""
    id: IdForm = IdForm()
    describe: DescribeForm
    state: State
    phase_from: str | None = None
    """The part of the state that decides the phase, where there are several."""
    phases: dict[Phase, list[str]]
    """Phase → the states that mean it."""
    aliases: dict[str, str] = {}
    """Another spelling of a state → the one to use."""
    severity: dict[str, Severity] = {}
    """State → severity, where it is not the phase's own."""
    errors: dict[str, dict[str, str]] = {}
    """Error code → the parts of the state that it tells."""
    missing: list[Annotated[RefusalForm, _under("code")]] = []
    """Errors that say that there is no such job."""
    irrevocable: list[Phase] = []
    """Phases after which an answer with an open state must be an old one."""
    reopens: bool = False
    """Whether one that ended may become busy again, as a named resource does."""
    final: list[dict[str, list[str]]] = []
    """Of an ended job: it cannot change any more where one of these holds (part → states)."""
    grace: Duration = 90 * 86400.0
    """For how long an ended job that may still change is looked at."""
    grace_interval: Duration = 3600.0
    """Time between two looks at such a job."""
    updated_at: Path | None = None
    created_at: Path | None = None
    reason: Path | None = None
    """People's words on the state."""
    fields: dict[str, Annotated[FieldForm, _under("path")]] = {}
    """Name → what else is kept; everything that is not named is dropped."""
    secret: list[Path] = []
    """Members that may never be kept, and whose value is taken out of every kept text."""
    listing: ListForm | None = Field(default=None, alias="list")

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
