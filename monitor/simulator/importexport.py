"""AWS Import/Export, API 2010-06-01, as Query XML: disk import and export jobs."""

import math
import re
from xml.sax.saxutils import escape

from monitor.simulator import pages
from monitor.simulator.calls import DEFAULT_REGION
from monitor.simulator.job import Job, State
from monitor.simulator.pages import Inquiry
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
        """Take the jobs to tell of."""
        self._world = world
        self._page_limit = min(page_limit or _MAX_PAGE, _MAX_PAGE)

    def answer(self, inquiry: Inquiry) -> Reply:
        """Answer a request.

        Raises:
            ServiceError: as the service would refuse it.
        """
        version = inquiry.call.parameters.get("Version")
        match inquiry.call.operation:
            case None:
                raise ServiceError("MissingAction", "The request must contain an action.")
            case "GetStatus" if version == _VERSION:
                return self._get_status(inquiry)
            case "ListJobs" if version == _VERSION:
                return self._list_jobs(inquiry)
            case operation:
                message = f"Could not find operation {operation} for version {version}"
                raise ServiceError("InvalidAction", message)

    def refuse(self, error: ServiceError, request_id: str) -> Reply:
        """Write an error as the service does."""
        headers = {"x-amzn-RequestId": request_id}
        if error.retry_after is not None:
            headers["Retry-After"] = str(math.ceil(error.retry_after))
        text = (
            f'<ErrorResponse xmlns="{_NAMESPACES.get(error.code, _NAMESPACE)}">\n'
            "  <Error>\n"
            f"    <Type>{_fault_of(error)}</Type>\n"
            f"    <Code>{_text(error.code)}</Code>\n"
            f"    <Message>{_text(error.message)}</Message>\n"
            "  </Error>\n"
            f"  <RequestId>{request_id}</RequestId>\n"
            "</ErrorResponse>\n"
        )
        return Reply(error.status, CONTENT_TYPE, text.encode(), headers, error.code, error.state)

    def _get_status(self, inquiry: Inquiry) -> Reply:
        job = self._find(inquiry, inquiry.call.job or "")
        state = job.state_at(inquiry.moment) if job else None
        if job is None or state is None or state.missing:
            raise _missing(state)
        if state.error:
            raise ServiceError(*_ENDINGS[state.error], state=state.number)
        shown = None if inquiry.distortion.damaging else state.number
        return _reply(_status_text(job, state, inquiry), inquiry, state=shown)

    def _list_jobs(self, inquiry: Inquiry) -> Reply:
        size = min(_size(inquiry.call.parameters.get("MaxJobs")), self._page_limit)
        marker = inquiry.call.parameters.get("Marker")
        # Answering from the start again is how a marker repeats: it is the last row's id.
        repeats = inquiry.distortion.page == "repeated"
        after = self._marked(inquiry, marker) if marker and not repeats else None
        before = after.position if after else None
        page = pages.take(self._world, inquiry, DEFAULT_REGION, before, size)
        rows = "".join(_row(job, state, inquiry) for job, state in page.shown)
        more = "true" if page.more or repeats else "false"
        text = f"<Jobs>{rows}</Jobs><IsTruncated>{more}</IsTruncated>"
        believable = not inquiry.distortion.damaging
        return _reply(_list_text(text, inquiry), inquiry, rows=page.rows if believable else None)

    def _find(self, inquiry: Inquiry, job_id: str) -> Job | None:
        job = self._world.find("importexport", DEFAULT_REGION, job_id)
        return job if job and job.belongs_to(inquiry.account) else None

    def _marked(self, inquiry: Inquiry, marker: str) -> Job:
        job = self._find(inquiry, marker)
        if job is None:
            raise _invalid_parameter()
        return job


def _status_text(job: Job, state: State, inquiry: Inquiry) -> str:
    distortion = inquiry.distortion
    values = {**state.members, "JobId": distortion.wrong_id or job.id}
    if distortion.bad_timestamp is not None:
        values["CreationDate"] = distortion.bad_timestamp
    members = [(name, values[name]) for name in _ORDER if name in values]
    members += state.extra.items()
    if distortion.hollow:
        members = []
    lines = "".join(f"    {_element(name, value)}\n" for name, value in members)
    return (
        f'<GetStatusResponse xmlns="{_NAMESPACE}">\n'
        f"  <GetStatusResult>\n{lines}  </GetStatusResult>\n"
        "  <ResponseMetadata>\n"
        f"    <RequestId>{inquiry.request_id}</RequestId>\n"
        "  </ResponseMetadata>\n"
        "</GetStatusResponse>\n"
    )


def _list_text(result: str, inquiry: Inquiry) -> str:
    result = "" if inquiry.distortion.hollow else result
    return (
        f'<ListJobsResponse xmlns="{_NAMESPACE}"><ListJobsResult>{result}</ListJobsResult>'
        f"<ResponseMetadata><RequestId>{inquiry.request_id}</RequestId></ResponseMetadata>"
        "</ListJobsResponse>"
    )


def _row(job: Job, state: State, inquiry: Inquiry) -> str:
    values = {**state.members, "JobId": job.id}
    if inquiry.distortion.bad_timestamp is not None:
        values["CreationDate"] = inquiry.distortion.bad_timestamp
    cells = "".join(_element(name, values[name]) for name in _ROW if name in values)
    return f"<member>{cells}</member>"


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
    text: str, inquiry: Inquiry, state: int | None = None, rows: Rows | None = None
) -> Reply:
    headers = {"x-amzn-RequestId": inquiry.request_id}
    return Reply(200, CONTENT_TYPE, text.encode(), headers, state=state, rows=rows)


def _size(text: str | None) -> int:
    if text is None:
        return _MAX_PAGE
    if not text.isdecimal() or int(text) > _MAX_PAGE:
        raise _invalid_parameter()
    return int(text) or _MAX_PAGE


def _missing(state: State | None) -> ServiceError:
    return ServiceError(
        "InvalidJobIdException",
        "The JOBID was missing, not found, or not associated with the AWS account.",
        state=state.number if state else None,
    )


def _invalid_parameter() -> ServiceError:
    return ServiceError("InvalidParameterException", "One or more parameters had an invalid value.")


def _fault_of(error: ServiceError) -> str:
    ours = error.status >= 500 and error.code != "Throttling"  # noqa: PLR2004 - HTTP's own line
    return "Receiver" if ours else "Sender"
