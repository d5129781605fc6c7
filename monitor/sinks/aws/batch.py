"""Sinks in AWS: several events in one request, and an outcome for each of them.

What SNS, SQS and EventBridge do not share is a ``Form``; see sns.py, sqs.py, eventbridge.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from monitor.aws.clients import ResponseMeta
from monitor.errors import PartialSendError, SendError, SendReason
from monitor.model import SourceKey
from monitor.sinks.aws import refusals
from monitor.sinks.aws.truncate import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from monitor.aws.clients import Clients
    from monitor.sinks.aws.refusals import Refusal
    from monitor.sinks.aws.target import Target

MOST_BYTES = 256 * 1024
"""Of a message, and of all messages of one request. SNS takes no more; newer SQS queues and
event buses do, older ones do not."""

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Form:
    """How a service takes events.

    ``entry`` renders one event; ``params`` makes a request of several entries; ``outcomes``
    reads its answer: for each entry, in order, ``None`` where it was taken. Entries of which
    the answer says nothing may be left out at the end.
    """

    operation: str
    entry: Callable[[Mapping[str, Any]], Entry]
    params: Callable[[Sequence[Entry]], Mapping[str, Any]]
    outcomes: Callable[[Mapping[str, Any], int], Sequence[Refusal | None]]


@dataclass(frozen=True, slots=True)
class _Letter:
    """One event, rendered; ``size`` is in bytes."""

    event_id: str
    entry: Entry
    size: int


class AwsSink:
    """Tells one topic, queue or event bus."""

    batch_size = 10

    def __init__(
        self, target: Target, form: Form, clients: Clients, now: Callable[[], datetime]
    ) -> None:
        """Take over no ownership of ``clients``; ``now`` tells the UTC time."""
        self._target = target
        self._form = form
        self._clients = clients
        self._now = now
        self._key = SourceKey(target.service, target.account, target.region)

    async def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Send each of ``events`` once, in one request, or in more where they are too large.

        An event that is held over for its size would count as failed, and one past its time
        would die untried: so the whole batch goes out.

        Raises:
            SendError: none was taken, for one reason.
            PartialSendError: some were not taken.
        """
        deadline = asyncio.get_running_loop().time() + self._target.timeout
        letters, failures = self._render(events)
        for request in _requests(letters):
            failures |= await self._ask(request, deadline)
        reasons = list(failures.values())
        if len(reasons) == len(events) and all(each is reasons[0] for each in reasons):
            raise reasons[0]
        if failures:
            raise PartialSendError(failures)

    def _render(
        self, events: Sequence[Mapping[str, Any]]
    ) -> tuple[list[_Letter], dict[str, SendError]]:
        """Return what can be sent, and the errors of events that cannot be made to fit."""
        letters: list[_Letter] = []
        failures: dict[str, SendError] = {}
        for event in events:
            letter = self._fitting(event)
            if letter is not None:
                letters.append(letter)
            else:
                message = "is larger than 256 KiB, even with its texts cut"
                failures[event["id"]] = SendError(SendReason.REJECTED, message)
        return letters, failures

    def _fitting(self, event: Mapping[str, Any]) -> _Letter | None:
        for version in versions(event):
            entry = self._form.entry(version)
            size = weight(entry)
            if size <= MOST_BYTES:
                return _Letter(event["id"], entry, size)
        return None

    async def _ask(self, letters: Sequence[_Letter], deadline: float) -> dict[str, SendError]:
        """Make one request; return the errors of what was not taken, by event id."""
        answer = await self._answer([letter.entry for letter in letters], deadline)
        if isinstance(answer, SendError):
            return dict.fromkeys((letter.event_id for letter in letters), answer)
        told = list(self._form.outcomes(answer, len(letters)))
        told += [refusals.UNTOLD] * (len(letters) - len(told))
        return {
            letter.event_id: refusals.of_entry(self._target.address, refusal)
            for letter, refusal in zip(letters, told, strict=True)
            if refusal is not None
        }

    async def _answer(
        self, entries: Sequence[Entry], deadline: float
    ) -> Mapping[str, Any] | SendError:
        """An error is returned, so that none of the SDK's, which may hold the reply, is kept."""
        exchange, operation = ResponseMeta(), self._form.operation
        try:
            async with asyncio.timeout_at(deadline):
                return await self._clients.ask(
                    self._key, operation, self._form.params(entries), exchange
                )
        except Exception as error:  # noqa: BLE001  # whatever the SDK raises must end here
            failure = refusals.of_request(self._target, operation, error, exchange, self._now())
        if failure.reason is SendReason.REJECTED and len(entries) > 1:
            # One bad entry may be the cause: on its next attempt each has other company, or none.
            return SendError(SendReason.SERVER_ERROR, f"{failure.message}, for a batch")
        return failure


def weight(value: Any) -> int:
    """Return the bytes of all texts in an entry, which is no less than the services count."""
    match value:
        case str():
            return len(value.encode())
        case Mapping():
            return sum(weight(key) + weight(item) for key, item in value.items())
        case list():
            return sum(map(weight, value))
    return 32


def _requests(letters: Sequence[_Letter]) -> Iterator[list[_Letter]]:
    """Part letters, in order, into as few requests as their size allows."""
    request: list[_Letter] = []
    room = MOST_BYTES
    for letter in letters:
        if letter.size > room:
            yield request
            request, room = [], MOST_BYTES
        request.append(letter)
        room -= letter.size
    if request:
        yield request
