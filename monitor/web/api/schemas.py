"""What the API answers: one model for each thing, which also describes it in OpenAPI."""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from aiohttp import ETag, hdrs, web
from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema

from monitor.events import timestamp
from monitor.model import (
    DeliveryStatus,
    Ending,
    Kind,
    Phase,
    Severity,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Moment = Annotated[
    datetime,
    PlainSerializer(timestamp, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time of RFC 3339 in UTC with milliseconds."""

Event = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "description": "A CloudEvent 1.0 in JSON form, as sinks are sent it.",
            "required": ["specversion", "id", "source", "type", "time", "data"],
        }
    ),
]


class Answer(BaseModel):
    """Something that is answered."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Window(Answer):
    """Between which two looks a change happened."""

    after: Moment | None
    """The last look that saw the old state; null at first sight."""
    before: Moment
    """The look that saw the new one."""


class Job(Answer):
    """A followed job as it stands."""

    key: str
    """``type/account/region/id``."""
    type: str
    account: str
    region: str
    id: str
    watch: str | None
    """The watch that follows it; null if none does any more."""
    labels: dict[str, str]
    state: str | None
    """As the service names it; null until AWS has first shown the job."""
    phase: Phase
    severity: Severity
    reason: str | None
    """What the service says of the state."""
    fields: dict[str, Any]
    sequence: int
    """How many transitions it has had."""
    ending: Ending | None
    first_seen_at: Moment | None
    changed_at: Moment | None
    """When the present state was first seen."""
    updated_at: Moment | None
    """The service's own time of its last update."""
    ended_at: Moment | None
    interval: float | None
    """Seconds between two looks, as things stand."""
    last_look_at: Moment | None
    next_look_at: Moment | None
    """An estimate; null if it is looked at no more."""
    failing: str | None
    """Why the last look brought nothing."""
    finished: bool
    """Whether it is looked at no more."""
    stuck: bool
    missing: bool
    blind: bool


class JobDetail(Job):
    """A job with what only its ledger tells."""

    window: Window | None
    """Of the last change of state; null if the ledger has forgotten it."""


class JobWait(Answer):
    """What came of waiting."""

    done: bool
    """Whether it came; false if the time was over first."""
    job: Job


class Jobs(Answer):
    """A page of jobs."""

    items: list[Job]
    next_cursor: str | None
    """What to give as ``cursor`` for the next page; null on the last one."""
    total: int
    """How many fit the filters, on all pages."""


class Transition(Answer):
    """A row of the ledger."""

    position: int
    event: Event


class Transitions(Answer):
    """Transitions in the order of the ledger."""

    items: list[Transition]
    next_after: int
    """What to give as ``after`` for what comes next, now or later."""


class StreamedEvent(Answer):
    """A transition in the stream; ``data`` is the CloudEvent as JSON."""

    id: str
    """The position in the ledger."""
    event: str
    """The kind."""
    data: str


class Delivery(Answer):
    """One transition on its way to one sink."""

    id: int
    position: int
    sink: str
    job: str
    """The key of the job, or of the source, that it is about."""
    event_id: str
    kind: Kind
    status: DeliveryStatus
    attempts: int
    """How many tries have ended, the one that was taken included."""
    created_at: Moment
    due_at: Moment | None
    """When it is tried next; null if it is settled, or waits behind an earlier one."""
    settled_at: Moment | None
    last_error: str | None
    replayed: bool


class Deliveries(Answer):
    """A page of deliveries, newest first."""

    items: list[Delivery]
    next_cursor: str | None


class Sink(Answer):
    """A configured sink, and what it still has to be told."""

    name: str
    type: str
    pending: int
    oldest_pending_at: Moment | None
    dead: int
    parked: bool
    parked_at: Moment | None
    parked_reason: str | None
    health: Literal["ok", "failing", "parked"]
    """``failing``: the last attempt failed, and nothing was delivered since."""
    failing_since: Moment | None
    """When the first attempt failed of which none was delivered since. Of failures before the
    daemon started, when the oldest change was recorded that was tried and still waits."""
    last_error: str | None
    """Of the last attempt that failed, also before the daemon started."""
    last_error_at: Moment | None
    last_delivered_at: Moment | None
    """Since the daemon started."""


class Sinks(Answer):
    """All sinks."""

    items: list[Sink]


class Listing(Answer):
    """One listing of jobs: whether its sweeps come to their end."""

    type: str
    """The type of the jobs that it shows."""
    complete: bool | None
    """Whether the last sweep came to its end; null before the first."""
    last_complete_at: Moment | None
    last_failure: str | None
    """Why a page failed since, one of a closed set."""
    last_failure_code: str | None
    last_failure_hint: str | None


class Source(Answer):
    """One service of one account in one region."""

    service: str
    account: str
    region: str
    available: bool
    """What the ledger says: whether it can be seen at all."""
    up: bool | None
    """Whether the last look was answered; null before the first."""
    last_success_at: Moment | None
    last_failure_at: Moment | None
    last_failure: str | None
    """The reason, one of a closed set."""
    last_failure_code: str | None
    last_failure_hint: str | None
    rate: float
    """Requests per second that the quota permits at present; throttling lowers it."""
    configured_rate: float
    request_rate: float
    """Requests per second that were made within the last minute."""
    jobs: int
    """How many jobs are followed through it."""
    listings: list[Listing]
    """The listings that are swept for jobs, one for each watch that discovers."""


class Sources(Answer):
    """All sources."""

    items: list[Source]


class Status(Answer):
    """How the daemon stands."""

    version: str
    started_at: Moment
    config_loaded_at: Moment | None
    config_last_reload_successful: bool
    config_problems: list[str]
    """What was wrong with the configuration that was refused last, if it was."""
    last_pass_age: float
    """Seconds since the slowest poller last went through what is due."""
    jobs: int
    phases: dict[Phase, int]
    stuck: int
    missing: int
    blind: int
    position: int
    """The position of the newest transition."""


class Config(Answer):
    """The configuration as it is written, with its defaults; durations too."""

    model_config = ConfigDict(extra="allow")


class FollowedWatch(Answer):
    """A watch, as it is written."""

    name: str
    added_at: Moment | None
    """When it was added at run time; null if it is of the configuration."""
    watch: dict[str, Any]


class FollowedWatches(Answer):
    """All watches: those of the configuration first."""

    items: list[FollowedWatch]


class Removed(Answer):
    """A watch is removed."""

    removed: bool


class Resumed(Answer):
    """Whether a sink was parked before."""

    resumed: bool
    outcome: Literal["delivered", "failing", "parked", "idle", "unknown"] | None
    """What came of the first attempt: ``idle`` where nothing waits to be sent, ``parked`` where the
    sink was parked again, ``unknown`` where it has not ended within some seconds; null where it
    was not parked before."""
    error: str | None
    """Why it failed, or was parked again."""


class Replayed(Answer):
    """What was chosen for sending again."""

    sink: str
    count: int
    dry_run: bool
    event_ids: list[str]
    """The first of them, at most 1000."""


class Reloaded(Answer):
    """The configuration was loaded anew."""

    reloaded: bool


class Mistake(Answer):
    """One mistake: of a parameter or a key of the body its name, of a configuration its place."""

    message: str
    name: str | None = None
    place: str | None = None
    path: str | None = None
    remedy: str | None = None


class Problem(Answer):
    """An error after RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Mistake] | None = None


def as_json(value: Answer | Mapping[str, Any], status: int = 200) -> web.Response:
    """Write an answer with its ETag."""
    plain = value.model_dump(mode="json") if isinstance(value, Answer) else value
    body = orjson.dumps(plain)
    response = web.Response(body=body, status=status, content_type="application/json")
    response.etag = ETag(blake2b(body, digest_size=12).hexdigest())
    response.headers[hdrs.CACHE_CONTROL] = "no-cache"
    return response


def unless_known(request: web.Request, response: web.Response) -> web.Response:
    """Answer 304 to a client that has the same already."""
    known = request.if_none_match or ()
    tag = response.etag
    if tag is None or not any(each.value in {tag.value, "*"} for each in known):
        return response
    same = web.Response(status=304)
    same.etag = tag
    same.headers[hdrs.CACHE_CONTROL] = response.headers[hdrs.CACHE_CONTROL]
    return same
