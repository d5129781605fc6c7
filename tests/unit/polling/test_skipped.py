"""What could not be read: counted each time, named once, and never a change."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest
import structlog

from monitor.model import Page, SkippedRow
from tests.builders import SOURCE, TYPE, VIRTUAL, Answer, job, running
from tests.polling import polling, run_for

pytestmark = VIRTUAL


@pytest.fixture
def said():
    with structlog.testing.capture_logs() as lines:
        yield lambda event: [line for line in lines if line["event"] == event]


async def test_a_field_that_cannot_be_read_for_a_while_is_no_change(tmp_path, said, monkeypatch):
    async with polling(tmp_path) as bench:
        whole = bench.source._observation
        odd = False

        def observation(*args):
            seen = whole(*args)
            if not odd:
                return seen
            fields = {name: value for name, value in seen.fields.items() if name != "Pages"}
            return replace(seen, fields=fields, updated_at=None, unreadable=("Pages", "updated_at"))

        monkeypatch.setattr(bench.source, "_observation", observation)
        bench.source.answers["j-1"] = Answer("PENDING", {"Pages": 3, "Owner": "a"})
        bench.follow("j-1")
        async with running(bench.poller):
            await anyio.sleep(100)
            odd = True
            await anyio.sleep(100)
            known = bench.recorder.snapshot(job("j-1"))
            bench.source.answers["j-1"] = Answer("SUCCEEDED", {"Pages": 3, "Owner": "a"})
            await anyio.sleep(100)

        assert await bench.kinds() == ["job.discovered", "job.state_changed"]
        assert known is not None
        assert known.fields == {"Pages": 3, "Owner": "a"}
        labels = {"type": TYPE.name, "field": "Pages"}
        assert bench.measured("unreadable_fields_total", **labels) >= 4
        assert sorted(line["field"] for line in said("field.skipped")) == [
            "Pages",
            "updated_at",
        ]


async def test_a_skipped_row_is_counted_each_time_and_named_once(tmp_path, said):
    async with polling(tmp_path) as bench:
        bench.source.answers["j-1"] = "PENDING"
        bench.source.listing = lambda _token: Page(
            bench.source.rows("j-1"), None, skipped=(SkippedRow(3, "BadRow"),)
        )
        bench.discover()
        await run_for(bench, 100)

        assert await bench.kinds() == ["job.discovered"]
        place = {"type": TYPE.name, "account": SOURCE.account, "region": SOURCE.region}
        assert bench.measured("bad_rows_total", **place) >= 3
        (line,) = said("row.skipped")
        assert (line["reason"], line["position"], line["type"]) == ("BadRow", 3, TYPE.name)


async def test_a_row_that_is_only_an_id_finds_its_job_and_says_nothing_more(tmp_path):
    kind = replace(TYPE, lists_states=False)
    async with polling(tmp_path, job_type=kind) as bench:
        bench.source.answers |= {"j-1": "PENDING", "j-2": "PENDING"}

        def bare(_token):
            rows = bench.source.rows("j-1", "j-2")
            return Page(tuple(replace(row, parts={"Status": None}) for row in rows), None)

        bench.source.listing = bare
        bench.discover(interval=30.0)
        async with running(bench.poller):
            await anyio.sleep(100)
            bench.source.answers["j-2"] = "FAILED"
            await anyio.sleep(100)

        assert [told for told in await bench.told() if told[1] != "job.discovered"] == [
            ("j-2", "job.state_changed", "FAILED")
        ]
        looks = len(bench.source.asked_for("j-1"))
        assert 6 <= looks <= 8  # as often as its interval says, no sweep being a look
        assert len(bench.source.asked_for("j-2")) < looks
