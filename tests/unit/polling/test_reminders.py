"""Reminders: a stuck job is reported again, each time its time is over."""

from dataclasses import replace

import anyio
import pytest

from monitor import model
from tests.builders import VIRTUAL, at, job, running
from tests.polling import polling

pytestmark = [VIRTUAL, pytest.mark.usefixtures("long_pauses")]
HOUR = 3600.0


def follow(b, **limits):
    b.follow("j-1", interval=60.0)
    (known,) = b.poller.schedule.everyone()
    limits = {"stuck_after": 2 * HOUR, "remind_every": 4 * HOUR} | limits
    known.options = replace(known.options, following=replace(known.following, **limits))


async def kinds(b):
    return [kind.partition(".")[2] for kind in await b.kinds()]


async def test_a_stuck_job_is_reported_again_until_it_moves(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["j-1"] = "RUNNING"
        follow(b)
        async with running(b.poller):
            await anyio.sleep(11 * HOUR)
            assert await kinds(b) == ["discovered", "stuck", "reminder", "reminder"]
            b.source.answers["j-1"] = "FAILED"
            await anyio.sleep(20 * HOUR)
        assert (await kinds(b))[4:] == ["state_changed", "unstuck"]
        rows = await b.store.transitions()
        data = [event["data"] for _, event in rows]
        assert [each["sequence"] for each in data] == [1, 2, 3, 4, 5, 6]
        assert (data[2]["severity"], data[2]["changes"]) == ("warning", [])


async def test_a_restart_brings_no_extra_reminder(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["j-1"] = "RUNNING"
        follow(b)
        async with running(b.poller):
            await anyio.sleep(7 * HOUR)
        before = await kinds(b)
        await b.recorder.rest()
        await b.store.ping()
    for _ in range(3):
        async with polling(tmp_path) as b:
            b.source.answers["j-1"] = "RUNNING"
            follow(b)
            async with running(b.poller):
                await anyio.sleep(0.5 * HOUR)
            assert await kinds(b) == before
            await b.recorder.rest()
            await b.store.ping()


async def test_no_reminder_comes_while_somebody_takes_care_of_the_job(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["j-1"] = "RUNNING"
        follow(b)
        async with running(b.poller):
            await anyio.sleep(3 * HOUR)
            made = model.Acknowledgement(job().key, 2, "ann", "", at(0))
            b.recorder.quiet.acknowledge(made)
            await anyio.sleep(20 * HOUR)
            assert await kinds(b) == ["discovered", "stuck"]
            b.recorder.quiet.withdraw(job().key)
            await anyio.sleep(4 * HOUR + 120)
        assert await kinds(b) == ["discovered", "stuck", "reminder"]


async def test_without_the_setting_there_are_none(tmp_path):
    async with polling(tmp_path) as b:
        b.source.answers["j-1"] = "RUNNING"
        follow(b, remind_every=None)
        async with running(b.poller):
            await anyio.sleep(30 * HOUR)
        assert await kinds(b) == ["discovered", "stuck"]
