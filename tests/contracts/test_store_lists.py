"""The lists of a store are pages of an index, whatever is asked for."""

from dataclasses import replace

import pytest

from monitor import model
from monitor.stores import reader
from monitor.stores import store as stores
from monitor.web.api.job_filters import holds
from tests.contracts.store_examples import (
    SECOND,
    T0,
    SettableClock,
    delivered,
    entry,
    executed,
    job,
)

PLACE = ("panorama.package-import", "prod", "us-east-1")
RUNNING, FAILED = model.Phase.RUNNING, model.Phase.FAILED
ALL = frozenset(model.Phase)


@pytest.fixture
def opened(store_url):
    return lambda: stores.open_store(store_url, SettableClock())


def _with_id(number, job_id, **changed):
    made = entry(number, **changed)
    named = replace(job(number), id=job_id)
    first = replace(made.transitions[0], subject=named)
    return replace(made, snapshot=made.snapshot.replace(job=named), transitions=(first,))


async def test_jobs_come_by_id_page_by_page_and_only_in_the_phases_asked_for(opened):
    async with opened() as store:
        for number in (3, 1, 4, 2):
            phase = FAILED if number == 4 else RUNNING
            await store.record(entry(number, phase=phase))
        first = await store.jobs(PLACE, ALL, limit=3)
        assert [one.job.id for one in first] == ["job-1", "job-2", "job-3"]
        assert [one.job.id for one in await store.jobs(PLACE, ALL, after="job-3")] == ["job-4"]
        assert [one.job.id for one in await store.jobs(PLACE, {FAILED})] == ["job-4"]
        assert await store.jobs(("other", *PLACE[1:]), ALL) == []
        assert await store.job_counts() == {(PLACE, RUNNING): 3, (PLACE, FAILED): 1}


async def test_text_is_found_in_key_and_snapshot_and_means_itself(opened):
    async with opened() as store:
        await store.record(entry(1, reason='no "such" role'))
        await store.record(entry(2, reason="100%"))

        async def found(text):
            return [one.job.id for one in await store.jobs(PLACE, ALL, text=text)]

        assert await found('NO "such"') == ["job-1"]
        assert await found("0%") == ["job-2"]
        assert await found("PROD/us-east-1/job-2") == ["job-2"]
        assert await found("_") == ["job-1", "job-2"], "fields have one in their names"
        assert await found("%%") == []


async def test_a_job_is_found_by_its_key_its_id_and_the_last_part_of_its_id(opened):
    async with opened() as store:
        await store.record(_with_id(1, "cluster/run"))
        await store.record(_with_id(2, "run"))
        await store.record(_with_id(3, "cluster/rerun"))

        async def found(name):
            events = [event["data"]["job"]["id"] for _, event in await store.history(name)]
            sent = [one.key for one in await store.deliveries(job=name)]
            assert len(events) == len(sent)
            return events

        assert await found("run") == ["cluster/run", "run"]
        assert await found("cluster/run") == ["cluster/run"]
        assert await found("/".join((*PLACE, "cluster/rerun"))) == ["cluster/rerun"]
        assert await found("un") == []


@pytest.mark.parametrize("near", [2, 1000])
async def test_transitions_since_a_time_are_found_wherever_they_stand(opened, monkeypatch, near):
    monkeypatch.setattr(reader, "_NEAR", near)
    async with opened() as store:
        for number in range(1, 11):
            made = entry(number)
            # The wall clock was set back in between.
            at = T0 + (number % 5) * SECOND
            await store.record(
                replace(made, transitions=(replace(made.transitions[0], before=at),))
            )
        kinds = ["job.state_changed", "job.stuck"]
        for kind in (None, kinds):
            since = {"since": T0 + 3 * SECOND, "kinds": kind}
            assert [at for at, _ in await store.transitions(**since)] == [3, 4, 8, 9]
            assert [at for at, _ in await store.transitions(**since, after=3, limit=2)] == [4, 8]
            assert [at for at, _ in await store.transitions(**since, until=8)] == [3, 4, 8]
            assert [at for at, _ in await store.history(**since, limit=3)] == [4, 8, 9]
        assert await store.transitions(since=T0, kinds=["job.stuck"]) == []


async def test_sinks_are_known_by_their_deliveries_of_any_status(opened):
    async with opened() as store:
        await store.record(entry(1, sinks=("c", "a", "b")))
        (first,) = await store.due("a", T0, 1)
        await store.settle(delivered(first))
        await store.park(model.Parking("d", T0, "gone"))
        assert set(await store.sinks()) == {"a", "b", "c", "d"}
        assert {one.sink for one in await store.deliveries()} == {"a", "b", "c"}
        pending = await store.deliveries(status=model.DeliveryStatus.PENDING)
        assert [one.sink for one in pending] == ["b", "c"]
        assert await store.deliveries("nothing") == []


async def test_jobs_that_are_read_share_what_is_the_same_in_them(opened):
    async with opened() as store:
        for number in (1, 2):
            await store.record(entry(number))
        first, second = await store.snapshots()
    assert first.job != second.job
    assert first._common is second._common
    assert (first.job.type, first.job.region) == (second.job.type, second.job.region)
    for name in ("type", "account", "region"):
        assert getattr(first.job, name) is getattr(second.job, name)
    assert first.state is second.state
    assert first.parts is second.parts
    assert first.fields is second.fields
    assert first.earlier_ends is second.earlier_ends


async def test_a_ledger_without_transitions_has_none_after_the_last_possible_position(opened):
    async with opened() as store:
        last = 2**63 - 1
        assert await store.transitions(after=last, since=T0, until=0) == []
        await store.record(entry(1))
        assert await store.transitions(since=T0, limit=1, until=0) == [], (
            "recorded after the search"
        )


async def test_jobs_are_sorted_by_the_bytes_of_their_ids_in_every_database(opened):
    """Most collations of PostgreSQL ignore case and dashes."""
    ids = ["a", "B", "a-b", "aa", "ä", "Z", "_"]
    async with opened() as store:
        for number, job_id in enumerate(ids):
            await store.record(_with_id(number, job_id))
        pages, after = [], ""
        while page := await store.jobs(PLACE, ALL, after=after, limit=2):
            pages += [one.job.id for one in page]
            after = pages[-1]
        assert pages == sorted(ids, key=str.encode)


async def test_any_number_of_jobs_may_share_the_last_part_of_an_id(opened):
    """More of them than a statement takes parameters."""
    many = 33_000
    async with opened() as store:
        await store.record(_with_id(0, "cluster/run", phase=RUNNING))
        columns = "type, account, region, snapshot, state, phase, sequence"
        others = f"{columns}, first_seen_at, changed_at, looked_at"
        numbers = (
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c"
            f" WHERE n < {many}) SELECT jobs.key || n, 'c-' || n || '/run', {others} FROM jobs, c"
        )
        await executed(store._database, f"INSERT INTO jobs (key, id, {others}) {numbers}")
        assert [event["subject"] for _, event in await store.history("run")] == ["cluster/run"]
        assert [one.sink for one in await store.deliveries(job="run")] == ["ops"]
        assert await store.history("no-run") == []


async def test_text_of_a_command_is_found_by_the_rule_of_the_store(opened):
    """SQLite knows the case of ASCII letters alone, and so does the filter over what it returns."""
    async with opened() as store:
        await store.record(_with_id(1, "kelvin"))
        await store.record(_with_id(2, "\u212aelvin"))
        found = [one.job.id for one in await store.jobs(PLACE, ALL, text="KELVIN")]
        assert [one for one in found if holds(one, "KELVIN")] == ["kelvin"]
    assert holds("STRASSE", "strasse")
    assert not holds("Straße", "strasse")
    assert holds("ÉTÉ", "été")
