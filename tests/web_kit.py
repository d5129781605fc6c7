"""The HTTP side over a real store on a real socket, with a live state as a test wants it."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
import orjson
from prometheus_client import CollectorRegistry

from monitor import model
from monitor.config import Settings
from monitor.interfaces import JobStatus
from monitor.metrics import Metrics
from monitor.model import SourceKey
from monitor.recording.archive import mark_of
from monitor.stores.store import open_store
from monitor.web import interfaces
from monitor.web.api.routes import Parts
from monitor.web.app import create_app
from monitor.web.notifier import News
from monitor.web.server import serving
from tests.contracts.store_examples import T0, SettableClock, entry, source_entry, transition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from pathlib import Path

    from aiohttp import web

    from monitor.stores.store import SqlStore
    from monitor.web.api.job_schemas import PollOutcome
    from monitor.web.api.schemas import ReplicaView, SourceView
    from monitor.web.web_config import WebConfigFile

KEY = "panorama.package-import/prod/us-east-1/job-{}"


def followed(snapshot: model.Snapshot, *, stuck: bool = False, **more: Any) -> JobStatus:
    """A followed job, polled just now."""
    if stuck:
        snapshot = snapshot.replace(stuck=True)
    values: dict[str, Any] = {
        "watch": "cameras",
        "labels": {"team": "vision"},
        "interval": 30.0,
        "polled_at": T0,
        "at": T0,
        "next_in": 30.0,
        "failing": None,
        "finished": False,
        "blind": False,
    }
    return JobStatus(job=snapshot.job, snapshot=snapshot, **values | more)


class Live:
    """What the daemon knows, as a test says."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.model_validate({"sinks": {"ops": {"type": "log"}}})
        self.followed: dict[str, JobStatus] = {}
        self.seen_sources: list[SourceView] = []
        self.refused: Sequence[str] = ()
        self.woken: list[str] = []
        self.asked_for = 0
        self.waited_for: list[str] = []
        self.remote: dict[model.Job, model.Phase] = {}
        self.elsewhere = False
        self.acknowledged: dict[str, model.Acknowledgement] = {}
        self.discarded: dict[str, int] = {}
        self.members: list[ReplicaView] = []

    def follow(self, snapshot: model.Snapshot, **more: Any) -> JobStatus:
        one = followed(snapshot, **more)
        self.followed[snapshot.job.key] = one
        return one

    def jobs(self) -> Iterable[JobStatus]:
        return list(self.followed.values())

    def job(self, key: str) -> JobStatus | None:
        self.asked_for += 1
        return self.followed.get(key)

    def archived(self) -> Mapping[tuple[tuple[str, str, str], model.Phase], int]:
        found = (((one.type, one.account, one.region), phase) for one, phase in self.remote.items())
        return Counter(found)

    def archived_elsewhere(self) -> bool:
        return self.elsewhere

    def remembered(self, known: model.Snapshot) -> JobStatus | None:
        return followed(known, finished=True) if known.job in self.remote else None

    def discovering(self, place: tuple[str, str, str]) -> Mapping[str, Mapping[str, str]]:
        assert len(place) == 3
        return {"cameras": {"team": "vision"}}

    async def archive(self, store: SqlStore, *snapshots: model.Snapshot) -> None:
        """Put jobs into the store, as archived."""
        for each in snapshots:
            made = replace(transition(each.job), sequence=each.sequence)
            assert await store.record(model.Entry(each, 0, (made,), ((),)))
            self.remote[each.job] = each.phase
        marks = [mark_of(each, model.Archived.ENDED) for each in snapshots]
        await store.archive.mark(marks)

    def awaited(self, key: str, seconds: float) -> None:
        self.waited_for.append(key)

    def console(self, job: model.Job, fields: Mapping[str, Any]) -> str | None:
        return None

    async def poll(self, key: str, within: float) -> PollOutcome | None:
        return None if self.followed[key].finished else "answered"

    def sources(self) -> Sequence[SourceView]:
        return self.seen_sources

    def sinks(self) -> Sequence[interfaces.SinkAttempts]:
        return [
            interfaces.SinkAttempts(name, sink.type, None, None, None)
            for name, sink in self.settings.sinks.items()
        ]

    def replicas(self) -> Sequence[ReplicaView]:
        return self.members

    def config(self) -> Mapping[str, Any]:
        return self.settings.redacted()

    def status(self) -> interfaces.StatusReport:
        return interfaces.StatusReport("1.2.3", T0, T0, self.refused, 0.5)

    def acknowledgement(self, key: str) -> model.Acknowledgement | None:
        return self.acknowledged.get(key)

    def wake(self, sink: str) -> None:
        self.woken.append(sink)

    def count_discarded(self, sink: str, many: int) -> None:
        self.discarded[sink] = self.discarded.get(sink, 0) + many

    def last_pass_age(self) -> float:
        return 0.5


class Site:
    """A server, its store, and a client of it."""

    def __init__(self, store: SqlStore, live: Live, news: News) -> None:
        self.store = store
        self.live = live
        self.news = news
        self.url = ""
        self.app: web.Application
        self.session: aiohttp.ClientSession

    async def record(self, number: int = 1, sequence: int = 1, **changed: Any) -> None:
        """Commit a transition of a job, and tell of it, as the daemon does."""
        made = entry(number, sequence, **changed)
        assert await self.store.record(made)
        assert isinstance(made.snapshot, model.Snapshot)
        known = self.live.followed.get(made.snapshot.job.key)
        if known:
            self.live.followed[made.snapshot.job.key] = known._replace(
                snapshot=made.snapshot, finished=made.snapshot.phase.terminal
            )
        else:
            self.live.follow(made.snapshot)
        self.news.tell(made.snapshot.job.key)

    async def record_source(self, sequence: int = 1, **changed: Any) -> None:
        made = source_entry(sequence, **changed)
        assert await self.store.record(made)
        self.news.tell(SourceKey("panorama", "prod", "us-east-1").key)

    async def ask(self, path: str, method: str = "GET", **more: Any) -> tuple[int, Any]:
        """Return status and what JSON says."""
        async with self.session.request(method, path, **more) as response:
            body = await response.read()
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            if response.status == 304 or method == "HEAD":
                assert body == b""
                return response.status, None
            expected = "application/json" if response.ok else "application/problem+json"
            assert response.content_type == expected, body
            value = orjson.loads(body)
            if not response.ok:
                assert value["status"] == response.status
                assert value["detail"]
            return response.status, value

    async def get(self, path: str, **more: Any) -> Any:
        """Return what JSON says of an answer that must be a good one."""
        status, value = await self.ask(path, **more)
        assert status == 200, value
        return value


class Log:
    """Keeps what was logged as an error: the events, and the paths that they are about."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, str]] = []

    def error(self, event: str, *, path: str, exc_info: Exception) -> None:
        self.errors.append((event, path))


async def raw(url: str, request: bytes) -> bytes:
    """Send bytes and return the whole answer."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    await writer.drain()
    reply = await reader.read()
    writer.close()
    return reply


@asynccontextmanager
async def open_site(
    directory: Path,
    live: Live | None = None,
    within: float = 60.0,
    web_config: WebConfigFile | None = None,
    parts: Mapping[str, Any] | None = None,
    **more: Any,
) -> AsyncIterator[Site]:
    """Serve the API over a new store; ``parts`` goes to it, ``more`` to ``create_app``."""
    live, news = live or Live(), News()
    registry = CollectorRegistry()
    Metrics(registry, "1.2.3")
    with anyio.fail_after(within):
        async with open_store(f"sqlite:///{directory}/state.db", SettableClock()) as store:
            site = Site(store, live, news)
            app = site.app = create_app(
                registry=registry,
                health=live,
                store=store,
                configured=lambda: True,
                version="1.2.3",
                api=Parts(live, store, news, **_parts(parts or {}, site)),
                **more,
            )
            async with (
                serving(app, "127.0.0.1", 0, web_config) as site.url,
                aiohttp.ClientSession(site.url) as site.session,
            ):
                yield site


def _parts(parts: Mapping[str, Any], site: Site) -> dict[str, Any]:
    """Make those that are made over the site itself."""
    made = {"watches", "quiet"}
    return {name: part(site) if name in made else part for name, part in parts.items()}
