"""Plays the lives of jobs at their times."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from monitor.simulator.clock import Clock
from monitor.simulator.job import Job
from monitor.simulator.job_specs import JobSpec
from monitor.simulator.world import World

if TYPE_CHECKING:
    import asyncio

JobKey = tuple[str, str, str]


class Scripts:
    """Takes each step when it is due, whether anybody looks or not."""

    def __init__(self, clock: Clock, world: World) -> None:
        """Take the clock that calls and the jobs to change."""
        self._clock = clock
        self._world = world
        self._pending: dict[JobKey, asyncio.TimerHandle] = {}

    def begin(self, spec: JobSpec, forget_after: float | None = None) -> None:
        """Let a job be, `spec.starts` from now; forget it so long after its last step.

        Raises:
            ValueError: there is such a job, or one is about to be.
        """
        key = (spec.service, spec.region, spec.id)
        if key in self._pending:
            raise ValueError(f"there is a job {spec.id!r} of {spec.service} to come")
        due = self._clock.elapsed() + spec.starts
        if spec.starts:
            self._at(key, due, lambda: self._enter(spec, due, forget_after))
        else:
            self._enter(spec, due, forget_after)

    def stop(self) -> None:
        """Take no further steps."""
        for handle in self._pending.values():
            handle.cancel()
        self._pending.clear()

    def _enter(self, spec: JobSpec, due: float, forget_after: float | None) -> None:
        job = self._world.add(spec)
        self._plan(job, spec, 0, due, forget_after)

    def _plan(
        self, job: Job, spec: JobSpec, number: int, due: float, forget_after: float | None
    ) -> None:
        if number < len(spec.steps):
            step = spec.steps[number]
            # From the time the last step was due, not from now, so that delays do not add up.
            due += step.after

            def take() -> None:
                self._world.change(job, step)
                self._plan(job, spec, number + 1, due, forget_after)

            self._at(job.key, due, take)
        elif forget_after is not None:
            self._at(job.key, due + forget_after, lambda: self._world.forget(job))

    def _at(self, key: JobKey, due: float, act: Callable[[], None]) -> None:
        def run() -> None:
            del self._pending[key]
            act()

        self._pending[key] = self._clock.at(due, run)
