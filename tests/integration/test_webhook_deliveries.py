"""Random events, through a change of keys: each whole, signed and well-formed.

``make soak`` sends ten thousand.
"""

import json
import random
import string

import anyio
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from monitor import events, sinks
from monitor.model import Change, Kind, Phase, Severity, StateAndPhase, Transition
from tests.contracts.sink_kit import LEDGER, check, receiving, transition, webhook

FORMS = [
    pytest.param(1_000, id="quick"),
    pytest.param(10_000, id="long", marks=pytest.mark.soak),
]
OLD = "whsec_b2xkLXNlY3JldC0wMTIzNDU2Nzg5MDEyMzQ1"
NEW = "whsec_bmV3LXNlY3JldC0wMTIzNDU2Nzg5MDEyMzQ1"
KINDS = list(Kind)
SIGNS = string.printable + 'äöß☃𝄞\u2028\u200b\x00\x1b\ufeff"\\<>&'


def text(dice, longest=40):
    return "".join(dice.choices(SIGNS, k=dice.randint(0, longest)))


def value(dice, depth=2):
    plain = [None, True, dice.randint(-(2**60), 2**60), dice.random() * 1e9, text(dice)]
    if depth and dice.random() < 0.3:
        inner = [value(dice, depth - 1) for _ in range(dice.randint(0, 3))]
        return dice.choice([inner, {text(dice): each for each in inner}])
    return dice.choice(plain)


def chance(dice, number):
    """Return one random event, as the recorder would store it."""
    kind = dice.choice(KINDS)
    base = transition(kind, number + 1, f"job-{number}" + text(dice, 5))
    if kind in {Kind.SOURCE_UNAVAILABLE, Kind.SOURCE_RECOVERED}:
        return events.cloud_event(base, LEDGER)
    changed = kind in {Kind.STATE_CHANGED, Kind.UPDATED}
    made = Transition(
        subject=base.subject,
        service=base.service,
        sequence=number + 1,
        kind=kind,
        previous=base.previous,
        current=StateAndPhase(text(dice) + "X", dice.choice(list(Phase))),
        changes=(Change("f" + text(dice), value(dice), value(dice)),) if changed else (),
        after=base.after,
        before=base.before,
        severity=dice.choice(list(Severity)),
        reason=dice.choice([None, text(dice, 400)]),
        occurred_at=base.occurred_at,
        fields={"f" + text(dice): value(dice) for _ in range(dice.randint(0, 4))},
        labels={"l" + text(dice, 8): text(dice)},
    )
    return events.cloud_event(made, LEDGER)


async def send(settings, made):
    waiting = iter(made)
    async with sinks.open_sink("ops", settings) as sink, anyio.create_task_group() as tasks:

        async def work():
            for each in waiting:
                await sink.send([each])

        for _ in range(4):
            tasks.start_soon(work)


def verified(request, secret):
    try:
        Webhook(secret).verify(request.body, request.headers)
    except WebhookVerificationError:
        return False
    return True


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", FORMS)
async def test_random_events_arrive_signed_with_the_keys_of_the_time(tmp_path, count):
    dice = random.Random(20260301)
    made = [chance(dice, number) for number in range(count)]
    (tmp_path / "old").write_text(OLD)
    (tmp_path / "new").write_text(NEW)
    times = (["old"], ["old", "new"], ["new"])
    third = count // 3 + 1
    parts = [made[start : start + third] for start in range(0, count, third)]
    arrived = []
    async with receiving() as receiver:
        for keys, part in zip(times, parts, strict=True):
            files = [str(tmp_path / key) for key in keys]
            await send(webhook(receiver.url, secret_files=files, timeout="20s"), part)
            arrived.append((keys, receiver.requests[:]))
            receiver.requests.clear()
    assert {each["data"]["kind"] for each in made} == set(KINDS)
    told = {}
    for keys, requests in arrived:
        for request in requests:
            assert verified(request, OLD) == ("old" in keys)
            assert verified(request, NEW) == ("new" in keys)
            told[request.headers["webhook-id"]] = request.event
    assert told == {each["id"]: json.loads(json.dumps(each, default=dict)) for each in made}
    assert sum(len(requests) for _, requests in arrived) == count
    for each in told.values():
        check(each)
