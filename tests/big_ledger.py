"""A large ledger in SQLite, written by SQL: through the store it would take half an hour.

Every row is one that the daemon could have written, and ``job-monitor store check`` finds nothing
wrong. Jobs, deliveries of every status, a parked sink, and rows in every other table are in it.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta

import orjson

from monitor import events, model
from monitor.clock import SystemClock
from monitor.stores import rows
from monitor.stores.schema import microseconds
from monitor.stores.store import open_store
from tests.contracts import store_examples

SEQUENCES = 20
"""Transitions of each job."""
LIVE = 20
"""Jobs that still run; all others have ended, and are archived."""
WAITING = 100
"""Jobs with deliveries to ``hook`` that are pending: their last two."""
DEAD_EACH, SILENCED_EACH, PARKED_EACH = 500, 700, 50
"""Of so many jobs, one has a delivery that is dead, or silenced, or pending at a parked sink."""
NOTED_EACH = 10
"""Of so many jobs, one is acknowledged."""
WATCH = {
    "type": "panorama.package-import",
    "account": "sim",
    "regions": ["us-east-1"],
    "jobs": ["job-000001"],
    "interval": "400ms",
}
_AT_ONCE = 20_000
_KEY, _ID, _EVENT_ID, _SEQUENCE = "KEY-OF-JOB", "ID-OF-JOB", "ID-OF-EVENT", 987654321
_REASON = 'tabs\t, "quotes", back\\slashes,\nlines, naïve Ünïcödé and 🛰 survive'


@dataclass(frozen=True)
class BigLedger:
    """What was made: ``jobs`` are its keys, each of which has ``SEQUENCES`` transitions."""

    ledger_id: str
    jobs: list[str]
    transitions: int

    def waiting(self):
        """Return the events that ``hook`` must still get, as (key, sequence)."""
        return [(key, at) for key in self.jobs[:WAITING] for at in (SEQUENCES - 1, SEQUENCES)]


def job(number):
    return model.Job("panorama.package-import", "sim", "us-east-1", f"job-{number:06d}")


async def make(file, transitions):
    """Fill a new file with a ledger of so many transitions of jobs, and one of a source."""
    clock = SystemClock()
    jobs = [job(number) for number in range(transitions // SEQUENCES)]
    now = clock.now()
    async with open_store(f"sqlite://{file}", clock) as store:
        ledger_id = store.ledger_id
        assert await store.record(store_examples.source_entry(sinks=()))
        await store.park(model.Parking("parked", now, "410 Gone"))
        await store.add_watch(model.RuntimeWatch("tonight", WATCH, now))
        later = now + timedelta(days=30)
        matchers = ({"phase": "failed", "job": "none-of-them"},)
        for number in range(20):
            silence = model.Silence(f"s{number}", matchers, now, later, "ann", _REASON)
            await store.silences.keep(silence)
        await store.archive.keep_discovers({("panorama.package-import", "sim", "us-east-1"): "{}"})
    with closing(sqlite3.connect(file)) as connection:
        _fill(connection, ledger_id, jobs, now)
    return BigLedger(ledger_id, [each.key for each in jobs], 1 + len(jobs) * SEQUENCES)


def _fill(connection, ledger_id, jobs, now):
    connection.execute("PRAGMA synchronous = OFF")
    at = microseconds(now)
    own = connection.execute("SELECT own_time FROM ledger").fetchone()[0]
    live, ended = _snapshot("PENDING", now), _snapshot("SUCCEEDED", now)
    with connection:
        connection.executemany(
            _insert("jobs", 13),
            (_job_row(live if n < LIVE else ended, one, n >= LIVE) for n, one in enumerate(jobs)),
        )
        noted = ((one.key, SEQUENCES, "ann", _REASON, at) for one in jobs[::NOTED_EACH])
        connection.executemany(_insert("acknowledgements", 5), noted)
        digests = ((f"{n:064d}", "{}", at, at, "[]") for n in range(30))
        connection.executemany(
            "INSERT INTO baselines VALUES ('panorama.package-import', 'sim', 'us-east-1',"
            " ?, ?, ?, ?, ?)",
            digests,
        )
    event = _event(now)
    delivery = 0
    for start in range(0, SEQUENCES * len(jobs), _AT_ONCE):
        made, sent = [], []
        for place in range(start, min(start + _AT_ONCE, SEQUENCES * len(jobs))):
            number, sequence = place % len(jobs), place // len(jobs) + 1
            one, position = jobs[number], place + 2
            event_id = events.event_id(ledger_id, one.key, sequence)
            text = event.replace(_KEY, one.key).replace(_ID, one.id).replace(_EVENT_ID, event_id)
            text = text.replace(str(_SEQUENCE), str(sequence))
            kind = "job.state_changed"
            made.append((position, one.key, sequence, event_id, kind, at, text, own))
            for row in _deliveries(number, sequence):
                delivery += 1
                sent.append((delivery, position, one.key, *row(at, own)))
        with connection:
            connection.executemany(_insert("transitions", 8), made)
            connection.executemany(
                "INSERT INTO deliveries (id, position, key, sink, status, attempts, created_at,"
                " due_at, settled_at, last_error, own_created, own_settled, silenced_by)"
                f" VALUES ({', '.join('?' * 13)})",
                sent,
            )
    with connection:
        connection.execute("UPDATE ledger SET position = ?", (1 + SEQUENCES * len(jobs),))


def _insert(table, columns):
    return f"INSERT INTO {table} VALUES ({', '.join('?' * columns)})"


def _deliveries(number, sequence):
    """Yield what makes the columns of each delivery of a transition, from its sink on."""
    if number < WAITING and sequence >= SEQUENCES - 1:
        first = sequence == SEQUENCES - 1
        yield lambda at, own: _pending("hook", at, own, first=first)
    elif number % DEAD_EACH == 1 and sequence == 3:
        yield lambda at, own: ("hook", "dead", 9, at, None, at, _REASON, own, own, None)
    elif number % SILENCED_EACH == 1 and sequence == 4:
        yield lambda at, own: ("hook", "silenced", 0, at, None, at, None, own, own, "s1")
    else:
        yield lambda at, own: ("hook", "delivered", 1, at, None, at, None, own, own, None)
    if number % PARKED_EACH == 0:
        first = sequence == 1
        yield lambda at, own: _pending("parked", at, own, first=first)


def _pending(sink, at, own, *, first):
    return (sink, "pending", 0, at, own if first else None, None, None, own, 0, None)


def _snapshot(state, now):
    """Return the row of a job in a state, with marks in the place of the job."""
    marked = replace(job(0), id=_ID)
    known = store_examples.snapshot(
        job=marked, state=state, sequence=SEQUENCES, reason=_REASON, changed_at=now, looked_at=now
    )
    if state == "SUCCEEDED":
        done = {"phase": model.Phase.SUCCEEDED, "ending": model.Ending.FINAL, "ended_at": now}
        known = known.replace(**done)
    return rows.job_row(known.replace(first_seen_at=now))


def _job_row(template, one, archived):
    row = {**template, "key": one.key, "id": one.id}
    row["snapshot"] = template["snapshot"].replace(_ID, one.id)
    return (*row.values(), int(archived))


def _event(now):
    """Return the text of an event, with marks for what differs."""
    made = store_examples.transition(replace(job(0), id=_ID), _SEQUENCE, now)
    made = replace(made, previous=model.StateAndPhase("PENDING", "running"), reason=_REASON)
    text = orjson.dumps(events.cloud_event(made, "00000000-0000-0000-0000-000000000000"))
    event = orjson.loads(text)
    event["id"], event["data"]["job"]["key"] = _EVENT_ID, _KEY
    return orjson.dumps(event).decode()
