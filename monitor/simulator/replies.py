"""What goes back to the client, before anything breaks it on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Rows = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, with what it shows for the record.

    `state` is the number of the job's state that it shows, `rows` are (job id, state number)
    of a list; both stay empty where the answer shows nothing of a job.
    """

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    state: int | None = None
    rows: Rows | None = None


@dataclass(frozen=True, slots=True)
class Distortion:
    """How an otherwise proper answer is to be wrong."""

    age: float = 0.0
    wrong_id: str | None = None
    bad_timestamp: str | None = None
    page: str | None = None
    omit: str | None = None
    hollow: bool = False

    @property
    def damaging(self) -> bool:
        """Whether a careful client must refuse the answer."""
        return self.hollow or self.wrong_id is not None or self.bad_timestamp is not None


class ServiceError(Exception):
    """The service refuses; each protocol writes it in its own way."""

    def __init__(
        self,
        code: str,
        message: str,
        status: int = 400,
        *,
        members: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
        state: int | None = None,
        code_in: str = "header",
    ) -> None:
        """Keep what the protocols need; `state` is what the error shows."""
        super().__init__(code)
        self.code = code
        self.message = message
        self.status = status
        self.members = members or {}
        self.retry_after = retry_after
        self.state = state
        self.code_in = code_in
