"""The keys and the closed sets that everything else relies on."""

from datetime import UTC, datetime

import pytest

from monitor.model import Job, JobMap, Phase, SourceKey, shared_fields, shared_parts, shared_text
from tests.builders import at, snapshot


def test_a_job_is_named_by_type_account_region_and_id():
    assert Job("t", "a", "r", "x").key == "t/a/r/x"


def test_an_id_with_slashes_stays_the_last_part():
    assert Job("t", "a", "r", "x/y").key.split("/", 3)[3] == "x/y"


def test_a_source_is_never_named_as_a_job():
    assert SourceKey("s", "a", "r").key == "source:s/a/r"


def test_work_is_over_in_four_phases():
    over = {phase.value for phase in Phase if phase.terminal}
    assert over == {"succeeded", "failed", "canceled", "expired"}


def test_equal_fields_are_one_object_and_true_is_not_1():
    fields = [shared_fields({"size": value, "names": ["a"]}) for value in (1, True, 1, 1.0)]
    assert fields[0] is fields[2]
    assert [type(each["size"]) for each in fields] == [int, bool, int, float]


def test_equal_parts_and_texts_are_one_object():
    one, other = ({"status": str(10_000), "step": None} for _ in range(2))
    assert shared_parts(one) is shared_parts(other)
    assert shared_text(str(10_000)) is shared_text(str(10_000))


def test_a_job_is_found_by_its_key():
    assert Job.of("t/a/r/x/y") == Job("t", "a", "r", "x/y")
    assert Job.of("source:s/a/r") is None


def test_a_map_of_jobs_is_as_one_by_their_keys():
    jobs = [Job(*key.split("/", 3)) for key in ("t/a/r/x", "t/a/r/x/y", "t/a/s/x", "u/a/r/x")]
    found: JobMap[int] = JobMap()
    for number, one in enumerate(jobs):
        found[one] = number
    found[Job("t", "a", "s", "x")] = 7
    assert [found.get(one) for one in jobs] == [0, 1, 7, 3]
    assert sorted(found.values()) == [0, 1, 3, 7]
    found.pop(jobs[2])
    found.pop(jobs[2])
    assert len(found) == 3
    assert [one in found for one in jobs] == [True, True, False, True]
    assert found.get(jobs[2]) is None


@pytest.mark.parametrize(
    "time",
    [
        datetime(1, 1, 1, 0, 0, 0, 1, UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
    ],
)
def test_a_snapshot_keeps_its_times_to_the_microsecond(time):
    names = ("first_seen_at", "changed_at", "looked_at", "own_changed", "updated_at", "ended_at")
    for name in (*names, "own_ended", "own_reminded"):
        known = snapshot(**{name: time})
        assert [each for each in (*names, "own_ended", "own_reminded")
                if getattr(known, name) == getattr(known, each)] == [name]  # fmt: skip
        assert getattr(known, name) == time
        assert known.replace(sequence=9).as_dict() == known.as_dict() | {"sequence": 9}


def test_a_poll_moves_one_time_of_a_snapshot_alone():
    known = snapshot(changed_at=at(1), ended_at=at(2), own_reminded=at(3))
    before = known.as_dict()
    assert known.is_like(known.replace(looked_at=at(9)))
    known.note_poll(at(9))
    assert known.as_dict() == before | {"looked_at": at(9)}
    assert not known.is_like(known.replace(changed_at=at(9)))


def test_snapshots_share_what_many_jobs_have_in_common():
    parts, fields = shared_parts({"Status": "PENDING"}), shared_fields({"a": 1})
    one, other = (snapshot(job=Job("t", "a", "r", name), parts=parts, fields=fields,
                           changed_at=at(len(name))) for name in ("x", "yy"))  # fmt: skip
    assert one._common is other._common
    assert one._common is not one.replace(sequence=2)._common
