"""Receivers of webhooks."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from standardwebhooks import Webhook

from monitor import simulator

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
OTHER = "whsec_" + base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()
PAYLOAD = '{"id": "1"}'


async def send(sim, path="/hook/ops", body=PAYLOAD, headers=None, patience=5):
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(patience)) as session,
        session.post(
            f"{sim.receiver_url}{path}", data=body, headers=headers, allow_redirects=False
        ) as response,
    ):
        return response.status, response.headers


def behaving(*faults, **more):
    return simulator.running({"receivers": {"ops": {"faults": list(faults), **more}}})


def signature(secret=SECRET, body=PAYLOAD, at=None):
    moment = at or datetime.now(UTC)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", moment, body),
    }


async def test_what_comes_is_recorded_as_it_came():
    async with simulator.running() as sim:
        assert (await send(sim, headers={"X-One": "1"}))[0] == 204
        assert (await send(sim, "/slack/T1?a=b", b"\xff\x00"))[0] == 204
        one, two = sim.receiver.received
    assert (one.name, one.method, one.path, one.body) == (
        "ops",
        "POST",
        "/hook/ops",
        PAYLOAD.encode(),
    )
    assert one.headers["X-One"] == "1"
    assert (one.accepted, one.answer, one.fault, one.signature) == (True, 204, None, "unchecked")
    assert (two.name, two.path, two.body) == ("/slack/T1", "/slack/T1?a=b", b"\xff\x00")


async def test_every_nth_fails():
    async with behaving({"kind": "status", "status": 503, "every": 3, "retry_after": "2s"}) as sim:
        answers = [await send(sim) for _ in range(6)]
        assert [status for status, _ in answers] == [204, 204, 503] * 2
        assert answers[2][1]["Retry-After"] == "2"
        assert len(sim.receiver.accepted("ops")) == 4
        assert (await send(sim, "/hook/other"))[0] == 204


async def test_some_fail_by_chance():
    async with behaving({"kind": "status", "probability": 0.5}) as sim:
        statuses = [(await send(sim))[0] for _ in range(60)]
    assert set(statuses) == {204, 500}


async def test_a_receiver_may_be_gone_or_moved():
    async with behaving(
        {"kind": "status", "status": 410, "times": 1},
        {"kind": "redirect", "location": "/hook/x", "status": 302},
    ) as sim:
        assert (await send(sim))[0] == 410
        status, headers = await send(sim)
        assert (status, headers["Location"]) == (302, "/hook/x")
        assert sim.receiver.accepted() == []


@pytest.mark.parametrize(("taken", "accepted"), [("before", 0), ("after", 1)])
async def test_a_reset_comes_before_or_after_the_event_was_taken(taken, accepted):
    async with behaving({"kind": "reset", "taken": taken}) as sim:
        with pytest.raises(aiohttp.ClientOSError):
            await send(sim)
        (record,) = sim.receiver.received
        assert record.answer is None
        assert len(sim.receiver.accepted()) == accepted


async def test_a_slow_receiver_has_the_event_though_the_sender_gave_up():
    async with behaving({"kind": "slow", "delay": "1h"}) as sim:
        with pytest.raises(TimeoutError):
            await send(sim, patience=1)
        assert len(sim.receiver.accepted("ops")) == 1


async def test_a_hanging_receiver_gives_no_answer():
    async with asyncio.timeout(10), behaving({"kind": "hang"}) as sim:
        with pytest.raises(TimeoutError):
            await send(sim, patience=1)
        (record,) = sim.receiver.received
    assert (record.accepted, record.answer) == (True, None)


async def test_behaviour_changes_at_run_time():
    async with simulator.running() as sim:
        sim.receiver.behave("ops", {"status": 202})
        assert (await send(sim))[0] == 202
        sim.receiver.behave("ops", {"faults": [{"kind": "status", "status": 500}]})
        assert (await send(sim))[0] == 500
        sim.receiver.behave("ops", {})
        assert (await send(sim))[0] == 204


@pytest.mark.parametrize(
    ("headers", "found", "status"),
    [
        (lambda: signature(), "valid", 204),  # noqa: PLW0108 -- made when sent, or it is stale
        (lambda: signature(OTHER), "valid", 204),
        (lambda: signature(body="tampered"), "invalid", 401),
        (lambda: signature("whsec_" + base64.b64encode(b"x" * 24).decode()), "invalid", 401),
        (lambda: signature(at=datetime.now(UTC) - timedelta(hours=1)), "invalid", 401),
        (lambda: {"webhook-signature": "nonsense"}, "invalid", 401),
        (lambda: signature() | {"webhook-timestamp": "soon"}, "invalid", 401),
        (lambda: signature() | {"webhook-signature": "v1"}, "invalid", 401),
        (dict, "absent", 401),
    ],
)
async def test_signatures_are_checked(headers, found, status):
    async with behaving(secrets=[OTHER, SECRET]) as sim:
        assert (await send(sim, headers=headers()))[0] == status
        (record,) = sim.receiver.received
    assert (record.signature, record.accepted) == (found, status == 204)


async def test_a_lax_receiver_records_a_bad_signature_and_takes_the_event():
    async with behaving(secrets=[SECRET], require_signature=False) as sim:
        assert (await send(sim))[0] == 204
        (record,) = sim.receiver.received
    assert (record.signature, record.accepted) == ("absent", True)
