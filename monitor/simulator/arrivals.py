"""Jobs that come by themselves: generated ones, and scripted ones that come again."""

import random
from collections.abc import Callable, Sequence

from monitor.simulator import lifecycles
from monitor.simulator.clock import Clock
from monitor.simulator.job_specs import JobSpec
from monitor.simulator.scenario import Generate, Repeat
from monitor.simulator.scripts import Scripts


class Arrivals:
    """Lets jobs come at their times until stopped."""

    def __init__(self, clock: Clock, scripts: Scripts) -> None:
        """Take the clock that calls and what plays the jobs."""
        self._clock = clock
        self._scripts = scripts
        self._stopped = False

    def generate(self, plan: Generate, seed: int) -> None:
        """Let jobs with random lives come as planned; the same seed gives the same jobs."""

        def come(number: int, starts: float) -> None:
            spec = _drawn(plan, number, seed)
            if starts:
                spec = spec.model_copy(update={"starts": starts})
            self._scripts.begin(spec, plan.forget_after)

        at_start = plan.count if plan.max is None else min(plan.count, plan.max)
        for number in range(1, at_start + 1):
            come(number, plan.starts)
        if plan.every is not None:
            more = None if plan.max is None else plan.max - at_start
            self._every(
                plan.every, plan.starts, more, lambda turn: come(at_start + turn, starts=0.0)
            )

    def repeat(self, plan: Repeat, jobs: Sequence[JobSpec]) -> None:
        """Let the scripted jobs come again each round, from the second on."""

        def come_again(turn: int) -> None:
            for spec in jobs:
                again = spec.model_copy(update={"id": f"{spec.id}-{turn + 1}"})
                self._scripts.begin(again, plan.forget_after)

        more = None if plan.times is None else plan.times - 1
        self._every(plan.every, 0.0, more, come_again)

    def stop(self) -> None:
        """Let nothing more come."""
        self._stopped = True

    def _every(
        self, period: float, start: float, turns: int | None, act: Callable[[int], None]
    ) -> None:
        begin = self._clock.elapsed() + start

        def run(turn: int) -> None:
            if self._stopped or (turns is not None and turn > turns):
                return
            # Planned first: a job that cannot come must not keep the later ones away.
            self._clock.at(begin + (turn + 1) * period, lambda: run(turn + 1))
            if turn:
                act(turn)

        run(0)


def _drawn(plan: Generate, number: int, seed: int) -> JobSpec:
    job_id = plan.job_id(number)
    chance = random.Random(f"{seed}/{plan.service}/{job_id}")  # noqa: S311 - chance, not secrecy
    return JobSpec(
        id=job_id,
        service=plan.service,
        region=plan.region,
        account=plan.account,
        members=plan.members,
        steps=lifecycles.draw(plan.service, plan.profile, plan.pace, chance),
    )
