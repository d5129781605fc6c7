"""Sinks in AWS: several events in one request, and an outcome for each of them.

SNS, SQS and EventBridge differ in their ``BatchForm``: see sns.py, sqs.py, eventbridge.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from monitor.aws.clients import ResponseMeta
from monitor.errors import PartialSendError, SendError, SendReason
from monitor.model import SourceKey
from monitor.sinks.aws import refusals
from monitor.sinks.aws.truncate import versions
from monitor.sinks.kind import Preview, SinkKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from monitor.aws.clients import Clients
    from monitor.sinks.aws.refusals import EntryRefusal
    from monitor.sinks.aws.target import AwsTarget
    from monitor.sinks.kind import SinkTools

MOST_BYTES = 256 * 1024
"""Of a message, and of all messages of one request. That is the most for SNS and older
SQS queues; newer ones and event buses take larger messages."""

Entry = Mapping[str, Any]
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class BatchForm:
    """The form in which a service takes events.

    ``entry`` renders one event; ``params`` makes a request of several entries; ``outcomes``
    reads its answer: for each entry, in order, ``None`` where it was taken. Entries of which
    the answer says nothing may be left out at the end.
    """

    operation: str
    entry: Callable[[Mapping[str, Any]], Entry]
    params: Callable[[Sequence[Entry]], Mapping[str, Any]]
    outcomes: Callable[[Mapping[str, Any], int], Sequence[EntryRefusal | None]]


@dataclass(frozen=True, slots=True)
class _Rendered:
    """One event as an entry; ``size`` is in bytes."""

    event_id: str
    entry: Entry
    size: int


class AwsSender:
    """Sends to one topic, queue or event bus."""

    batch_size = 10

    def __init__(
        self, target: AwsTarget, form: BatchForm, clients: Clients, now: Callable[[], datetime]
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
        rendered, failures = self._render(events)
        for request in _requests(rendered):
            failures |= await self._send_once(request, deadline)
        reasons = list(failures.values())
        # One reason for all speaks of the sink; several, of the events.
        if len(reasons) == len(events) and all(each is reasons[0] for each in reasons):
            raise reasons[0]
        if failures:
            raise PartialSendError(failures)

    def _render(
        self, events: Sequence[Mapping[str, Any]]
    ) -> tuple[list[_Rendered], dict[str, SendError]]:
        """Return what can be sent, and the errors of events that cannot be made to fit."""
        rendered: list[_Rendered] = []
        failures: dict[str, SendError] = {}
        for event in events:
            for version in versions(event):
                entry = self._form.entry(version)
                size = weight(entry)
                if size <= MOST_BYTES:
                    rendered.append(_Rendered(event["id"], entry, size))
                    break
            else:
                message = "is larger than 256 KiB, even with its texts cut"
                failures[event["id"]] = SendError(SendReason.REJECTED, message)
        return rendered, failures

    async def _send_once(
        self, request: Sequence[_Rendered], deadline: float
    ) -> dict[str, SendError]:
        """Make one request; return the errors of what was not taken, by event id."""
        meta, operation = ResponseMeta(), self._form.operation
        params = self._form.params([each.entry for each in request])
        try:
            # One deadline for all requests of the batch: an attempt ends within ``timeout``.
            async with asyncio.timeout_at(deadline):
                answer = await self._clients.ask(self._key, operation, params, meta)
        except Exception as error:  # noqa: BLE001  # whatever the SDK raises must end here
            # Not raised here: it would keep the SDK's error, which may hold the reply.
            failure = refusals.of_request(self._target, operation, error, meta, self._now())
            if failure.reason is SendReason.REJECTED and len(request) > 1:
                # One bad entry may be the cause: next time each has other company, or none.
                failure = SendError(SendReason.SERVER_ERROR, f"{failure.message}, for a batch")
            return dict.fromkeys((each.event_id for each in request), failure)
        outcomes = list(self._form.outcomes(answer, len(request)))
        # An answer that is too short does not say that the rest was taken.
        outcomes += [refusals.UNANSWERED] * (len(request) - len(outcomes))
        return {
            each.event_id: refusals.of_entry(self._target.address, refusal)
            for each, refusal in zip(request, outcomes, strict=True)
            if refusal is not None
        }


def weight(value: Any) -> int:
    """Return the bytes of all texts in an entry, at least as many as the services count."""
    match value:
        case str():
            return len(value.encode())
        case Mapping():
            return sum(weight(key) + weight(item) for key, item in value.items())
        case list():
            return sum(map(weight, value))
    return 32


def _requests(rendered: Sequence[_Rendered]) -> Iterator[list[_Rendered]]:
    """Split entries, in order, into as few requests as their size allows."""
    request: list[_Rendered] = []
    room = MOST_BYTES
    for each in rendered:
        if each.size > room:
            yield request
            request, room = [], MOST_BYTES
        request.append(each)
        room -= each.size
    if request:
        yield request


def aws_kind(
    settings: type[S],
    load: Callable[[str, S, AwsTarget | None], AwsTarget],
    form: Callable[[AwsTarget], BatchForm],
    action: str,
) -> SinkKind[S, AwsTarget]:
    """Return the kind of a sink that sends batches of ``form`` and needs one IAM ``action``."""

    def open_sink(target: AwsTarget, tools: SinkTools) -> AbstractAsyncContextManager[AwsSender]:
        if tools.clients is None:
            raise ValueError("a sink in AWS needs clients")
        return nullcontext(AwsSender(target, form(target), tools.clients, tools.now))

    def preview(target: AwsTarget, events: Sequence[Mapping[str, Any]]) -> list[Preview]:
        made = form(target)
        bodies = (orjson.dumps(made.entry(event), option=orjson.OPT_INDENT_2) for event in events)
        return [Preview({"operation": made.operation}, body.decode()) for body in bodies]

    return SinkKind(
        settings,
        load,
        open_sink,
        preview=preview,
        permission=lambda target: (action, target.arn),
    )
