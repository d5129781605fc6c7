"""AWS Import/Export, API 2010-06-01, as Query XML: disk import and export jobs."""

import math
import re
from xml.sax.saxutils import escape

from monitor.simulator import pages
from monitor.simulator.calls import DEFAULT_REGION
from monitor.simulator.job import Job
from monitor.simulator.pages import ServiceRequest
from monitor.simulator.replies import Reply, Rows, ServiceError
from monitor.simulator.world import World

CONTENT_TYPE = "text/xml"
_VERSION = "2010-06-01"
_NAMESPACE = f"http://importexport.amazonaws.com/doc/{_VERSION}/"
# The service's own documents show this error under a shorter namespace.
_NAMESPACES = {"ExpiredJobIdException": "http://importexport.amazonaws.com/"}
_MAX_PAGE = 1000
_ORDER = (
    "Carrier",
    "CreationDate",
    "CurrentManifest",
    "ErrorCount",
    "JobId",
    "JobType",
    "LocationCode",
    "LocationMessage",
    "LogBucket",
    "LogKey",
    "ProgressCode",
    "ProgressMessage",
    "Signature",
    "SignatureFileContents",
    "TrackingNumber",
    "ArtifactList",
)
_ROW = ("JobId", "CreationDate", "IsCanceled", "JobType")
_ENDINGS = {
    "canceled": (
        "CanceledJobIdException",
        "The specified job ID has been canceled and is no longer valid.",
    ),
    "expired": ("ExpiredJobIdException", "The specified job ID has expired."),
}
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class ImportExport:
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
        version = request.call.parameters.get("Version")
        match request.call.operation:
            case None:
                raise ServiceError("MissingAction", "The request must contain an action.")
            case "GetStatus" if version == _VERSION:
                return self._get_status(request)
            case "ListJobs" if version == _VERSION:
                return self._list_jobs(request)
            case operation:
                message = f"Could not find operation {operation} for version {version}"
                raise ServiceError("InvalidAction", message)

    def refuse(self, error: ServiceError, request_id: str) -> Reply:
        """Write an error as the service does."""
        headers = {"x-amzn-RequestId": request_id}
        ours = error.status >= 500 and error.code != "Throttling"  # noqa: PLR2004 - HTTP's own line
        if error.retry_after is not None:
            headers["Retry-After"] = str(math.ceil(error.retry_after))
        text = (
            f'<ErrorResponse xmlns="{_NAMESPACES.get(error.code, _NAMESPACE)}">\n'
            "  <Error>\n"
            f"    <Type>{'Receiver' if ours else 'Sender'}</Type>\n"
            f"    <Code>{_text(error.code)}</Code>\n"
            f"    <Message>{_text(error.message)}</Message>\n"
            "  </Error>\n"
            f"  <RequestId>{request_id}</RequestId>\n"
            "</ErrorResponse>\n"
        )
        return Reply(error.status, CONTENT_TYPE, text.encode(), headers, error.code, error.state)

    def _get_status(self, request: ServiceRequest) -> Reply:
        job, distortion = self._find(request, request.call.job or ""), request.distortion
        state = job.state_at(request.moment) if job else None
        if job is None or state is None or state.missing:
            raise ServiceError(
                "InvalidJobIdException",
                "The JOBID was missing, not found, or not associated with the AWS account.",
                state=state.number if state else None,
            )
        if state.error:
            raise ServiceError(*_ENDINGS[state.error], state=state.number)
        values = {**state.members, "JobId": distortion.wrong_id or job.id}
        if distortion.bad_timestamp is not None:
            values["CreationDate"] = distortion.bad_timestamp
        members = [(name, values[name]) for name in _ORDER if name in values]
        members += state.extra.items()
        if distortion.hollow:
            members = []
        lines = "".join(f"    {_element(name, value)}\n" for name, value in members)
        text = (
            f'<GetStatusResponse xmlns="{_NAMESPACE}">\n'
            f"  <GetStatusResult>\n{lines}  </GetStatusResult>\n"
            "  <ResponseMetadata>\n"
            f"    <RequestId>{request.request_id}</RequestId>\n"
            "  </ResponseMetadata>\n"
            "</GetStatusResponse>\n"
        )
        return _reply(text, request, state=None if distortion.damaging else state.number)

    def _list_jobs(self, request: ServiceRequest) -> Reply:
        asked, marker = (request.call.parameters.get(name) for name in ("MaxJobs", "Marker"))
        if asked is not None and (not asked.isdecimal() or int(asked) > _MAX_PAGE):
            raise _invalid_parameter()
        size = min(int(asked or 0) or _MAX_PAGE, self._page_limit)
        # Answering from the start again is how a marker repeats: it is the last row's id.
        repeats = request.distortion.page == "repeated"
        after = self._find(request, marker) if marker and not repeats else None
        if marker and not repeats and after is None:
            raise _invalid_parameter()
        before = after.position if after else None
        page = pages.take(self._world, request, DEFAULT_REGION, before, size)
        rows = ""
        for job, state in page.shown:
            values = {**state.members, "JobId": job.id}
            if request.distortion.bad_timestamp is not None:
                values["CreationDate"] = request.distortion.bad_timestamp
            cells = "".join(_element(name, values[name]) for name in _ROW if name in values)
            rows += f"<member>{cells}</member>"
        more = "true" if page.more or repeats else "false"
        result = f"<Jobs>{rows}</Jobs><IsTruncated>{more}</IsTruncated>"
        if request.distortion.hollow:
            result = ""
        text = (
            f'<ListJobsResponse xmlns="{_NAMESPACE}"><ListJobsResult>{result}</ListJobsResult>'
            f"<ResponseMetadata><RequestId>{request.request_id}</RequestId></ResponseMetadata>"
            "</ListJobsResponse>"
        )
        return _reply(text, request, rows=None if request.distortion.damaging else page.rows)

    def _find(self, request: ServiceRequest, job_id: str) -> Job | None:
        job = self._world.find("importexport", DEFAULT_REGION, job_id)
        return job if job and job.belongs_to(request.account) else None


def _element(name: str, value: object) -> str:
    return f"<{name}>{_text(value)}</{name}>"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "".join(_element("member", item) for item in value)
    if isinstance(value, dict):
        return "".join(_element(name, item) for name, item in value.items())
    # XML has no way to write control characters, however they are escaped.
    return escape(_NOT_XML.sub("\ufffd", str(value)), {"\r": "&#13;"})


def _reply(
    text: str, request: ServiceRequest, state: int | None = None, rows: Rows | None = None
) -> Reply:
    headers = {"x-amzn-RequestId": request.request_id}
    return Reply(200, CONTENT_TYPE, text.encode(), headers, state=state, rows=rows)


def _invalid_parameter() -> ServiceError:
    return ServiceError("InvalidParameterException", "One or more parameters had an invalid value.")
