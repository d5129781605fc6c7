"""Everything that can go wrong, and what may be done about it.

MonitorError
├── ConfigurationError   the user's mistake; a list of problems; exit 2
├── StoppingError        the daemon is stopping; nothing more is accepted
├── PollError            one poll of AWS brought nothing about a job
├── UnreachableJobError  the job that is waited for is unreachable; waiting does not help
├── DaemonError          a daemon did not answer over its API; exit 69
├── SendError            one attempt to deliver to a sink failed
│   └── PartialSendError some events of a batch failed
└── StoreError           the store cannot be used; fatal; exit 74
    ├── StoreLockedError another process has it; exit 69
    └── StoreLostError   its server cannot be reached; the daemon waits for it
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from monitor.retry_after import bounded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class PollReason(StrEnum):
    """Why a poll failed: the closed set that decides what the poller does.

    Source: the error table of the two services (docs/job-types.md repeats it).
    """

    THROTTLE = "throttle"
    TRANSIENT = "transient"
    UNAVAILABLE = "unavailable"
    AUTH = "auth"
    MISSING = "missing"
    CONFIG = "config"
    MALFORMED = "malformed"
    INTERNAL = "internal"


class SendReason(StrEnum):
    """Why a sink did not take an event: the closed set that decides what happens next."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    REJECTED = "rejected"
    FORBIDDEN_ADDRESS = "forbidden_address"
    GONE = "gone"
    DENIED = "denied"
    INTERNAL = "internal"

    @property
    def retryable(self) -> bool:
        """Whether the same event may be taken later.

        A name that leads to a forbidden address may be a passing answer of DNS; an
        address that is forbidden for good is refused with the configuration. Where
        credentials or a policy deny it, someone may fix them.
        """
        return self is not SendReason.REJECTED

    @property
    def parks(self) -> bool:
        """Whether the receiver asked for nothing more to be sent."""
        return self is SendReason.GONE

    @property
    def uncertain(self) -> bool:
        """Whether the receiver may have taken the event all the same."""
        return self in {
            SendReason.TIMEOUT,
            SendReason.CONNECTION,
            SendReason.SERVER_ERROR,
            SendReason.INTERNAL,
        }


class MonitorError(Exception):
    """Base of all errors of the monitor."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the configuration: where, what, and how to fix it.

    A ``warning`` may be meant so, and stops nothing. ``trace`` is a redacted traceback where
    the mistake is the program's own.
    """

    place: str
    path: str
    message: str
    remedy: str = ""
    warning: bool = False
    trace: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        """Make the words one printable line: they may repeat a key or name as it was written."""
        object.__setattr__(self, "message", printable(self.message))
        object.__setattr__(self, "remedy", printable(self.remedy))

    def __str__(self) -> str:
        """One line: ``FILE:LINE: key.path: message (remedy)``."""
        where = ": ".join(part for part in (self.place, self.path) if part)
        text = f"{where}: {self.message}" if where else self.message
        return printable(f"{text} ({self.remedy})" if self.remedy else text)


def printable(text: str) -> str:
    """Return ``text`` on one line, with ``?`` for each character that does not print."""
    # Half of a surrogate pair cannot even be written, and a line break would make two lines.
    return "".join(letter if letter.isprintable() else "?" for letter in text)


class ConfigurationError(MonitorError):
    """The configuration cannot be used; all its problems at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Keep every problem found, in the order of the files."""
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class StopRequested(SystemExit):
    """Somebody ended the process with a signal while it starts; no net may catch it.

    A plug-in that ends the process by itself is refused, so a plain SystemExit does not do.
    """


class StoppingError(MonitorError):
    """The daemon is stopping."""


class PollError(MonitorError):
    """A poll brought nothing about the job; never a state.

    ``code``, ``status`` and ``request_id`` are what AWS named, if anything; no text
    of an answer is ever carried, as it may hold secrets. ``retry_after`` is in
    seconds. ``where`` is a redacted traceback, for ``INTERNAL`` alone. ``of_credentials``
    says that no request was sent, as there were no credentials to sign it with.
    """

    def __init__(
        self,
        reason: PollReason,
        code: str = "",
        *,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        hint: str = "",
        where: str = "",
        of_credentials: bool = False,
    ) -> None:
        """Say why the poll failed."""
        detail = f" ({hint})" if hint else ""
        super().__init__(f"{reason.value}: {code or 'no code'}{detail}")
        self.reason = reason
        self.code = code
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after
        self.hint = hint
        self.where = where
        self.of_credentials = of_credentials


class UnreachableJobError(MonitorError):
    """The job that is waited for is unreachable, and waiting on would not change that."""


class DaemonError(MonitorError):
    """A daemon did not answer a request to its HTTP API.

    ``passing`` says that it may answer later, ``status`` what it answered with, if it did, and
    ``problems`` what it said is wrong with the request.
    The message holds no secret; ``retry_after`` is in seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        passing: bool = False,
        status: int | None = None,
        retry_after: float | None = None,
        problems: Sequence[Problem] = (),
    ) -> None:
        """Say what came instead of an answer."""
        super().__init__(message)
        self.passing = passing
        self.status = status
        self.problems = problems
        self.retry_after = retry_after


class SendError(MonitorError):
    """A sink did not take an event.

    ``message`` is short and carries no secret (no URL path or query, no reply body
    beyond a cleaned excerpt). ``retry_after`` is in seconds; what is no
    such number counts as not given.
    """

    def __init__(
        self, reason: SendReason, message: str, *, retry_after: float | None = None
    ) -> None:
        """Say why the sink did not take it."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after = bounded(retry_after)


class PartialSendError(MonitorError):
    """Some events of a batch were not taken; ``failures`` maps event id to its error."""

    def __init__(self, failures: Mapping[str, SendError]) -> None:
        """Keep each event's own error."""
        super().__init__(f"{len(failures)} events of a batch were not taken")
        self.failures = failures


class StoreError(MonitorError):
    """The store cannot be used; going on would lose something."""


class StoreLockedError(StoreError):
    """Another process already uses this store."""


class StoreLostError(StoreError):
    """The server of the store cannot be reached, or gave up a statement; it may come back."""
