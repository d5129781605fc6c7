"""What the ground truth consists of."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monitor.simulator.members import Service
from monitor.simulator.replies import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRecord:
    """One state that one job had from `time` on.

    `number` counts the job's states from 1; `state` joins its raw codes (`PENDING`,
    `AtAWS/InProgress`). `members` holds the status members and whatever the change named.
    `missing` says that the service denies the job, `error` that GetStatus answers this end.
    """

    time: float
    service: Service
    region: str
    account: str | None
    job: str
    number: int
    state: str
    error: str | None
    missing: bool
    members: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request that the AWS side served, at the time of its answer.

    `status` is None where no whole answer went out. `state` is the number of the job's state
    that the answer showed, `rows` the (job id, state number) pairs of a list; both are None
    where it showed nothing that a client may believe. `fault` names the rules at work.
    """

    time: float
    service: Service
    operation: str | None
    job: str | None
    region: str
    access_key: str | None
    status: int | None
    error: str | None
    fault: tuple[str, ...]
    state: int | None
    rows: Rows | None
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRecord:
    """One request that the webhook receiver got, written before it answers.

    `accepted` says whether the receiver took the event; `answer` is the status it is about to
    send, None where it sends none. `signature` is valid, invalid, absent, or unchecked where
    the receiver has no secret.
    """

    time: float
    name: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    signature: str
    accepted: bool
    answer: int | None
    fault: str | None

    @property
    def text(self) -> str:
        """The body as text; bytes that are none come out as replacement characters."""
        return self.body.decode("utf-8", "replace")


Record = StateRecord | RequestRecord | ReceivedRecord


def as_json(record: Record) -> dict[str, Any]:
    """Return the record as JSON values; a body that is not text is given in base64 as well."""
    values = {name: getattr(record, name) for name in record.__slots__}
    if isinstance(record, ReceivedRecord):
        values["body"] = record.text
        if record.text.encode() != record.body:
            values["body_base64"] = base64.b64encode(record.body).decode()
    return values
