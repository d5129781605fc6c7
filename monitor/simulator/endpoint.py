"""The AWS side: takes a request through the faults, the gate and the service, and records it."""

import asyncio
import uuid
from dataclasses import replace

from aiohttp import web

from monitor.simulator import calls, fault_rules, refusals, servers, sts
from monitor.simulator.calls import Call
from monitor.simulator.clock import Clock
from monitor.simulator.faults import Faults, Plan
from monitor.simulator.gate import Gate
from monitor.simulator.importexport import ImportExport
from monitor.simulator.members import Service
from monitor.simulator.pages import ServiceRequest
from monitor.simulator.panorama import Panorama
from monitor.simulator.records import RequestRecord
from monitor.simulator.replies import Reply, ServiceError
from monitor.simulator.signing import HttpRequest, Refusal
from monitor.simulator.truth import Log

_SILENT = (fault_rules.Reset, fault_rules.Hang)


class Endpoint:
    """Serves both services on one port."""

    def __init__(
        self,
        clock: Clock,
        log: Log[RequestRecord],
        faults: Faults,
        gate: Gate,
        services: dict[Service, Panorama | ImportExport],
    ) -> None:
        """Take what each step of a request asks."""
        self._clock = clock
        self._log = log
        self._faults = faults
        self._gate = gate
        self._services = services

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one request; it is recorded when its answer is decided, or the client leaves."""
        http = await _read(request)
        # No fault befalls it, and the ground truth is about jobs.
        if sts.is_meant(http):
            return sts.answer(http, self._gate)
        call = calls.read(http)
        plan = self._faults.plan(call)
        request_id = str(uuid.uuid4())
        try:
            if plan.delay:
                await asyncio.sleep(plan.delay)
        except asyncio.CancelledError:
            self._record(call, plan, None, request_id)
            raise
        reply = (
            None if isinstance(plan.ending, _SILENT) else self._reply(http, call, plan, request_id)
        )
        self._record(call, plan, reply, request_id)
        return await _send(request, reply, plan)

    def _reply(self, http: HttpRequest, call: Call, plan: Plan, request_id: str) -> Reply:
        service = self._services[call.service]
        try:
            planned = _instead(call, plan)
            if planned:
                return planned
            account = self._gate.account(http, call)
            now = self._clock.now()
            reply = service.answer(ServiceRequest(call, account, now, plan.distortion, request_id))
        except ServiceError as error:
            reply = service.refuse(error, request_id)
        return _damaged(reply, plan)

    def _record(self, call: Call, plan: Plan, reply: Reply | None, request_id: str) -> None:
        whole = reply is not None and not isinstance(plan.ending, fault_rules.Cut)
        self._log.append(
            RequestRecord(
                time=self._clock.now(),
                service=call.service,
                operation=call.operation,
                job=call.job,
                region=call.region,
                access_key=call.access_key,
                status=reply.status if reply and whole else None,
                error=reply.error if reply else None,
                fault=plan.names,
                state=reply.state if reply else None,
                rows=reply.rows if reply else None,
                request_id=request_id,
            )
        )


async def _read(request: web.Request) -> HttpRequest:
    path, _, query = request.raw_path.partition("?")
    return HttpRequest(request.method, path, query, request.headers, await request.read())


def _instead(call: Call, plan: Plan) -> Reply | None:
    """Return the reply that a fault gives without asking the service; None for no such fault."""
    match plan.ending:
        case fault_rules.Throttle() as rule:
            raise refusals.throttled(call.service, rule)
        case fault_rules.Error() as rule:
            raise refusals.scripted(rule)
        case fault_rules.Denied():
            raise refusals.denied(call.service, call.operation)
        case fault_rules.ExpiredCredentials():
            raise refusals.not_let_in(call.service, Refusal.EXPIRED)
        case fault_rules.Html() as rule:
            return Reply(rule.status, "text/html", rule.body.encode())
        case fault_rules.Empty() as rule:
            return Reply(rule.status, "text/plain", b"")
        case _:
            return None


def _damaged(reply: Reply, plan: Plan) -> Reply:
    match plan.ending:
        case fault_rules.Malformed():
            half = reply.body.rstrip()[: len(reply.body) // 2]
            return replace(reply, body=half, state=None, rows=None)
        case fault_rules.Cut():
            return replace(reply, state=None, rows=None)
        case _:
            return reply


async def _send(request: web.Request, reply: Reply | None, plan: Plan) -> web.StreamResponse:
    if reply is None:
        is_reset = isinstance(plan.ending, fault_rules.Reset)
        return servers.reset(request) if is_reset else await servers.hang()
    headers = {"Content-Type": reply.content_type, **reply.headers}
    response = web.Response(status=reply.status, body=reply.body, headers=headers)
    if isinstance(plan.ending, fault_rules.Cut):
        return await servers.cut(request, response)
    return response
