"""What the store's tests put into it, and a clock for them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from monitor import model

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class SettableClock:
    """Time as set: ``time`` passes for both clocks, ``step`` is how far the wall clock was set."""

    def __init__(self):
        self.time = T0
        self.step = timedelta()

    def now(self):
        return self.time + self.step

    def monotonic(self):
        return (self.time - T0).total_seconds()


def job(number=1):
    return model.Job("panorama.package-import", "prod", "us-east-1", f"job-{number}")


def snapshot(number=1, sequence=1, state="PENDING", **changed):
    made = model.Snapshot(
        job=job(number),
        parts={"Status": state},
        state=state,
        phase=model.Phase.RUNNING,
        severity=model.Severity.INFO,
        ending=model.Ending.OPEN,
        fields={"JobType": "NODE_PACKAGE_VERSION"},
        reason=None,
        updated_at=None,
        sequence=sequence,
        first_seen_at=T0,
        changed_at=T0,
        looked_at=T0,
    )
    return made.replace(**changed)


def source(sequence=1, *, available=False):
    key = model.SourceKey("panorama", "prod", "us-east-1")
    return model.SourceState(key, available, sequence, T0, T0)


def transition(subject=None, sequence=1, before=T0):
    return model.Transition(
        subject=subject or job(),
        service="panorama",
        sequence=sequence,
        kind=model.Kind.STATE_CHANGED,
        previous=None,
        current=model.StateAndPhase("PENDING", "running"),
        changes=(),
        after=None,
        before=before,
        severity=model.Severity.INFO,
        reason=None,
        occurred_at=None,
        fields={},
        labels={"team": "vision"},
    )


def entry(number=1, sequence=1, sinks=("ops",), **changed):
    """One transition of one job, for some sinks."""
    return model.Entry(
        snapshot=snapshot(number, sequence, **changed),
        expected=sequence - 1,
        transitions=(transition(job(number), sequence),),
        sinks=(tuple(sinks),),
    )


def source_entry(sequence=1, sinks=("ops",), *, available=False):
    state = source(sequence, available=available)
    lost, found = (model.StateAndPhase(name, "") for name in ("unavailable", "available"))
    made = replace(
        transition(state.source, sequence),
        kind=model.Kind.SOURCE_RECOVERED if available else model.Kind.SOURCE_UNAVAILABLE,
        previous=lost if available else found,
        current=found if available else lost,
        labels={},
    )
    return model.Entry(state, sequence - 1, (made,), (tuple(sinks),))


def delivered(delivery, at=T0):
    return model.Settlement(delivery, model.DeliveryStatus.DELIVERED, at)


def failed(delivery, due_at, at=T0, error="timeout"):
    return model.Settlement(delivery, model.DeliveryStatus.PENDING, at, due_at, error)


def dead(delivery, at=T0, error="rejected"):
    return model.Settlement(delivery, model.DeliveryStatus.DEAD, at, None, error)


async def executed(database, *statements):
    """Run statements in one transaction of a store's database."""

    def run(writer):
        for statement in statements:
            writer.exec_driver_sql(statement)

    await database.transact(run)


def elsewhere(number, region="us-east-1", job_id=None, **values):
    """Return the first entry of a job in a region, or with an id of its own."""
    made = entry(number, **values)
    named = replace(job(number), region=region, id=job_id or f"job-{number}")
    first = replace(made.transitions[0], subject=named)
    return replace(made, snapshot=made.snapshot.replace(job=named), transitions=(first,))


async def mark(store, *entries, archived=model.Archived.ENDED):
    """Archive jobs, as they were recorded last."""
    known = [each.snapshot for each in entries]
    await store.archive.mark(
        [model.ArchiveMark(one.job.key, one.sequence, archived, one.looked_at) for one in known]
    )


async def put(store, *entries, archived=model.Archived.ENDED):
    """Record jobs, and archive them."""
    for each in entries:
        assert await store.record(each)
    await mark(store, *entries, archived=archived)
