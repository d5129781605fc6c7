"""The control API, `/_simulator/` on the AWS port: inspect the simulation, and change it."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import web
from pydantic import ValidationError

from monitor.simulator.faults import Faults
from monitor.simulator.job import Job, State
from monitor.simulator.job_specs import Change
from monitor.simulator.receiver import Receiver
from monitor.simulator.records import as_json
from monitor.simulator.strict import problems
from monitor.simulator.truth import Log, Truth
from monitor.simulator.world import World

PREFIX = "/_simulator"
HEALTHY = "/-/healthy"
"""The path of health checks, as everywhere; AWS has no such path."""
_Handler = Callable[[web.Request], Awaitable[web.Response]]


class Controlled(Protocol):
    """What the control API needs of a simulation."""

    world: World
    truth: Truth
    faults: Faults
    receiver: Receiver

    def add_job(self, spec: Any = None, /, **fields: Any) -> Job:
        """Create a job."""

    def change(self, job_id: str, change: Any, /, **where: Any) -> State:
        """Change a job now."""

    def summary(self) -> dict[str, Any]:
        """Return a summary of the simulation."""


class Control:
    """Serves the control API; a mistake of the caller is answered 400 with one line."""

    def __init__(self, simulation: Controlled) -> None:
        """Take the simulation to control."""
        self._simulation = simulation

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the API."""
        truth = self._simulation.truth
        return [
            web.get(HEALTHY, _healthy),
            web.get(f"{PREFIX}/health", _json(self._summary)),
            web.get(f"{PREFIX}/truth", _json(_lines(truth.states))),
            web.get(f"{PREFIX}/requests", _json(_lines(truth.requests))),
            web.get(f"{PREFIX}/received", _json(_lines(truth.received))),
            web.get(f"{PREFIX}/jobs", _json(self._jobs)),
            web.post(f"{PREFIX}/jobs", _json(self._add_job)),
            web.post(f"{PREFIX}/jobs/{{id}}", _json(self._change_job)),
            web.get(f"{PREFIX}/faults", _json(self._faults)),
            web.post(f"{PREFIX}/faults", _json(self._add_fault)),
            web.delete(f"{PREFIX}/faults", _json(self._clear_faults)),
            web.delete(f"{PREFIX}/faults/{{name}}", _json(self._remove_fault)),
            web.post(f"{PREFIX}/receiver/{{name:.+}}", _json(self._behave)),
            web.route("*", PREFIX + "/{tail:.*}", _json(_unknown)),
        ]

    async def _summary(self, _request: web.Request) -> dict[str, Any]:
        return self._simulation.summary()

    async def _jobs(self, _request: web.Request) -> list[dict[str, Any]]:
        return [_job_view(job, job.state) for job in self._simulation.world]

    async def _add_job(self, request: web.Request) -> dict[str, Any]:
        job = self._simulation.add_job(await _body(request))
        return _job_view(job, job.state)

    async def _change_job(self, request: web.Request) -> dict[str, Any]:
        where = {name: request.query.get(name) for name in ("service", "region")}
        change = Change.model_validate(await _body(request))
        state = self._simulation.change(request.match_info["id"], change, **where)
        return {"id": request.match_info["id"], "number": state.number, "state": state.summary}

    async def _faults(self, _request: web.Request) -> list[dict[str, Any]]:
        return self._simulation.faults.views()

    async def _add_fault(self, request: web.Request) -> dict[str, Any]:
        return {"name": self._simulation.faults.add(await _body(request))}

    async def _clear_faults(self, _request: web.Request) -> dict[str, Any]:
        self._simulation.faults.clear()
        return {}

    async def _remove_fault(self, request: web.Request) -> dict[str, Any]:
        self._simulation.faults.remove(request.match_info["name"])
        return {}

    async def _behave(self, request: web.Request) -> dict[str, Any]:
        name = request.match_info["name"]
        self._simulation.receiver.behave(name, await _body(request))
        return {"name": name}


def _json(answer: Callable[[web.Request], Awaitable[Any]]) -> _Handler:
    async def handle(request: web.Request) -> web.Response:
        try:
            return web.json_response(await answer(request))
        except ValidationError as error:
            return _refused("; ".join(problems(error)))
        except (ValueError, LookupError) as error:
            return _refused(" ".join(str(error.args[0]).split()))

    return handle


def _refused(message: str) -> web.Response:
    return web.json_response({"error": message}, status=400)


def _lines(log: Log[Any]) -> Callable[[web.Request], Awaitable[list[dict[str, Any]]]]:
    async def answer(request: web.Request) -> list[dict[str, Any]]:
        after = request.query.get("after", "0")
        if not after.isdecimal():
            raise ValueError(f"after: {after!r} is not a number")
        job = request.query.get("job")
        return [
            {"line": line, **as_json(record)}
            for line, record in log.after(int(after))
            if job in {None, getattr(record, "job", None)}
        ]

    return answer


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.text())
    except ValueError as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise ValueError("the body is not a JSON object")  # noqa: TRY004 - the caller's mistake
    return body


async def _healthy(_request: web.Request) -> web.Response:
    return web.Response(text="healthy\n")


async def _unknown(request: web.Request) -> None:
    raise LookupError(f"there is no {request.method} {request.path}")


def _job_view(job: Job, state: State) -> dict[str, Any]:
    return {
        "id": job.id,
        "service": job.service,
        "region": job.region,
        "account": job.account,
        "number": state.number,
        "state": state.summary,
        "error": state.error,
        "missing": state.missing,
        "members": state.members,
    }
