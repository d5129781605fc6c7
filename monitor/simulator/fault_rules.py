"""The faults of the AWS side, as scenario files and the control API write them.

Times on the wire (`delay`, `retry_after`, `age`) and rates are real seconds, whatever the
scenario's speed: the client at the other end lives in real time. `from` and `until` are
scenario seconds.
"""

from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from monitor.simulator.calls import Call
from monitor.simulator.members import Service
from monitor.simulator.strict import Duration, Strict
from monitor.simulator.triggers import When


class Match(Strict):
    """Which requests a fault is for; `operation`, `job` and `region` are globs."""

    service: Service | None = None
    operation: str = "*"
    job: str | None = Field(default=None, description="given, only requests for one job match")
    region: str = "*"
    access_key: str | None = None

    def covers(self, call: Call) -> bool:
        """Tell whether the request is one of those meant."""
        return (
            self.service in {None, call.service}
            and fnmatchcase(call.operation or "", self.operation)
            and fnmatchcase(call.region, self.region)
            and self.access_key in {None, call.access_key}
            and self._job_matches(call.job)
        )

    def _job_matches(self, job: str | None) -> bool:
        return self.job is None or (job is not None and fnmatchcase(job, self.job))


class Rule(When):
    """What all faults have in common; `name` is how records and the control API call it."""

    name: str | None = None
    match: Match = Match()


class Throttle(Rule):
    """Lets through what a token bucket allows, one bucket per access key and region."""

    kind: Literal["throttle"]
    rate: float = Field(gt=0, description="requests per second")
    burst: float = Field(default=1.0, ge=1)
    status: int | None = Field(default=None, ge=400, le=599)
    code: str | None = None
    retry_after: Duration | None = None


class Error(Rule):
    """Answers any error."""

    kind: Literal["error"]
    status: int = Field(ge=300, le=599)
    code: str
    message: str = "The request failed."
    retry_after: Duration | None = None
    code_in: Literal["header", "body"] = Field(default="header", description="panorama only")
    members: dict[str, Any] = Field(default={}, description="more of the body; panorama only")


class Denied(Rule):
    """Answers that the caller has no permission."""

    kind: Literal["denied"]


class ExpiredCredentials(Rule):
    """Answers that the caller's credentials have expired."""

    kind: Literal["expired_credentials"]


class Html(Rule):
    """Answers a web page, as a proxy or a captive portal would."""

    kind: Literal["html"]
    status: int = Field(default=200, ge=200, le=599)
    body: str = "<html><body><h1>Please come back later</h1></body></html>"


class Empty(Rule):
    """Answers without a body."""

    kind: Literal["empty"]
    status: int = Field(default=200, ge=200, le=599)


class EmptyObject(Rule):
    """Answers 200 with no member in it: `{}` or an empty result element."""

    kind: Literal["empty_object"]


class Malformed(Rule):
    """Answers JSON or XML that ends in the middle."""

    kind: Literal["malformed"]


class Cut(Rule):
    """Closes the connection in the middle of the body."""

    kind: Literal["cut"]


class Reset(Rule):
    """Resets the TCP connection instead of answering."""

    kind: Literal["reset"]


class Hang(Rule):
    """Never answers."""

    kind: Literal["hang"]


class Slow(Rule):
    """Waits before going on with the next fault or the answer."""

    kind: Literal["slow"]
    delay: Duration


class Stale(Rule):
    """Answers what was true some time ago, then goes on."""

    kind: Literal["stale"]
    age: Duration


class WrongId(Rule):
    """Answers under another job's id."""

    kind: Literal["wrong_id"]
    id: str = "another-job"


class BadTimestamp(Rule):
    """Answers with times that are none."""

    kind: Literal["bad_timestamp"]
    value: str = "yesterday"


class TornPage(Rule):
    """Answers a list page that a careless reader stumbles over.

    `empty` has no row and still says there are more. `repeated` gives the token it was asked
    with, or the same rows again where the service has markers. `lossy` leaves rows out.
    """

    kind: Literal["torn_page"]
    form: Literal["empty", "repeated", "lossy"]
    omit: str = Field(default="*", description="job ids that a lossy page leaves out; a glob")

    @model_validator(mode="after")
    def _omit_is_for_lossy(self) -> Self:
        if self.form != "lossy" and "omit" in self.model_fields_set:
            raise ValueError("omit goes with form: lossy")
        return self


Fault = Annotated[
    Throttle
    | Error
    | Denied
    | ExpiredCredentials
    | Html
    | Empty
    | EmptyObject
    | Malformed
    | Cut
    | Reset
    | Hang
    | Slow
    | Stale
    | WrongId
    | BadTimestamp
    | TornPage,
    Field(discriminator="kind"),
]
FAULT: TypeAdapter[Fault] = TypeAdapter(Fault)
