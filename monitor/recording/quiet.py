"""What keeps transitions from being sent: silences, maintenance windows and acknowledgements.

A hold is a silence, named by its id, or the maintenance of a watch, named ``maintenance:WATCH``.
It begins when its time comes. It ends only when ``let_go`` is called, in the same step of the event
loop in which the release of what it held is handed to the store. So nothing is recorded as held
behind the release, and nothing is sent before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitor import model
from monitor.config import SilenceMatch
from monitor.model import Kind
from monitor.recording import maintenance
from monitor.recording.router import Facts, matches

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from monitor.config import MaintenanceWindow, Watch
    from monitor.interfaces import JobStatus
    from monitor.recording.diff import TrackingOptions

MAINTENANCE = "maintenance:"
"""Begins the name of the maintenance of a watch, which no id of a silence does."""

KEEPS_ACKNOWLEDGEMENT = frozenset({Kind.UPDATED, Kind.REMINDER})
"""Kinds after which a job is still in the trouble that was acknowledged."""


@dataclass(frozen=True, slots=True)
class _LoadedSilence:
    """A silence with its matchers read."""

    silence: model.Silence
    match: tuple[SilenceMatch, ...]

    def takes(self, about: Facts) -> bool:
        return any(matches(each, about) for each in self.match)


@dataclass(frozen=True, slots=True)
class Holds:
    """What holds at one moment; may be used from any thread."""

    silences: tuple[_LoadedSilence, ...]
    watches: frozenset[str]

    def hold(self, event: Mapping[str, Any], watch: str | None) -> str | None:
        """Name what holds the transition of an event of a job of ``watch``, if anything does."""
        about = Facts.of_event(event)
        for each in self.silences:
            if each.takes(about):
                return each.silence.id
        return MAINTENANCE + watch if watch in self.watches and about.is_job else None


class Quiet:
    """The silences, maintenance windows and acknowledgements that the daemon knows."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        """Start with none; ``now`` returns the wall time."""
        self._now = now
        self._silences: dict[str, _LoadedSilence] = {}
        self._windows: dict[str, Sequence[MaintenanceWindow]] = {}
        self._holding: set[str] = set()
        self._acknowledged: dict[str, model.Acknowledgement] = {}
        self._ended: list[str] = []
        self.changed: Callable[[], None] = lambda: None
        """Called when there are other silences or windows."""

    # Silences and windows

    def silences(self) -> Sequence[model.Silence]:
        """Return every known silence, the one that ends last first."""
        found = [each.silence for each in self._silences.values()]
        return sorted(found, key=lambda each: (each.ends_at, each.id), reverse=True)

    def keep(self, silence: model.Silence) -> None:
        """Add a silence, or put it in place of what is known by its id."""
        match = tuple(SilenceMatch.model_validate(each) for each in silence.match)
        self._silences[silence.id] = _LoadedSilence(silence, match)
        self.changed()

    def forget(self, silence_id: str) -> None:
        """Drop a silence that has expired."""
        self._silences.pop(silence_id, None)

    def use(self, watches: Iterable[Watch]) -> None:
        """Use the maintenance windows of these watches from now on."""
        self._windows = {each.name: each.maintenance for each in watches if each.maintenance}
        self.changed()

    @property
    def has_windows(self) -> bool:
        """Whether any watch has maintenance windows."""
        return bool(self._windows)

    def active(self) -> set[str]:
        """Return the names of what holds by the clock, and note that it does."""
        now = self._now()
        found = {name for name, each in self._silences.items() if _is_active(each.silence, now)}
        for watch, windows in self._windows.items():
            if maintenance.is_open(windows, now):
                found.add(MAINTENANCE + watch)
        self._holding |= found
        return found

    def over(self) -> set[str]:
        """Return the names of what holds still, though its time is over."""
        return self._holding - self.active()

    def let_go(self, names: Collection[str]) -> Holds:
        """End some holds; return those that are left."""
        self.active()
        self._holding -= set(names)
        silences = [each for name, each in self._silences.items() if name in self._holding]
        watches = (name for name in self._holding if name.startswith(MAINTENANCE))
        return Holds(tuple(silences), frozenset(name.removeprefix(MAINTENANCE) for name in watches))

    def hold(self, about: Facts, watch: str) -> str | None:
        """Name what holds such a transition of a job of ``watch``, if anything does."""
        return next(iter(self._holds(about, watch)), None)

    def hold_of(self, transition: model.Transition, watch: str) -> str | None:
        """Name what holds a transition; its ``watch`` is empty if it is one of a source."""
        if not (self._silences or self._holding or watch in self._windows):
            return None
        return self.hold(Facts.of(transition), watch)

    def _holds(self, about: Facts, watch: str) -> Iterable[str]:
        now = self._now()
        for name, each in self._silences.items():
            active = name in self._holding or _is_active(each.silence, now)
            if active and each.takes(about):
                self._holding.add(name)
                yield name
        name = MAINTENANCE + watch
        windows = self._windows.get(watch, ())
        if about.is_job and (name in self._holding or maintenance.is_open(windows, now)):
            self._holding.add(name)
            yield name

    def silenced(self, status: JobStatus) -> tuple[str, ...]:
        """Return what holds transitions of a job in its present state, whatever their kind."""
        if not (self._silences or self._windows) or status.snapshot is None:
            return ()
        about = Facts.of_snapshot(status.snapshot, status.labels)
        now, found = self._now(), []
        for name, each in self._silences.items():
            any_kind = (one.model_copy(update={"kind": []}) for one in each.match)
            if _is_active(each.silence, now) and any(matches(one, about) for one in any_kind):
                found.append(name)
        if maintenance.is_open(self._windows.get(status.watch, ()), now):
            found.append(MAINTENANCE + status.watch)
        return tuple(found)

    # Acknowledgements

    def acknowledgement(self, key: str) -> model.Acknowledgement | None:
        """Return the acknowledgement of a job."""
        return self._acknowledged.get(key)

    def acknowledgements(self) -> Sequence[model.Acknowledgement]:
        """Return those of all jobs."""
        return list(self._acknowledged.values())

    def acknowledge(self, made: model.Acknowledgement) -> None:
        """Add what is stored."""
        self._acknowledged[made.key] = made

    def withdraw(self, key: str) -> None:
        """Drop an acknowledgement."""
        self._acknowledged.pop(key, None)

    def note(self, transitions: Sequence[model.Transition]) -> None:
        """End the acknowledgement of a job that has changed."""
        for each in transitions if self._acknowledged else ():
            key = each.subject.key
            if key in self._acknowledged and each.kind not in KEEPS_ACKNOWLEDGEMENT:
                del self._acknowledged[key]
                self._ended.append(key)
                self.changed()

    def take_ended(self) -> Sequence[str]:
        """Take the keys of the jobs whose acknowledgements have ended since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def reminds(self, known: model.Snapshot | None, options: TrackingOptions) -> bool:
        """Return whether a reminder of a stuck job would be sent now."""
        if known is None or not known.stuck or options.remind_every is None:
            return True
        if known.job.key in self._acknowledged:
            return False
        about = Facts.of_snapshot(known, options.labels)._replace(
            kind=Kind.REMINDER.value, severity=model.Severity.WARNING.value
        )
        return self.hold(about, options.watch) is None


def _is_active(silence: model.Silence, now: datetime) -> bool:
    return silence.starts_at <= now < silence.ends_at
