"""AWS Panorama, API 2019-07-24, as REST-JSON: package import jobs."""

import base64
import binascii
import json
import math
import re
import secrets
from collections.abc import Mapping
from typing import Any

from monitor.simulator import pages
from monitor.simulator.job import Position
from monitor.simulator.pages import ServiceRequest
from monitor.simulator.replies import Reply, Rows, ServiceError
from monitor.simulator.world import World

CONTENT_TYPE = "application/json"
_MAX_PAGE = 25
_JOB_ID = re.compile(r"[a-zA-Z0-9\-_]{1,255}")
_ROW = ("CreatedTime", "JobId", "JobType", "LastUpdatedTime", "Status", "StatusMessage")
_TIMES = frozenset({"CreatedTime", "LastUpdatedTime"})
# A token is opaque to clients; these put in every character that a query must encode.
_TOKEN_HEAD, _TOKEN_TAIL = "A+/", "=="
_CORAL = ":http://internal.amazon.com/coral/com.amazonaws.panorama/"


class Panorama:
    """Answers what a caller may see; a page has at most `page_limit` rows."""

    def __init__(self, world: World, page_limit: int | None = None) -> None:
        """Take the jobs to show."""
        self._world = world
        self._page_limit = min(page_limit or _MAX_PAGE, _MAX_PAGE)

    def answer(self, request: ServiceRequest) -> Reply:
        """Answer a request.

        Raises:
            ServiceError: as the service would refuse it.
        """
        match request.call.operation:
            case "DescribePackageImportJob":
                return self._describe(request)
            case "ListPackageImportJobs":
                return self._list(request)
            case _:
                message = "The requested operation is not known to this service."
                raise ServiceError("UnknownOperationException", message, 404)

    def refuse(self, error: ServiceError, request_id: str) -> Reply:
        """Write an error as the service does."""
        headers = {"x-amzn-RequestId": request_id}
        if error.code_in == "body":
            answer = {"__type": f"com.amazonaws.panorama#{error.code}", "message": error.message}
        else:
            # Modelled errors have a capital letter, those of the front end a small one.
            front_end = error.code.startswith(("Throttling", "ServiceUnavailable"))
            answer = {"message" if front_end else "Message": error.message}
            detailed = error.code == "ValidationException"
            headers["x-amzn-ErrorType"] = error.code + (_CORAL if detailed else "")
        if error.retry_after is not None:
            headers["Retry-After"] = str(math.ceil(error.retry_after))
        body = json.dumps({**answer, **error.members}).encode()
        return Reply(error.status, CONTENT_TYPE, body, headers, error.code, error.state)

    def _describe(self, request: ServiceRequest) -> Reply:
        job_id, distortion = request.call.job or "", request.distortion
        if not _JOB_ID.fullmatch(job_id):
            raise _invalid("JobId", f"Value must match ^[a-zA-Z0-9\\-\\_]+$: {job_id[:64]!r}")
        job = self._world.find("panorama", request.call.region, job_id)
        state = job.state_at(request.moment) if job and job.belongs_to(request.account) else None
        if state is None or state.missing:
            raise ServiceError(
                "ResourceNotFoundException",
                "The job was not found.",
                404,
                members={"ResourceId": job_id, "ResourceType": "JOB"},
                state=state.number if state else None,
            )
        values = {**state.members, "JobId": distortion.wrong_id or job_id}
        answer = {name: values[name] for name in sorted(values)} | dict(state.extra)
        shown = None if distortion.damaging else state.number
        return _ok(_with_times(answer, distortion.bad_timestamp), request, state=shown)

    def _list(self, request: ServiceRequest) -> Reply:
        token, asked = (request.call.parameters.get(name) for name in ("NextToken", "MaxResults"))
        before = _position(token) if token else None
        if asked is not None and (not asked.isdecimal() or int(asked) > _MAX_PAGE):
            raise _invalid("MaxResults", f"Value must be an integer from 1 to {_MAX_PAGE}")
        size = min(int(asked or 0) or _MAX_PAGE, self._page_limit)
        page = pages.take(self._world, request, request.call.region, before, size)
        rows = []
        for job, state in page.shown:
            values = {**state.members, "JobId": job.id}
            row = {name: values[name] for name in _ROW if name in values}
            rows.append(_with_times(row, request.distortion.bad_timestamp))
        answer: dict[str, Any] = {"PackageImportJobs": rows}
        repeats = request.distortion.page == "repeated"
        if page.more or repeats:
            answer["NextToken"] = token if repeats and token else _token(page.last or before)
        believable = not request.distortion.damaging
        return _ok(answer, request, rows=page.rows if believable else None)


def _with_times(values: dict[str, Any], bad: str | None) -> dict[str, Any]:
    if bad is None:
        return values
    return {name: bad if name in _TIMES else value for name, value in values.items()}


def _ok(
    answer: Mapping[str, Any],
    request: ServiceRequest,
    state: int | None = None,
    rows: Rows | None = None,
) -> Reply:
    body = json.dumps({} if request.distortion.hollow else answer).encode()
    headers = {"x-amzn-RequestId": request.request_id}
    return Reply(200, CONTENT_TYPE, body, headers, state=state, rows=rows)


def _token(position: Position | None) -> str:
    # The salt makes two tokens for one place differ, so that only a fault repeats one.
    place = json.dumps([position, secrets.token_hex(4)]).encode()
    return _TOKEN_HEAD + base64.b64encode(place).decode().rstrip("=") + _TOKEN_TAIL


def _position(token: str) -> Position | None:
    try:
        if not (token.startswith(_TOKEN_HEAD) and token.endswith(_TOKEN_TAIL)):
            raise ValueError(token)  # noqa: TRY301 - one way out for all that is wrong
        inner = token[len(_TOKEN_HEAD) : -len(_TOKEN_TAIL)]
        position, _ = json.loads(base64.b64decode(inner + "=" * (-len(inner) % 4), validate=True))
        return (float(position[0]), int(position[1])) if position else None
    except (ValueError, TypeError, IndexError, binascii.Error):
        raise _invalid("NextToken", "Invalid token") from None


def _invalid(name: str, message: str) -> ServiceError:
    members = {
        "Reason": "FIELD_VALIDATION_FAILED",
        "ErrorId": secrets.token_hex(8),
        "Fields": [{"Name": name, "Message": message}],
    }
    return ServiceError("ValidationException", "1 validation error", members=members)
