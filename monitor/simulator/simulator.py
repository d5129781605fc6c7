"""Puts a simulation together, starts and stops it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from monitor.simulator import servers
from monitor.simulator.arrivals import Arrivals
from monitor.simulator.clock import Clock
from monitor.simulator.control import Control
from monitor.simulator.endpoint import Endpoint
from monitor.simulator.faults import Faults
from monitor.simulator.gate import Gate
from monitor.simulator.importexport import ImportExport
from monitor.simulator.job import Job, State
from monitor.simulator.job_specs import Change, JobSpec
from monitor.simulator.members import Service
from monitor.simulator.panorama import Panorama
from monitor.simulator.receiver import Receiver
from monitor.simulator.scenario import Scenario
from monitor.simulator.scripts import Scripts
from monitor.simulator.truth import Truth
from monitor.simulator.world import World


class Simulator:
    """A running simulation; get one from `running`.

    `url` is where AWS stands, `receiver_url` where receivers do; both without a final slash.
    """

    def __init__(self, scenario: Scenario, clock: Clock, truth: Truth) -> None:
        """Build everything; nothing happens before `start`."""
        self.scenario = scenario
        self.clock = clock
        self.truth = truth
        self.url = ""
        self.receiver_url = ""
        self.world = World(clock, truth.states, scenario.defaults, scenario.keep)
        self.faults = Faults(clock, scenario.faults, scenario.seed)
        self.receiver = Receiver(clock, truth.received, scenario.receivers, scenario.seed)
        self._scripts = Scripts(clock, self.world)
        self._arrivals = Arrivals(clock, self._scripts)

    def start(self) -> None:
        """Let the scenario's jobs come and live."""
        repeat = self.scenario.repeat
        for spec in self.scenario.jobs:
            self._scripts.begin(spec, repeat.forget_after if repeat else None)
        if repeat:
            self._arrivals.repeat(repeat, self.scenario.jobs)
        for plan in self.scenario.generate:
            self._arrivals.generate(plan, self.scenario.seed)

    def stop(self) -> None:
        """Let nothing more happen to the jobs."""
        self._arrivals.stop()
        self._scripts.stop()

    def add_job(self, spec: JobSpec | Mapping[str, Any] | None = None, /, **fields: Any) -> Job:
        """Bring a job into being now, and play its steps.

        Raises:
            ValueError: it is not a job, it starts later, or there is one like it.
        """
        job_spec = spec if isinstance(spec, JobSpec) else _job_spec(spec, fields)
        if job_spec.starts:
            raise ValueError("starts: a job that is added comes at once")
        self._scripts.begin(job_spec)
        job = self.world.find(job_spec.service, job_spec.region, job_spec.id)
        assert job is not None  # noqa: S101 - it has just begun
        return job

    def change(
        self,
        job_id: str,
        change: Change | Mapping[str, Any] | None = None,
        /,
        *,
        service: Service | None = None,
        region: str | None = None,
        **members: Any,
    ) -> State:
        """Change a job now: `change("job", Status="FAILED")`, `change("job", {"vanish": True})`.

        Raises:
            LookupError: no job has this id, or several do and service and region do not decide.
            ValueError: the job's service knows no such change.
        """
        found = [
            job
            for job in self.world.named(job_id)
            if service in {None, job.service} and region in {None, job.region}
        ]
        if len(found) != 1:
            raise LookupError(f"{len(found) or 'no'} jobs are called {job_id!r}")
        return self.world.change(found[0], _change(change, members))

    def summary(self) -> dict[str, Any]:
        """Tell in short what is going on, as JSON values."""
        return {
            "status": "ok",
            "scenario": self.scenario.name,
            "elapsed": round(self.clock.elapsed(), 3),
            "url": self.url,
            "receiver_url": self.receiver_url,
            "jobs": len(self.world),
            "states": self.truth.states.count,
            "requests": self.truth.requests.count,
            "received": self.truth.received.count,
        }

    def describe(self) -> str:
        """Tell a reader, in a few lines, what runs where."""
        faults = ", ".join(view["name"] for view in self.faults.views()) or "none"
        arriving = sum(plan.every is not None for plan in self.scenario.generate)
        to_come = sum(bool(spec.starts) for spec in self.scenario.jobs)
        lines = (
            f"Scenario   {self.scenario.name}: {' '.join(self.scenario.description.split())}",
            f"AWS        {self.url}  (panorama and importexport; control under /_simulator/)",
            f"Receiver   {self.receiver_url}/hook/NAME",
            f"Jobs       {len(self.world)} now, {to_come} to come, {arriving} kinds keep arriving",
            f"Faults     {faults}",
        )
        return "\n".join(lines)


@asynccontextmanager
async def running(
    scenario: Scenario | Mapping[str, Any] | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    receiver_host: str | None = None,
    receiver_port: int = 0,
    directory: str | Path | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Simulator]:
    """Run a simulation in the running loop, without threads or tasks of its own.

    Port 0 takes a free one. Given a directory, the ground truth is appended to files there.
    """
    chosen = Scenario.model_validate(scenario or {})
    async with AsyncExitStack() as stack:
        truth = Truth(chosen.keep, Path(directory) if directory is not None else None)
        stack.callback(truth.close)
        simulator = Simulator(chosen, clock or Clock(chosen.speed), truth)
        aws, hooks = _applications(simulator)
        simulator.url = await stack.enter_async_context(servers.serving(aws, host, port))
        simulator.receiver_url = await stack.enter_async_context(
            servers.serving(hooks, receiver_host or host, receiver_port)
        )
        stack.callback(simulator.stop)
        simulator.start()
        yield simulator


async def serve_forever(
    scenario: Scenario,
    *,
    listen: str = "127.0.0.1:4566",
    receiver: str = "127.0.0.1:0",
    directory: str | Path | None = None,
    ready: Callable[[Simulator], None] | None = None,
) -> None:
    """Run a simulation until cancelled; addresses are HOST:PORT. `ready` is called once it runs.

    Raises:
        ValueError: an address is none.
        OSError: an address cannot be listened on, or the directory not be written.
    """
    host, port = servers.address(listen)
    receiver_host, receiver_port = servers.address(receiver)
    async with running(
        scenario,
        host=host,
        port=port,
        receiver_host=receiver_host,
        receiver_port=receiver_port,
        directory=directory,
    ) as simulator:
        if ready:
            ready(simulator)
        await asyncio.Event().wait()


def _applications(simulator: Simulator) -> tuple[web.Application, web.Application]:
    scenario, world = simulator.scenario, simulator.world
    endpoint = Endpoint(
        simulator.clock,
        simulator.truth.requests,
        simulator.faults,
        Gate(scenario.credentials),
        {
            "panorama": Panorama(world, scenario.page_limit),
            "importexport": ImportExport(world, scenario.page_limit),
        },
    )
    return (
        servers.application(endpoint.handle, Control(simulator).routes()),
        servers.application(simulator.receiver.handle),
    )


def _job_spec(spec: Mapping[str, Any] | None, fields: Mapping[str, Any]) -> JobSpec:
    return JobSpec.model_validate({**(spec or {}), **fields})


def _change(change: Change | Mapping[str, Any] | None, members: Mapping[str, Any]) -> Change:
    if isinstance(change, Change) and not members:
        return change
    given = change.model_dump(exclude_unset=True) if isinstance(change, Change) else change or {}
    return Change.model_validate({**given, "set": {**given.get("set", {}), **members}})
