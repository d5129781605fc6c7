"""Receivers of webhooks: they take events, or fail to, and remember every request."""

import asyncio
import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp import web

from monitor.simulator import servers, signatures
from monitor.simulator.clock import Clock
from monitor.simulator.receiver_rules import (
    Answer,
    Behaviour,
    HangReceiver,
    ReceiverFault,
    Redirect,
    ResetReceiver,
    SlowReceiver,
)
from monitor.simulator.records import ReceivedRecord
from monitor.simulator.triggers import Trigger
from monitor.simulator.truth import Log

DEFAULT = "default"
_PREFIX = "/hook/"
_UNAUTHORIZED = 401


class Receiver:
    """All receivers of one port; `/hook/ops` is the receiver `ops`, another path its own name."""

    def __init__(
        self,
        clock: Clock,
        log: Log[ReceivedRecord],
        behaviours: Mapping[str, Behaviour] | None = None,
        seed: int = 0,
    ) -> None:
        """Start with these behaviours; names without one behave as `default`."""
        self._clock = clock
        self._log = log
        self._seed = seed
        self._manners: dict[str, _Manner] = {}
        for name, behaviour in {DEFAULT: Behaviour(), **(behaviours or {})}.items():
            self._adopt(name, behaviour)

    @property
    def received(self) -> Iterator[ReceivedRecord]:
        """Go through the requests kept, oldest first."""
        return iter(self._log)

    def accepted(self, name: str | None = None) -> list[ReceivedRecord]:
        """Return the requests whose event was taken, of one receiver or of all."""
        return [r for r in self._log if r.accepted and name in {None, r.name}]

    def behaviour(self, name: str) -> Behaviour:
        """Return how a receiver behaves now."""
        return self._manner(name).behaviour

    def behave(self, name: str, behaviour: Behaviour | Mapping[str, Any]) -> None:
        """Let a receiver behave like this from now on, instead of as before.

        Raises:
            ValueError: there is no such behaviour.
        """
        self._adopt(name, Behaviour.model_validate(behaviour))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one request."""
        body = await request.read()
        name = request.path.removeprefix(_PREFIX) or DEFAULT
        manner = self._manner(name)
        fault = manner.choose(self._clock.elapsed())
        signature = _signature(manner.behaviour, request.headers, body, self._clock.now())
        answer = _answer(manner.behaviour, fault, signature)
        self._log.append(
            ReceivedRecord(
                time=self._clock.now(),
                name=name,
                method=request.method,
                path=request.path_qs,
                headers=dict(request.headers),
                body=body,
                signature=signature,
                accepted=_is_taken(fault, answer),
                answer=None if isinstance(fault, ResetReceiver | HangReceiver) else answer,
                fault=fault.kind if fault else None,
            )
        )
        return await _respond(request, fault, answer)

    def _manner(self, name: str) -> "_Manner":
        return self._manners.get(name) or self._manners[DEFAULT]

    def _adopt(self, name: str, behaviour: Behaviour) -> None:
        chance = random.Random(f"{self._seed}/{name}")  # noqa: S311 - chance, not secrecy
        self._manners[name] = _Manner(behaviour, chance, self._clock.elapsed())


class _Manner:
    """A behaviour with what its faults have counted."""

    def __init__(self, behaviour: Behaviour, chance: random.Random, since: float) -> None:
        self.behaviour = behaviour
        self._triggers = [(fault, Trigger(fault, chance, since)) for fault in behaviour.faults]

    def choose(self, elapsed: float) -> ReceiverFault | None:
        return next((fault for fault, trigger in self._triggers if trigger.fires(elapsed)), None)


def _signature(behaviour: Behaviour, headers: Mapping[str, str], body: bytes, now: float) -> str:
    if not behaviour.secrets:
        return "unchecked"
    if "webhook-signature" not in headers:
        return "absent"
    valid = any(signatures.check(secret, headers, body, now) for secret in behaviour.secrets)
    return "valid" if valid else "invalid"


def _answer(behaviour: Behaviour, fault: ReceiverFault | None, signature: str) -> int:
    if isinstance(fault, Answer | Redirect):
        return fault.status
    if behaviour.require_signature and signature in {"invalid", "absent"}:
        return _UNAUTHORIZED
    return behaviour.status


def _is_taken(fault: ReceiverFault | None, answer: int) -> bool:
    refused_before = isinstance(fault, ResetReceiver) and fault.taken == "before"
    return 200 <= answer < 300 and not refused_before  # noqa: PLR2004 - HTTP's own lines


async def _respond(
    request: web.Request, fault: ReceiverFault | None, answer: int
) -> web.StreamResponse:
    match fault:
        case ResetReceiver():
            return servers.reset(request)
        case HangReceiver():
            return await servers.hang()
        case SlowReceiver():
            await asyncio.sleep(fault.delay)
        case Redirect():
            return web.Response(status=answer, headers={"Location": fault.location})
        case Answer():
            after = fault.retry_after
            headers = {} if after is None else {"Retry-After": str(math.ceil(after))}
            return web.Response(status=answer, text=fault.body, headers=headers)
        case None:
            pass
    return web.Response(status=answer)
