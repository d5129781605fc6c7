"""Configuration tests: one job on virtual time, through the daemon's own path.

    GivenAnswers ─► AwsSource ─► JobPoller ─► Recorder (diff, Router) ─► CloudEvent ─► Renderer

Nothing here decides what a state means, which sinks get it or what they send: it hands in
answers and the time, and compares what comes out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import orjson
from prometheus_client import CollectorRegistry

from monitor import events, logs
from monitor.config import Account
from monitor.config.values import format_duration
from monitor.metrics import Metrics
from monitor.model import TERMINAL, Baseline, Kind
from monitor.polling.describe import JobPoller
from monitor.polling.poller import Poller
from monitor.polling.quota import Quota
from monitor.polling.watch import WatchTarget
from monitor.recording.recorder import Recorder
from monitor.recording.router import Router
from monitor.sinks.template import TemplateError
from monitor.sources.aws_source import AwsSource
from monitor.sources.given_answers import GivenAnswers
from monitor.web.links import EventLinks, PageLinks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from monitor.interfaces import Store
    from monitor.model import Entry, Snapshot
    from monitor.polling.scheduled_job import ScheduledJob
    from monitor.tools.config_test_file import ConfigTestCase, Expected
    from monitor.tools.config_test_form import ExpectedPayload

LEDGER = "00000000-0000-4000-8000-000000000000"
"""Makes the ids of events the same in every run."""

_NOTHING = object()
"""Stands for a key that the event does not have."""


class VirtualClock:
    """A clock that somebody sets; fits ``interfaces.Clock``."""

    def __init__(self, starts: datetime) -> None:
        """Start at 0 seconds."""
        self.seconds = 0.0
        self._starts = starts

    def now(self) -> datetime:
        """Return the time in UTC."""
        return self._starts + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """Return the seconds since the start."""
        return self.seconds


class _VolatileLedger:
    """What recording one job needs of a store; it takes every entry, and keeps none."""

    def __init__(self, clock: VirtualClock) -> None:
        self.store_time = clock.now
        self.last_commit = None
        # Asked only for jobs that are not in memory, and the one job is.
        self.archive = None

    async def record(self, _entry: Entry) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class SeenTransition:
    """A transition that was recorded at a poll, and the sinks that it is routed to."""

    at: float
    event: Mapping[str, Any]
    sinks: Sequence[str]

    @property
    def data(self) -> Mapping[str, Any]:
        """The data of the event, with state and phase as a test may name them."""
        data: Mapping[str, Any] = self.event["data"]
        current = data["current"]
        return {**data, "state": current["state"], "phase": current.get("phase")}

    @property
    def title(self) -> str:
        """One line for people."""
        data = self.data
        before = f"{data['previous']['state']} -> " if data["previous"] else ""
        phase = f" [{data['phase']}]" if data["phase"] else ""
        sinks = ", ".join(self.sinks) or "no sink"
        return f"{data['kind']}: {before}{data['state']}{phase} -> {sinks}"

    @property
    def optional(self) -> bool:
        """Whether a test may pass it over: the first sight of an open job, sent to nobody."""
        is_open = self.data["phase"] not in TERMINAL or self.data["baseline"]
        return self.data["kind"] == Kind.DISCOVERED and is_open and not self.sinks


@dataclass(frozen=True, slots=True)
class Difference:
    """What a test expected and got; without a ``path``, of a transition as a whole.

    ``about`` is the transition in one line, ``place`` the line of what was expected.
    """

    at: float | None
    about: str
    place: str
    path: str
    expected: Any
    got: Any


@dataclass(slots=True)
class ConfigTestResult:
    """The outcome of a test; ``polls`` are the times with what each poll brought."""

    case: ConfigTestCase
    polls: list[tuple[float, str]] = field(default_factory=list)
    seen: list[SeenTransition] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)


async def run(case: ConfigTestCase) -> ConfigTestResult:
    """Poll the job at the times of the answers, and compare what is recorded and rendered."""
    result = ConfigTestResult(case)
    settings, job, clock = case.tested.settings, case.job, VirtualClock(case.form.starts)

    types, account = {job.type: case.job_type}, settings.accounts.get(job.account, Account())
    added = EventLinks(PageLinks.of(settings.server), types)

    def announce(entry: Entry, _before: Snapshot | None) -> None:
        for transition, sinks in zip(entry.transitions, entry.sinks, strict=True):
            event = added.added_to(events.cloud_event(transition, LEDGER), account.given_id)
            result.seen.append(SeenTransition(clock.seconds, event, sinks))

    router = Router(settings.routes, tuple(settings.sinks))
    recorder = Recorder(cast("Store", _VolatileLedger(clock)), router, announce)
    if case.form.baseline:
        awaited = {job.id: False}
        recorder.baselines.adopt(
            [Baseline(job.type, job.account, job.region, "{}", clock.now(), None, awaited)]
        )
    aws = GivenAnswers()
    options = {"include_tracking_number"} if case.watch.include_tracking_number else set()
    source = AwsSource(
        case.job_type, job.account, job.region, aws, clock, options=frozenset(options)
    )
    quota = Quota(case.job_type.rate, case.job_type.burst, clock.monotonic())
    shared = (recorder, Metrics(CollectorRegistry(), ""), clock, random.Random(0))  # noqa: S311
    poller = Poller(source.key, quota, *shared)
    single = JobPoller(poller.client, poller.schedule, *shared)
    target = WatchTarget(
        case.watch, job.region, case.job_type.interval, source, poller, lambda _job, _parent: None
    )
    turn = target.track(job)
    poller.schedule.put(turn, clock.monotonic())
    with logs.silenced():
        for at, answer in case.answers:
            clock.seconds, aws.answer = at, answer
            if poller.schedule.get(job) is None:
                result.polls.append((at, "not polled, as the job is final"))
                continue
            await single.describe((turn,))
            result.polls.append((at, _outcome(turn, poller, recorder)))
    result.differences += _compare(case, result.seen)
    return result


def _outcome(turn: ScheduledJob, poller: Poller, recorder: Recorder) -> str:
    """Say what the last poll brought."""
    snapshot = recorder.snapshot(turn.job)
    if turn.failing is not None:
        count = f", {turn.denials} in a row" if turn.denials else ""
        trouble = poller.client.status().trouble
        # In an answer about several jobs, one may be at fault without the request.
        known = trouble is not None and trouble.reason is turn.failing
        return f"failed, so not a state: {trouble if known else turn.failing}{count}"
    if turn.stale_since is not None:
        return "stale: the service dates it before what is known"
    ahead = "; its update time is ahead of this poll, and ignored" if turn.misdated else ""
    return f"{snapshot.state if snapshot else 'nothing'}{ahead}"


def _compare(case: ConfigTestCase, seen: Sequence[SeenTransition]) -> Iterator[Difference]:
    """Yield the differences between what a test expects and what was seen, in their order."""
    for wanted, found in _paired(case.expected, seen):
        if found is None and wanted is not None:
            about = str(wanted.data.get("kind") or wanted.data)
            yield Difference(wanted.form.at, about, wanted.node.place, "", wanted.data, None)
        elif wanted is None and found is not None:
            yield Difference(found.at, found.title, case.place, "", None, found.data)
        elif wanted is not None and found is not None:
            for path, expected, got in (*_parts(wanted, found), *_payloads(case, wanted, found)):
                place = wanted.node.place_of(path)
                text = ".".join(str(key) for key in path)
                yield Difference(found.at, found.title, place, text, expected, got)


def _paired(
    expected: Sequence[Expected], seen: Sequence[SeenTransition]
) -> Iterator[tuple[Expected | None, SeenTransition | None]]:
    """Pair in order; of two that do not fit, one whose partner comes later waits for it."""
    left, right = list(expected), list(seen)
    while left and right:
        wanted, found = left[0], right[0]
        if found.optional and wanted.form.kind != Kind.DISCOVERED:
            right.pop(0)
            continue
        for fits in (
            _fits,
            lambda wanted, found: (
                wanted.form.kind in {None, found.data["kind"]}
                and wanted.form.at in {None, found.at}
            ),
        ):
            if fits(wanted, found):
                yield left.pop(0), right.pop(0)
            elif any(fits(later, found) for later in left[1:]):
                yield left.pop(0), None
            elif any(fits(wanted, later) for later in right[1:]):
                yield None, right.pop(0)
            else:
                continue
            break
        else:
            # The same kind at another time, or another kind at the same time, or neither.
            partner = right.pop(0)
            related = wanted.form.kind == found.data["kind"] or wanted.form.at == found.at
            yield left.pop(0), partner if related else None
            if not related:
                yield None, partner
    yield from ((wanted, None) for wanted in left)
    yield from ((None, found) for found in right if not found.optional)


def _fits(wanted: Expected, found: SeenTransition) -> bool:
    return next(_parts(wanted, found), None) is None


Part = tuple[tuple[str | int, ...], Any, Any]
"""A path, what was expected there, and what is there."""


def _parts(wanted: Expected, found: SeenTransition) -> Iterator[Part]:
    """Yield what differs, the payloads aside."""
    at, sinks = wanted.form.at, wanted.form.sinks
    if at is not None and at != found.at:
        yield ("at",), format_duration(at), format_duration(found.at)
    yield from _lacking(wanted.data, found.data)
    if sinks is not None and set(sinks) != set(found.sinks):
        yield ("sinks",), sorted(sinks), sorted(found.sinks)


def _lacking(expected: Any, got: Any, path: tuple[str | int, ...] = ()) -> Iterator[Part]:
    """Yield what of ``expected`` is not in ``got``, which may have more keys."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for key, value in expected.items():
            yield from _lacking(value, got.get(key, _NOTHING), (*path, key))
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for number, value in enumerate(expected):
            yield from _lacking(value, got[number], (*path, number))
    elif expected != got or isinstance(expected, bool) != isinstance(got, bool):
        yield path, expected, "nothing" if got is _NOTHING else got


def _payloads(case: ConfigTestCase, wanted: Expected, found: SeenTransition) -> Iterator[Part]:
    """Yield what differs in the bodies that the sinks send; blocks where a template renders."""
    for name, payload in wanted.form.payloads.items():
        path = ("payloads", name)
        if name not in found.sinks:
            yield path, f"a payload for {name}", "not routed to it"
            continue
        try:
            (preview,) = case.tested.renderers[name]([found.event])
        except TemplateError as error:
            yield path, "a payload", f"the template failed at line {error.line}: {error.message}"
            continue
        yield from _body(payload, preview.body, path)


def _body(payload: ExpectedPayload, body: str, path: tuple[str, str]) -> Iterator[Part]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = _NOTHING
    given = payload.model_fields_set
    text = body.rstrip("\n")
    if payload.text is not None and payload.text.rstrip("\n") != text:
        yield (*path, "text"), payload.text.rstrip("\n"), text
    if "json_" in given and payload.json_ != parsed:
        yield (*path, "json"), payload.json_, text if parsed is _NOTHING else parsed
    for number, part in enumerate(payload.contains):
        here = (*path, "contains", number)
        if isinstance(part, str):
            if part not in body:
                yield here, part, text
        elif parsed is _NOTHING:
            yield here, part, text
        else:
            yield from _lacking(part, parsed, here)
