"""Which faults hit a request."""

import random
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from monitor.simulator import fault_rules
from monitor.simulator.calls import Call
from monitor.simulator.clock import Clock
from monitor.simulator.fault_rules import Fault
from monitor.simulator.replies import Distortion
from monitor.simulator.triggers import Trigger


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to one request: a delay, a distorted answer, and at most one ending."""

    delay: float = 0.0
    distortion: Distortion = field(default_factory=Distortion)
    ending: Fault | None = None
    names: tuple[str, ...] = ()


class Buckets:
    """One bucket per key, each refilled at `rate` a second up to `burst`."""

    def __init__(self, rate: float, burst: float) -> None:
        """Start every bucket full."""
        self._rate = rate
        self._burst = burst
        self._level: dict[Hashable, tuple[float, float]] = {}

    def take(self, key: Hashable, now: float) -> bool:
        """Take a token; False where there is none."""
        tokens, since = self._level.get(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        allowed = tokens >= 1.0
        self._level[key] = (tokens - allowed, now)
        return allowed


class Faults:
    """The rules in force, in order; the first that ends a request keeps the rest from it."""

    def __init__(self, clock: Clock, rules: Iterable[Fault] = (), seed: int = 0) -> None:
        """Start with these rules; `seed` makes chance repeatable."""
        self._clock = clock
        self._seed = seed
        self._added = 0
        self._armed: dict[str, _Armed] = {}
        for rule in rules:
            self._arm(rule)

    def __iter__(self) -> Iterator[Fault]:
        """Go through the rules in force."""
        return iter([armed.rule for armed in self._armed.values()])

    def add(self, rule: Mapping[str, Any]) -> str:
        """Put a rule into force from now on, which is what its times count from; return its name.

        Raises:
            ValueError: it is not a rule, or its name is taken.
        """
        return self._arm(fault_rules.FAULT.validate_python(rule))

    def remove(self, name: str) -> None:
        """Lift one rule.

        Raises:
            LookupError: there is none of this name.
        """
        if name not in self._armed:
            raise LookupError(f"there is no fault {name!r}")
        del self._armed[name]

    def clear(self) -> None:
        """Lift all rules."""
        self._armed.clear()

    def views(self) -> list[dict[str, Any]]:
        """Return the rules in force as JSON values, with their names and how often they struck."""
        return [
            {
                **armed.rule.model_dump(mode="json", by_alias=True, exclude_unset=True),
                "name": name,
                "fired": armed.trigger.fired,
            }
            for name, armed in self._armed.items()
        ]

    def fired(self, name: str) -> int:
        """Return how often the rule struck."""
        return self._armed[name].trigger.fired

    def plan(self, call: Call) -> Plan:
        """Decide what happens to a request; counts it with every rule that it comes to."""
        plan = Plan()
        for name, armed in self._armed.items():
            if armed.strikes(call, self._clock):
                rule, names = armed.rule, (*plan.names, name)
                if isinstance(rule, fault_rules.Slow):
                    plan = replace(plan, delay=plan.delay + rule.delay, names=names)
                elif distortion := _distorted(plan.distortion, rule):
                    plan = replace(plan, distortion=distortion, names=names)
                else:
                    plan = replace(plan, ending=rule, names=names)
            if plan.ending:
                break
        return plan

    def _arm(self, rule: Fault) -> str:
        self._added += 1
        name = rule.name or f"{rule.kind}-{self._added}"
        if name in self._armed:
            raise ValueError(f"there is a fault named {name!r}")
        chance = random.Random(f"{self._seed}/{name}")  # noqa: S311 - chance, not secrecy
        self._armed[name] = _Armed(rule, Trigger(rule, chance, self._clock.elapsed()))
        return name


class _Armed:
    """A rule with what it has counted."""

    def __init__(self, rule: Fault, trigger: Trigger) -> None:
        self.rule = rule
        self.trigger = trigger
        self._buckets = (
            Buckets(rule.rate, rule.burst) if isinstance(rule, fault_rules.Throttle) else None
        )

    def strikes(self, call: Call, clock: Clock) -> bool:
        if not (self.rule.match.covers(call) and _applies(self.rule, call)):
            return False
        if not self.trigger.fires(clock.elapsed()):
            return False
        if self._buckets is None:
            return True
        return not self._buckets.take((call.service, call.access_key, call.region), clock.now())


def _applies(rule: Fault, call: Call) -> bool:
    """Keep faults of lists from spending themselves on other requests, and the reverse."""
    match rule:
        case fault_rules.TornPage():
            return (call.operation or "").startswith("List")
        case fault_rules.WrongId():
            return call.job is not None
        case _:
            return True


def _distorted(distortion: Distortion, rule: Fault) -> Distortion | None:
    """Return the distortion with what the rule adds; None where it ends a request instead."""
    match rule:
        case fault_rules.Stale():
            return replace(distortion, age=rule.age)
        case fault_rules.WrongId():
            return replace(distortion, wrong_id=rule.id)
        case fault_rules.BadTimestamp():
            return replace(distortion, bad_timestamp=rule.value)
        case fault_rules.EmptyObject():
            return replace(distortion, hollow=True)
        case fault_rules.TornPage():
            lossy = rule.form == "lossy"
            omit, page = (rule.omit, None) if lossy else (None, rule.form)
            return replace(distortion, omit=omit, page=page)
        case _:
            return None
