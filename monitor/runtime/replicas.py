"""This process among the replicas that share its store: it lives, owns, and parts with.

Each replica gives a sign of life every two seconds. From the list of all that live, each computes
the same shares (``sharing``), parts with what is another's, and takes what is its own and free.
A replica may act only for as long as its last sign of life lasts; one that shows none for longer
is put out of the way: its session is ended, and with it its locks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
import orjson

from monitor import logs
from monitor.polling.manager import Handover
from monitor.polling.quota import QuotaLevel
from monitor.runtime import sharing
from monitor.runtime.reconfigure import Owned
from monitor.stores.replicas import STALE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from monitor.clock import Lease
    from monitor.interfaces import Clock
    from monitor.metrics import Metrics
    from monitor.model import FormerOwner, Replica, StoreOutage
    from monitor.runtime.reconfigure import Components, ConfigManager, ConfigState
    from monitor.runtime.status import DaemonStatus
    from monitor.stores.replicas import ReplicaStore

BEAT = 2.0
"""Seconds between two signs of life."""
LEASE = 8.0
"""Seconds from a sign of life for which a replica may act.

It is shorter than ``STALE``, so that a replica has stopped acting before others take over.
"""
FEWEST_BEATS = 4
"""Signs of life of this replica meanwhile: where the server is slow, all show none."""
REPORT_EVERY = 10.0
"""Seconds between two times that other replicas get the state of what is owned here."""
AGAIN = 300.0
"""Seconds for which others may try to open a sink that could not be opened here."""
PART_WITHIN = 20.0
"""Seconds that attempts under way may take to end when a sink gets another owner."""


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One replica, and whether it is this process; ``alive`` is that it shows signs of life."""

    replica: Replica
    alive: bool
    own: bool


class ReplicaManager:
    """Shares what there is to do with the other replicas."""

    def __init__(
        self,
        replica: ReplicaStore,
        components: Components,
        configs: ConfigManager,
        state: ConfigState,
        status: DaemonStatus,
        lease: Lease,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """Own nothing; ``begin`` takes the first share. Until then the lease has lapsed."""
        self._replica = replica
        self._parts = components
        self._configs = configs
        self._state = state
        self._status = status
        self._lease = lease
        self._metrics = metrics
        self._clock = clock
        self._log = logs.get()
        self._held: dict[str, Handover] = {}
        self._losses = 0
        self._lost = False
        self._members: Sequence[Replica] = ()
        self._signs: dict[str, tuple[int, float, int]] = {}
        """Replica → its last sign of life, when that was first seen, and our own count then."""
        self._beats = 0
        self._refused: dict[str, float] = {}
        """Sinks that could not be opened → when they are wanted again."""
        self._reported_at = float("-inf")
        self._begun, self._hurry, self._seen = anyio.Event(), anyio.Event(), anyio.Event()
        self.shared: Callable[[], None] = lambda: None
        """Called when this replica owns something else than before."""
        lease.until = float("-inf")

    def note_outage(self, outage: StoreOutage | None) -> None:
        """Stop acting at once if the session is lost: its locks are gone with it."""
        if outage is not None:
            self._losses += 1
            self._lost, self._lease.until = True, float("-inf")
            self._log.warning(logs.REPLICA_LOST, owned=len(self._held))

    def note_end(self) -> None:
        """Stop acting at once: the server has ended the session, or closed the connection."""
        self._lease.until = float("-inf")
        self.hurry()

    def hurry(self) -> None:
        """Give the next sign of life at once: something has changed."""
        self._hurry.set()

    async def begin(self) -> None:
        """Take the first share."""
        await self._beat_once()
        await self._adjust_once()
        self._begun.set()

    async def after_begin(self, run: Callable[[], Awaitable[object]]) -> None:
        """Run something once the first share is taken."""
        await self._begun.wait()
        await run()

    async def beat(self) -> NoReturn:
        """Give signs of life until cancelled."""
        await self._begun.wait()
        while True:
            with anyio.move_on_after(BEAT):
                await self._hurry.wait()
            self._hurry = anyio.Event()
            await self._beat_once()

    async def adjust(self) -> NoReturn:
        """Take and part with what the shares say, after each sign of life."""
        await self._begun.wait()
        while True:
            await self._seen.wait()
            self._seen = anyio.Event()
            await self._adjust_once()

    async def leave(self) -> None:
        """Let the others go on at once; this process owns nothing that it acts on any more."""
        states = {name: self._state_of(name, {}) for name in self._held}
        await self._replica.give_up(states)
        await self._replica.leave()

    def owns(self, resource: str) -> bool:
        """Return whether this replica owns a resource."""
        return resource in self._held

    def members(self) -> Sequence[ReplicaStatus]:
        """Return all replicas, by name."""
        now, own = self._clock.monotonic(), self._replica.id
        found = sorted(self._members, key=lambda one: (one.name, one.id))
        return [ReplicaStatus(one, self._is_alive(one, now), one.id == own) for one in found]

    def owner_of(self, resource: str) -> str | None:
        """Name the replica that owns a resource."""
        return next((one.name for one in self._members if resource in one.owned), None)

    # Signs of life

    async def _beat_once(self) -> None:
        began = self._clock.monotonic()
        losses = self._losses
        wants = sorted(self._wants())
        facts = {"generation": self._state.generation, "wants": wants}
        reported: Mapping[str, str] = {}
        if began - self._reported_at >= REPORT_EVERY:
            reported = {name: self._state_of(name, {}) for name in self._held}
            self._reported_at = began
        stale = [one for one in self._members if one.connected and self._is_stale(one, began)]
        for one in stale:
            self._log.warning(logs.REPLICA_STALE, replica=one.name, id=one.id)
        self._members = await self._replica.beat(facts, reported, stale)
        self._beats += 1
        now = self._clock.monotonic()
        known = {one.id: one.beat for one in self._members}
        self._signs = {
            name: self._signs[name]
            if name in self._signs and self._signs[name][0] == beat
            else (beat, now, self._beats)
            for name, beat in known.items()
        }
        lapsed = self._lease.until <= now
        if not self._lost and losses == self._losses:
            self._lease.until = began + LEASE
            if lapsed:
                self._parts.deliveries.wake(list(self._state.owned_sinks()))
        self._metrics.set_replicas(*self._counts(now))
        self._seen.set()

    def _counts(self, now: float) -> tuple[int, int, int]:
        """Return the live replicas, their configurations, and the sources that nobody owns.

        One replica counts for all, so that the sum is right.
        """
        if not self.owns(sharing.UPKEEP):
            return 0, 0, 0
        live = [one for one in self._members if self._is_alive(one, now)]
        wanted = {name for one in live for name in one.wants if _is_source(name)}
        owned = {name for one in live for name in one.owned}
        return len(live), len({one.generation for one in live}), len(wanted - owned)

    def _is_stale(self, one: Replica, now: float) -> bool:
        if one.id == self._replica.id or one.id not in self._signs:
            return False
        _, since, beats = self._signs[one.id]
        return now - since >= STALE and self._beats - beats >= FEWEST_BEATS

    def _is_alive(self, one: Replica, now: float) -> bool:
        return one.connected and not self._is_stale(one, now)

    def _wants(self) -> Iterable[str]:
        now = self._clock.monotonic()
        self._refused = {name: until for name, until in self._refused.items() if until > now}
        yield sharing.UPKEEP
        yield from self._parts.polls.sources()
        for name in self._state.loaded.settings.sinks:
            if sharing.SINK + name not in self._refused:
                yield sharing.SINK + name

    # Shares

    async def _adjust_once(self) -> None:
        if self._configs.over:
            return  # what others leave behind now is not for this one
        if self._lost:
            await self._take_again()
            return
        now = self._clock.monotonic()
        live = {one.id: one for one in self._members if self._is_alive(one, now)}
        if self._replica.id not in live:
            return
        # By name, so that one that is restarted gets back what it had; two of a name by their ids.
        names = Counter(one.name for one in live.values())
        labels = {
            one.id: one.name if names[one.name] == 1 else f"{one.name}\n{one.id}"
            for one in live.values()
        }
        wanted = {labels[one.id]: one.wants for one in live.values()}
        wanted[labels[self._replica.id]] = tuple(self._wants())
        shares = sharing.share_out(wanted)
        mine = {name for name, owner in shares.items() if owner == labels[self._replica.id]}
        taken = {name for one in live.values() if one.id != self._replica.id for name in one.owned}
        if surplus := self._held.keys() - mine:
            await self._part_with(surplus)
        if missing := mine - taken - self._held.keys():
            await self._take(missing)

    async def _take(self, names: Collection[str]) -> None:
        losses = self._losses
        taken = await self._replica.own(names)
        if not taken:
            return
        own = self._replica.id
        self._held |= {name: _handover(former, own) for name, former in taken.items()}
        self._log.info(logs.REPLICA_TOOK, **self._counted(taken))
        if losses == self._losses:
            await self._share()  # or else ``_take_again`` does

    async def _part_with(self, names: Collection[str]) -> None:
        # Sources first: nobody polls them while attempts of sinks end.
        sources = [name for name in names if _is_source(name)]
        for some in (sources, [name for name in names if not _is_source(name)]):
            if some:
                await self._replica.give_up(await self._stop(some))
        self._log.info(logs.REPLICA_GAVE_UP, **self._counted(names))

    async def _stop(self, names: Collection[str]) -> Mapping[str, str]:
        """Stop acting on what is owned; return what the next owners should know."""
        levels = await self._parts.polls.part_with([name for name in names if _is_source(name)])
        with anyio.move_on_after(PART_WITHIN):
            await self._parts.deliveries.release([_sink(name) for name in names])
        await self._parts.recorder.rest()
        states = {name: self._state_of(name, levels) for name in names}
        for name in names:
            self._held.pop(name, None)
        await self._share()
        return states

    async def _take_again(self) -> None:
        """Take what was owned when the session was lost, if nobody else has had it meanwhile."""
        losses, held = self._losses, list(self._held)
        taken = await self._replica.own(held)
        own = self._replica.id
        kept = {name for name, former in taken.items() if former.replica == own}
        if kept != {*held}:
            # What only an owner may write was not written meanwhile: all is read again.
            self._replica.drop(held)
            states = await self._stop(held)
            await self._replica.give_up(
                {name: _spent_state(taken[name]) for name in taken.keys() - kept}
            )
            self._held = {
                name: _handover(replace(taken[name], state=states[name]), own) for name in kept
            }
            self._replica.hold(kept)
        await self._share()
        self._log.info(logs.REPLICA_RECOVERED, kept=len(kept), lost=len(held) - len(kept))
        if losses == self._losses:
            self._lost = False
        self.hurry()

    async def _share(self) -> None:
        """Let polls and deliveries follow what is owned; give up what cannot be opened."""
        sources = {name: each for name, each in self._held.items() if _is_source(name)}
        sinks = frozenset(_sink(name) for name in self._held if name.startswith(sharing.SINK))
        owned = Owned(sources, sinks, upkeep=sharing.UPKEEP in self._held)
        before = self._state.owned
        if before and sources.keys() != before.sources.keys() and not sinks <= before.sinks:
            # Sources first: a sink may take its time to open.
            await self._configs.share(replace(owned, sinks=sinks & before.sinks))
        failed = await self._configs.share(owned)
        if failed:
            names = {sharing.SINK + name for name in failed}
            self._refused |= dict.fromkeys(names, self._clock.monotonic() + AGAIN)
            for name in names:
                self._held.pop(name, None)
            await self._replica.give_up(dict.fromkeys(names, ""))
        self.shared()

    def _state_of(self, name: str, levels: Mapping[str, QuotaLevel]) -> str:
        """Return what others should know of a resource: to show it, and to go on with it."""
        state: dict[str, Any] = {}
        if _is_source(name):
            level = levels.get(name) or self._parts.polls.level(name)
            state = {"level": asdict(level) if level else None, "view": self._status.source(name)}
        elif name.startswith(sharing.SINK):
            state = {"view": self._status.attempts(_sink(name))}
        return orjson.dumps(state).decode()

    def _counted(self, names: Iterable[str]) -> dict[str, int]:
        found = list(names)
        sources, sinks = map(_is_source, found), (name.startswith(sharing.SINK) for name in found)
        return {"sources": sum(sources), "sinks": sum(sinks), "owned": len(self._held)}


def _is_source(name: str) -> bool:
    return name.startswith(sharing.SOURCE)


def _sink(name: str) -> str:
    return name.removeprefix(sharing.SINK)


def _handover(former: FormerOwner, own: str) -> Handover:
    """Return where the last owner was; one that stopped without a word may have sent more since."""
    state = orjson.loads(former.state) if former.state else {}
    level = _level(state["level"]) if state.get("level") else None
    if level is not None and former.replica not in {"", own}:
        level = _spent(level)
    return Handover(level, former.alive_at)


def _spent_state(former: FormerOwner) -> str:
    """Return the state of a resource that others had, for the next one to own it."""
    state = orjson.loads(former.state) if former.state else {}
    if state.get("level"):
        state["level"] = asdict(_spent(_level(state["level"])))
    return orjson.dumps(state).decode()


def _level(value: Mapping[str, Any]) -> QuotaLevel:
    own = {name: _level(each) for name, each in value["operations"].items()}
    return QuotaLevel(value["tokens"], value["rate"], own)


def _spent(level: QuotaLevel) -> QuotaLevel:
    own = {name: _spent(each) for name, each in level.operations.items()}
    return QuotaLevel(min(0.0, level.tokens), level.rate, own)
