"""A job and the states it had."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monitor.simulator.job_specs import Ending, JobSpec
from monitor.simulator.members import Service

Position = tuple[float, int]


@dataclass(frozen=True, slots=True)
class State:
    """What a job was from `since` (seconds since 1970) on."""

    number: int
    since: float
    members: Mapping[str, Any]
    extra: Mapping[str, Any]
    error: Ending | None = None
    missing: bool = False

    @property
    def summary(self) -> str:
        """The raw codes in short: `PENDING`, `AtAWS/InProgress`."""
        if "Status" in self.members:
            return str(self.members["Status"])
        codes = (self.members.get(name) for name in ("LocationCode", "ProgressCode"))
        return "/".join(str(code) for code in codes)


class Job:
    """One job; `position` orders jobs by their claimed age, then by their coming to be."""

    def __init__(self, spec: JobSpec, position: Position, first: State, keep: int | None) -> None:
        """Remember the newest `keep` states, all of them where it is None."""
        self.id = spec.id
        self.service: Service = spec.service
        self.region = spec.region
        self.account = spec.account
        self.position = position
        self._born = first.since
        self._states = deque([first], maxlen=keep)

    @property
    def key(self) -> tuple[Service, str, str]:
        """What no other job has."""
        return self.service, self.region, self.id

    @property
    def state(self) -> State:
        """The state now."""
        return self._states[-1]

    def become(self, state: State) -> None:
        """Take on a new state."""
        self._states.append(state)

    def state_at(self, moment: float) -> State | None:
        """Return the state the job had then; None where it did not exist yet."""
        if moment < self._born:
            return None
        earlier = (state for state in reversed(self._states) if state.since <= moment)
        return next(earlier, self._states[0])

    def belongs_to(self, account: str | None) -> bool:
        """Tell whether this account sees the job; None is a caller that sees everything."""
        return account is None or self.account in {None, account}
