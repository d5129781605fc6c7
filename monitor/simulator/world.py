"""All jobs there are, and the only way to change one."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from monitor.simulator import members
from monitor.simulator.clock import Clock
from monitor.simulator.job import Job, Position, State
from monitor.simulator.job_specs import Change, JobSpec
from monitor.simulator.members import Service
from monitor.simulator.records import StateRecord
from monitor.simulator.truth import Log


class World:
    """Holds the jobs; every state that one takes on goes to the log in the same moment."""

    def __init__(
        self,
        clock: Clock,
        log: Log[StateRecord],
        defaults: Mapping[Service, Mapping[str, Any]] | None = None,
        keep: int | None = None,
    ) -> None:
        """Start empty; `defaults` are members that each new job of a service gets."""
        self._clock = clock
        self._log = log
        self._defaults = defaults or {}
        self._keep = keep
        self._jobs: dict[tuple[Service, str, str], Job] = {}
        self._ordered: defaultdict[tuple[Service, str], list[Job]] = defaultdict(list)
        self._born = 0

    def __iter__(self) -> Iterator[Job]:
        """Go through the jobs there are, oldest first."""
        return iter(tuple(self._jobs.values()))

    def __len__(self) -> int:
        """Count the jobs there are."""
        return len(self._jobs)

    def add(self, spec: JobSpec) -> Job:
        """Bring a job into being.

        Raises:
            ValueError: there is one with this service, region and id.
        """
        if (spec.service, spec.region, spec.id) in self._jobs:
            raise ValueError(f"there is a job {spec.id!r} of {spec.service} in {spec.region}")
        self._born += 1
        created = self._clock.now() - spec.age
        job = Job(spec, (created, self._born), self._first_state(spec, created), self._keep)
        self._jobs[job.key] = job
        insort(self._ordered[job.service, job.region], job, key=lambda other: other.position)
        self._record(job, spec.members)
        return job

    def change(self, job: Job, change: Change) -> State:
        """Put a job into its next state and return that.

        Raises:
            ValueError: the change is not one that the job's service knows.
        """
        change.check(job.service)
        state = _next(job, change, self._clock.now())
        job.become(state)
        self._record(job, change.set)
        return state

    def forget(self, job: Job) -> None:
        """Let a job go for good; its last state is that it is missing."""
        self.change(job, Change(vanish=True))
        del self._jobs[job.key]
        ordered = self._ordered[job.service, job.region]
        del ordered[bisect_left(ordered, job.position, key=lambda other: other.position)]

    def find(self, service: Service, region: str, job_id: str) -> Job | None:
        """Return the job, missing or not; None where there is none."""
        return self._jobs.get((service, region, job_id))

    def named(self, job_id: str) -> list[Job]:
        """Return the jobs of this id in all services and regions."""
        return [job for job in self if job.id == job_id]

    def newest_first(
        self, service: Service, region: str, before: Position | None = None
    ) -> Iterator[Job]:
        """Go through a region's jobs from the one before that position to the oldest."""
        jobs = self._ordered[service, region]
        end = len(jobs) if before is None else bisect_left(jobs, before, key=lambda j: j.position)
        return (jobs[place] for place in range(end - 1, -1, -1))

    def _first_state(self, spec: JobSpec, created: float) -> State:
        values = members.initial(spec.service, spec.id, created)
        values |= self._defaults.get(spec.service, {})
        values |= members.consequences(spec.id, spec.members)
        return State(1, self._clock.now(), _merged(values, spec.members), dict(spec.extra))

    def _record(self, job: Job, named: Iterable[str]) -> None:
        state = job.state
        shown = {name for name in state.members if name not in members.BULKY} | set(named)
        record = StateRecord(
            time=state.since,
            service=job.service,
            region=job.region,
            account=job.account,
            job=job.id,
            number=state.number,
            state=state.summary,
            error=state.error,
            missing=state.missing,
            members={name: value for name, value in state.members.items() if name in shown},
        )
        self._log.append(record)


def _next(job: Job, change: Change, now: float) -> State:
    before = job.state
    values = _merged({**before.members, **members.consequences(job.id, change.set)}, change.set)
    if job.service == "panorama" and "LastUpdatedTime" not in change.set:
        # Two changes within a millisecond still move the time on.
        last = before.members.get("LastUpdatedTime")
        earliest = last + 0.001 if isinstance(last, int | float) else now
        values["LastUpdatedTime"] = round(max(now, earliest), 3)
    return State(
        number=before.number + 1,
        since=now,
        members=values,
        extra=_merged(before.extra, change.extra),
        error=change.error if "error" in change.model_fields_set else before.error,
        missing=change.vanish or (before.missing and not change.reappear),
    )


def _merged(values: Mapping[str, Any], news: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**values, **news}
    return {name: value for name, value in merged.items() if value is not None}
