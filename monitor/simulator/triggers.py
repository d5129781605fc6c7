"""When a rule applies: in a stretch of time, and to which of the requests that it matches."""

import random
from typing import Self

from pydantic import Field, model_validator

from monitor.simulator.strict import Duration, Strict


class When(Strict):
    """A stretch of scenario time and a choice among the matching requests in it."""

    from_: Duration = Field(default=0.0, alias="from")
    until: Duration | None = None
    cycle: Duration | None = Field(default=None, gt=0, description="from/until within each cycle")
    probability: float | None = Field(default=None, ge=0, le=1)
    every: int | None = Field(default=None, ge=1, description="each Nth request")
    times: int | None = Field(default=None, ge=1, description="at most so many requests")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.probability is not None and self.every is not None:
            raise ValueError("probability and every exclude each other")
        if self.until is not None and self.until <= self.from_:
            raise ValueError("until must be later than from")
        return self

    def covers(self, elapsed: float) -> bool:
        """Tell whether the moment, in scenario seconds, lies in the stretch."""
        moment = elapsed % self.cycle if self.cycle else elapsed
        return self.from_ <= moment and (self.until is None or moment < self.until)


class Trigger:
    """Counts the matching requests of one rule."""

    def __init__(self, when: When, chance: random.Random, since: float = 0.0) -> None:
        """Take the rule's terms, its randomness, and the moment that its times count from."""
        self._when = when
        self._chance = chance
        self._since = since
        self._seen = 0
        self.fired = 0

    def fires(self, elapsed: float) -> bool:
        """Decide for one matching request made at this moment."""
        if not self._when.covers(elapsed - self._since):
            return False
        self._seen += 1
        if not self._chosen():
            return False
        self.fired += 1
        return True

    def _chosen(self) -> bool:
        when = self._when
        if when.times is not None and self.fired >= when.times:
            return False
        if when.every is not None:
            return self._seen % when.every == 0
        return when.probability is None or self._chance.random() < when.probability
