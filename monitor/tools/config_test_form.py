"""The form of a file of configuration tests, as strict as that of the configuration."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from monitor.config import Section, messages
from monitor.config.settings import OneOrMany, StuckAfter
from monitor.config.values import parse_duration
from monitor.config.yaml_document import shown
from monitor.model import Kind, Phase, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

STARTS = datetime(2026, 1, 1, tzinfo=UTC)
"""The time of ``at: 0s`` where a test does not set it."""


def _start(value: Any) -> datetime:
    try:
        at = datetime.fromisoformat(str(value))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not a time (write it as 2026-01-01T00:00:00Z)") from None


def _among(what: str, known: Iterable[str]) -> AfterValidator:
    names = tuple(map(str, known))

    def check(value: str) -> str:
        if value not in names:
            raise ValueError(
                f'unknown {what} "{shown(value)}" ({messages.one_of(value, names, 9)})'
            )
        return value

    return AfterValidator(check)


Offset = Annotated[
    float,
    BeforeValidator(lambda value: 0.0 if str(value) in {"0", "0s"} else parse_duration(value)),
]
"""Seconds since the start of the test."""


class GivenError(Section):
    """An error that AWS returns for a poll."""

    code: str
    """The error code, such as ``ThrottlingException``."""
    message: str = ""
    """The text of the error."""
    status: int | None = Field(default=None, ge=300, le=599)
    """The HTTP status; by default that of the service model, or else 400."""
    members: dict[str, Any] = Field(default={})
    """What else the response holds, as some job types read it."""


class GivenAnswer(Section):
    """One poll, and what AWS answers."""

    at: Offset
    """Time of the poll since the start of the test."""
    response: dict[str, Any] | None = None
    """The response of the describe operation, as the AWS CLI prints it."""
    error: GivenError | None = None
    """The error that AWS returns instead."""


class ExpectedPayload(Section):
    """The body that a sink sends: whole as ``text`` or ``json``, or what it ``contains``."""

    text: str | None = None
    """The whole body; line breaks at its end do not count."""
    json_: Any = Field(default=None, alias="json")
    """The whole body, parsed as JSON."""
    contains: Annotated[
        list[Any], BeforeValidator(lambda value: value if isinstance(value, list) else [value])
    ] = Field(default=[])
    """Texts that are in the body, and maps whose keys its JSON has, among others."""


class ExpectedTransition(Section):
    """A transition: keys of the event's data, compared as far as they are given."""

    at: Offset | None = None
    """Time of the poll that sees it."""
    kind: Annotated[str, _among("kind", Kind)] | None = None
    phase: Annotated[str, _among("phase", Phase)] | None = None
    """The phase of ``current``."""
    state: str | None = None
    """The state of ``current``."""
    severity: Annotated[str, _among("severity", Severity)] | None = None
    sinks: list[str] | None = None
    """Exactly the sinks that it is routed to, in any order."""
    payloads: dict[str, ExpectedPayload] = Field(default={})
    """Sink → the body that it sends."""
    job: dict[str, Any] | None = None
    source: dict[str, Any] | None = None
    sequence: int | None = None
    previous: dict[str, Any] | None = None
    current: dict[str, Any] | None = None
    changes: list[dict[str, Any]] | None = None
    window: dict[str, Any] | None = None
    reason: str | None = None
    baseline: bool | None = None
    occurred_at: str | None = None
    fields: dict[str, Any] | None = None


class ConfigTest(Section):
    """One job: the answers of AWS, and the transitions that must follow."""

    name: str
    """A sentence that says what is tested."""
    watch: str | None = None
    """The watch of the configuration that sees the job."""
    type: str | None = None
    """The job type, in place of ``watch``; its account, labels and limits stand beside it."""
    account: str = "default"
    region: str | None = None
    """By default the first region of the watch, or of the job type."""
    labels: dict[str, str] = Field(default={})
    stuck_after: StuckAfter = None
    job: str
    """The id of the job."""
    starts: Annotated[datetime, BeforeValidator(_start)] = STARTS
    """The time of ``at: 0s``."""
    baseline: bool = False
    """The job was there before the monitor: the first complete sweep of its watch finds it."""
    answers: list[GivenAnswer]
    expect: list[ExpectedTransition]
    """Every transition, in order; ``[]`` for none."""


class ConfigTestFile(Section):
    """A file of tests of one configuration."""

    config: OneOrMany = Field(default=[])
    """Files and directories of the configuration, relative to this file."""
    paths: dict[str, str] = Field(default={})
    """Directory that the configuration names → where it is here, relative to this file."""
    tests: list[ConfigTest]
