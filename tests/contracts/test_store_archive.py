"""Jobs that only the store remembers: marked, known again, and listed page by page."""

from itertools import product

import pytest

from monitor import model
from monitor.model import Archived, ArchiveMark, Phase
from monitor.stores import archive as archives
from monitor.stores import store as stores
from tests.contracts.store_examples import SECOND, T0, SettableClock, elsewhere, entry, job, put

PLACE = ("panorama.package-import", "prod", "us-east-1")
OTHER = ("panorama.package-import", "prod", "eu-west-1")
SUCCEEDED, FAILED = Phase.SUCCEEDED, Phase.FAILED
ENDS = frozenset({SUCCEEDED, FAILED})
FINAL = {"ending": model.Ending.FINAL, "state": "SUCCEEDED", "phase": SUCCEEDED, "ended_at": T0}


@pytest.fixture
def opened(store_url):
    return lambda: stores.open_store(store_url, SettableClock())


def ended(number, *place, **changed):
    return elsewhere(number, *place, **(FINAL | changed))


def marked(snapshot, archived=Archived.ENDED):
    return ArchiveMark(snapshot.job.key, snapshot.sequence, archived, snapshot.looked_at)


async def live(store):
    return [one.job.id for one in await store.archive.live()]


async def test_an_archived_job_is_not_read_at_the_start_and_is_still_known(opened):
    async with opened() as store:
        await store.record(entry(1))
        await put(store, ended(2), ended(3, phase=FAILED, state="FAILED"))
        assert await live(store) == ["job-1"]
        assert await store.archive.counts() == {(PLACE, SUCCEEDED): (1, 1), (PLACE, FAILED): (1, 1)}
        keys = [job(number).key for number in (1, 2, 3, 4)]
        known = await store.archive.rows(keys)
        assert sorted(known) == keys[1:3]
        assert known[job(2).key] == model.ArchivedRow(
            {"Status": "SUCCEEDED"}, None, T0, missing=False, settled=True
        )
        found = {one.job.id: archived for one, archived in await store.archive.find(keys)}
        assert found == {
            "job-1": Archived.LIVE,
            "job-2": Archived.ENDED,
            "job-3": Archived.ENDED,
        }


async def test_what_is_recorded_of_an_archived_job_makes_it_live(opened):
    async with opened() as store:
        await put(store, ended(1), archived=Archived.BASELINE)
        assert await store.archive.counts() == {(PLACE, SUCCEEDED): (1, 0)}
        assert not await store.record(entry(1)), "it goes on with its sequence"
        assert await store.record(entry(1, 2, phase=FAILED))
        assert await live(store) == ["job-1"]
        assert await store.archive.counts() == {}


async def test_a_job_that_changed_meanwhile_is_not_archived(opened):
    async with opened() as store:
        first = ended(1)
        await store.record(first)
        await store.record(entry(1, 2))
        await store.archive.mark([marked(first.snapshot)])
        assert await live(store) == ["job-1"]


async def test_live_jobs_are_read_in_pages(opened, monkeypatch):
    monkeypatch.setattr(archives, "ROWS_AT_ONCE", 2)
    async with opened() as store:
        for number in range(1, 6):
            await store.record(entry(number))
        await put(store, ended(6), ended(7), ended(8), archived=Archived.UNWATCHED)
        some = await store.archive.live(job(2).key)
        assert [one.job.id for one in some] == ["job-3", "job-4"]
        assert await store.archive.live(job(5).key) == []
        pages = [await store.archive.of_place(PLACE, after) for after in ("", job(7).key)]
        assert [[one.job.id for one, _ in page] for page in pages] == [
            ["job-6", "job-7"],
            ["job-8"],
        ]
        assert await store.archive.of_place(PLACE, job(8).key) == []
        assert await store.archive.counts() == {}, "no watch follows them"


def _everything():
    """Jobs of two regions, some of which share what they are ordered by."""
    for number, (region, phase) in enumerate(product(("us-east-1", "eu-west-1"), sorted(ENDS)), 1):
        for twin in ("a", "Z", "é"):
            at = T0 + number // 2 * SECOND
            yield ended(
                number,
                region,
                f"{twin}-{number}",
                phase=phase,
                state=phase.upper(),
                changed_at=at,
                first_seen_at=at,
                looked_at=at,
                reason=f"because of {twin}",
            )


_RANKS = {
    "key": lambda one: (one.job.key,),
    "phase": lambda one: (one.phase.value, one.job.key),
    "state": lambda one: (one.state, one.job.key),
    "changed_at": lambda one: (one.changed_at.timestamp(), one.job.key),
    "first_seen_at": lambda one: (one.first_seen_at.timestamp(), one.job.key),
    "looked_at": lambda one: (one.looked_at.timestamp(), one.job.key),
}


@pytest.mark.parametrize("order", _RANKS)
@pytest.mark.parametrize("down", [False, True])
async def test_every_order_is_a_chain_of_pages(opened, order, down):
    async with opened() as store:
        every = list(_everything())
        await put(store, *every)
        while await store.archive.index_texts():
            pass
        for places, phases in product(({PLACE}, {PLACE, OTHER}), ({FAILED}, ENDS)):
            wanted = sorted(
                (
                    (_RANKS[order](one.snapshot), one.snapshot.job.key)
                    for one in every
                    if (one.snapshot.job.region in {place[2] for place in places})
                    and one.snapshot.phase in phases
                ),
                reverse=down,
            )
            found, after = [], None
            for _ in range(20):
                page = await store.archive.page(
                    order,
                    places,
                    phases,
                    down=down,
                    every_place=len(places) == 2,
                    after=after,
                    limit=2,
                )
                found += [(rank, one.job.key) for rank, one in page.found]
                if (after := page.last) is None:
                    break
            assert found == wanted
            for text, (until, _) in product((None, "us-"), wanted):
                page = await store.archive.page(
                    order,
                    places,
                    phases,
                    down=down,
                    every_place=len(places) == 2,
                    until=until,
                    having=model.ArchivedFilter(text),
                )
                assert [one.job.key for _, one in page.found] == [
                    key
                    for rank, key in wanted
                    if (rank >= until if down else rank <= until) and (text is None or text in key)
                ]
                assert page.last is None


async def test_text_is_searched_for_in_so_many_jobs_at_a_time(opened, monkeypatch):
    monkeypatch.setattr(archives, "TEXTS_SCANNED", 5)
    async with opened() as store:
        await put(store, *_everything())
        sizes, found, after = [], [], None
        while True:
            page = await store.archive.page(
                "changed_at",
                {PLACE, OTHER},
                ENDS,
                after=after,
                having=model.ArchivedFilter("BECAUSE OF a"),
            )
            sizes.append(len(page.found))
            found += [one.job.id for _, one in page.found]
            if (after := page.last) is None:
                break
        assert sorted(found) == ["a-1", "a-2", "a-3", "a-4"]
        assert len(sizes) == 3


async def test_what_ended_since_a_time_is_read(opened):
    async with opened() as store:
        await put(store, *(ended(n, changed_at=T0 + n * SECOND) for n in range(6)))
        since = await store.archive.ended_since(T0 + 4 * SECOND, ENDS)
        assert sorted(one.job.id for one in since) == ["job-4", "job-5"]


async def test_what_is_discovered_at_a_place_is_kept(opened):
    async with opened() as store:
        await store.archive.keep_discovers({PLACE: "all", OTHER: "some"})
        await store.archive.keep_discovers({PLACE: "some"})
        assert await store.archive.discovers() == {PLACE: "some"}


async def test_an_archived_job_is_found_by_its_id(opened):
    async with opened() as store:
        await put(store, ended(1), ended(2), ended(4, job_id="group/part"))
        await store.record(entry(3))
        assert [one.job.id for one in await store.archive.with_id("part")] == ["group/part"]
        assert [one.job.id for one in await store.archive.with_id(job(1).key)] == ["job-1"]
        assert [one.job.id for one in await store.archive.with_id("job-2")] == ["job-2"]
        assert await store.archive.with_id("job-3") == []
