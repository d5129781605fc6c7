"""What every sink keeps to, over real files, pipes and sockets."""

import asyncio
import json
import threading
import time
import traceback

import anyio
import pytest

from monitor import config, sinks
from monitor.errors import PartialSendError, SendError, SendReason
from monitor.model import Kind
from tests import rounds
from tests.contracts import aws_rigs, foreign_rigs, sink_kit, sink_rigs
from tests.contracts.foreign_rigs import example_plugin
from tests.contracts.sink_kit import PLANTED, Outcome, check, event, limited_files
from tests.contracts.sink_rigs import SECRET, pipe_rig
from tests.integration.sources_server import SECRET_KEY, clean_environment

__all__ = ["example_plugin"]

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # Apprise's own

RIGS = {
    "webhook": sink_rigs.webhook_rig,
    "slack": sink_rigs.slack_rig,
    "file": sink_rigs.file_rig,
    "pipe": sink_rigs.pipe_rig,
    "apprise": foreign_rigs.apprise_rig,
    "directory": foreign_rigs.directory_rig,
}
TYPES = {"slack": "webhook", "file": "log", "pipe": "log"}
"""The sink's type, where the rig is not named after it."""
MEANINGS = {
    "webhook": set(Outcome),
    "slack": set(Outcome),
    "sns": set(Outcome),
    "sqs": set(Outcome),
    "eventbridge": set(Outcome),
    "file": {Outcome.RETRY},  # whatever a disk or a pipe says may be mended
    "pipe": {Outcome.RETRY},
    "apprise": {Outcome.RETRY},  # the library says yes or no, and not why
    "directory": {Outcome.RETRY},
}
"""What a refusal can mean, by rig."""
PATIENCE = 90
"""Seconds that anything may take on a busy machine before it counts as hung."""
UNTOLD = {"apprise"}
"""Rigs whose receiver is not told the event's id."""


@pytest.fixture(params=[*RIGS, *aws_rigs.KINDS])
def kind(request):
    return request.param


@pytest.fixture
def rigged(kind, request, tmp_path, monkeypatch):
    if kind == "directory":
        request.getfixturevalue("example_plugin")
    if kind in RIGS:
        return lambda: RIGS[kind](tmp_path)
    clean_environment(monkeypatch, tmp_path)
    moto = request.getfixturevalue("moto")
    return lambda: aws_rigs.aws_rig(kind, moto)


@pytest.fixture(autouse=True)
async def _threads():
    """No test of this suite leaves a thread behind."""
    yield
    for thread in threading.enumerate():
        if thread.name in {"log-sink", "apprise-sink"}:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def reason_of(failure):
    """Return why; each of a batch's own reasons must be the same."""
    if isinstance(failure, PartialSendError):
        (reason,) = {each.reason for each in failure.failures.values()}
        return reason
    return failure.reason


async def time_out(rig, item):
    """Send to a receiver that stalls: the sink's own deadline ends it."""
    failure = await failure_of(rig.sink, item)
    assert failure.reason is SendReason.TIMEOUT
    assert Outcome.of(failure.reason) is Outcome.RETRY
    return failure


def test_every_type_of_sink_has_a_rig():
    rigs = {TYPES.get(name, name) for name in (*RIGS, *aws_rigs.KINDS)}
    assert rigs == sinks.KINDS.keys() | {"directory"}, (
        "each type needs a rig in RIGS or aws_rigs.KINDS"
    )


async def failure_of(sink, *batch):
    with anyio.fail_after(PATIENCE), pytest.raises(SendError) as caught:
        await sink.send(list(batch))
    return caught.value


async def test_an_event_of_each_kind_arrives_whole(rigged):
    async with rigged() as rig:
        for number, of in enumerate(Kind, 1):
            sent = event(of, sequence=number)
            await rig.sink.send([sent])
            arrived = rig.taken()
            assert len(arrived) == number, of
            assert arrived[-1] == rig.form(sent), of
            if rig.form is dict:
                check(arrived[-1])


async def test_events_arrive_in_the_order_in_which_they_are_sent(rigged):
    async with rigged() as rig:
        sent = []
        for number in range(1, 31):
            sent.append(event(sequence=number))
            await rig.sink.send([sent[-1]])
            assert rig.taken() == [rig.form(item) for item in sent]


async def test_a_full_batch_is_taken_at_once(rigged):
    async with rigged() as rig:
        size = min(rig.sink.batch_size, 4)  # what a pipe holds that nobody reads
        batch = [event(job_id=f"job-{n}", reason="") for n in range(size)]
        await rig.sink.send(batch)
        assert rig.taken() == [rig.form(item) for item in batch]


async def test_the_same_event_is_the_same_on_every_attempt(rigged):
    async with rigged() as rig:
        for _ in range(3):
            await rig.sink.send([event()])
        assert rig.taken() == [rig.form(event())] * (3 if rig.keeps_repeats else 1)


async def test_a_receiver_knows_a_repeat_by_the_id_of_the_event(rigged, kind):
    async with rigged() as rig:
        for sequence in (1, 2, 2):
            await rig.sink.send([event(sequence=sequence)])
        if kind in UNTOLD:
            assert rig.key is None
            assert not [item for item in rig.taken() if event(sequence=1)["id"] in str(item)]
        else:
            told = [item[rig.key] for item in rig.taken()]
            expected = [event(sequence=number)["id"] for number in (1, 2, 2)]
            assert told == expected[: 3 if rig.keeps_repeats else 2]


async def test_concurrent_events_do_not_mix(rigged):
    async with rigged() as rig:
        sent = [event(job_id=f"job-{n}", reason="") for n in range(4)]
        await asyncio.gather(*(rig.sink.send([item]) for item in sent))
        expected = [rig.form(item) for item in sent]
        arrived = rig.taken()
        assert len(arrived) == len(expected)
        assert all(item in arrived for item in expected)


async def test_a_stalled_receiver_is_a_timeout_within_the_deadline(rigged):
    async with rigged() as rig:
        rig.stall()
        started = time.monotonic()
        await time_out(rig, event())
        assert rig.deadline * 0.9 < time.monotonic() - started < rig.deadline + 20
        rig.resume()


async def test_a_stalled_receiver_does_not_stop_the_event_loop(rigged):
    async with rigged() as rig:
        longest: list[float] = []
        for _ in rounds.until_enough(1, lambda: min(longest) < rig.deadline / 2):
            rig.stall()
            attempt = asyncio.create_task(time_out(rig, event()))
            longest.append(await sink_kit.longest_gap(attempt))
            await attempt
            rig.resume()
        assert min(longest) < rig.deadline / 2, "a busy machine stops it too, but not each time"


async def test_after_a_stall_the_next_attempt_is_taken(rigged):
    async with rigged() as rig:
        rig.stall()
        for _ in range(2):
            await time_out(rig, event())
        rig.resume()
        with anyio.fail_after(PATIENCE):
            await rig.sink.send([event()])
        assert rig.taken()
        assert all(item == rig.form(event()) for item in rig.taken())


async def test_a_cancelled_attempt_ends_at_once_and_breaks_nothing(rigged):
    async with rigged() as rig:
        took: list[float] = []
        for number in rounds.until_enough(1, lambda: min(took) < rig.deadline / 2):
            rig.stall()
            attempt = asyncio.create_task(rig.sink.send([event(sequence=2 * number + 1)]))
            await asyncio.sleep(0.1)
            started = time.monotonic()
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
            took.append(time.monotonic() - started)
            rig.resume()
            following = event(sequence=2 * number + 2)
            with anyio.fail_after(PATIENCE):
                await rig.sink.send([following])
            assert rig.taken()[-1] == rig.form(following)
        assert min(took) < rig.deadline / 2, "a busy machine is late too, but not each time"


async def test_a_refusal_is_told_as_one(rigged):
    async with rigged() as rig:
        rig.refuse()
        failure = await failure_of(rig.sink, event())
        assert not isinstance(failure, PartialSendError)
        assert failure.reason.retryable
        assert failure.message


async def test_a_refusal_is_tried_again_dies_or_parks_as_it_says(rigged, kind):
    async with rigged() as rig:
        assert {meaning for _, meaning in rig.refusals.values()} == MEANINGS[kind]
        for name, (act, meaning) in rig.refusals.items():
            rig.resume()
            item = act() or event()
            with anyio.fail_after(PATIENCE), pytest.raises((SendError, PartialSendError)) as caught:
                await rig.sink.send([item])
            assert Outcome.of(reason_of(caught.value)) is meaning, name


async def test_no_error_holds_a_secret(rigged):
    async with rigged() as rig:
        rig.stall()
        failures: list[Exception] = [await time_out(rig, event())]
        rig.resume()
        rig.refuse()
        failures.append(await failure_of(rig.sink, event()))
        for failure in failures:
            told = "".join(traceback.format_exception(failure)) + repr(failure) + repr(rig.sink)
            assert not [secret for secret in (*PLANTED, SECRET[6:], SECRET_KEY) if secret in told]
            assert failure.__context__ is None or failure.__suppress_context__


async def test_a_batch_of_which_a_part_was_taken_names_the_rest(tmp_path):
    path = tmp_path / "events.log"
    batch = [event(job_id=f"job-{n}") for n in range(3)]
    async with sinks.open_sink("audit", config.LogSink(type="log", path=str(path))) as sink:
        await sink.send(batch[:1])
        with (
            limited_files(path.stat().st_size * 2 + 10),
            pytest.raises(PartialSendError) as caught,
        ):
            await sink.send(batch)
        await sink.send(batch[1:])
    assert list(caught.value.failures) == [item["id"] for item in batch[1:]]
    assert all(f.reason is SendReason.CONNECTION for f in caught.value.failures.values())
    lines = path.read_text().splitlines()
    assert [json.loads(line) for line in (*lines[:2], *lines[3:])] == [batch[0], *batch]
    assert len(lines[2]) == 10, "the torn line stands alone"


async def test_a_line_that_was_given_up_half_way_does_not_mix_with_the_next(tmp_path):
    long = [event(job_id=f"job-{n}", reason=f"{n}" * 20_000) for n in range(2)]
    async with pipe_rig(tmp_path) as rig:
        assert (await failure_of(rig.sink, long[0])).reason is SendReason.TIMEOUT
        attempt = asyncio.create_task(rig.sink.send([long[1]]))
        with anyio.fail_after(PATIENCE):
            while not attempt.done():
                await asyncio.sleep(0.01)
                rig.resume()
        await attempt
        assert rig.taken() == long
