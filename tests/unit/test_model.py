"""The keys and the closed sets that everything else relies on."""

from monitor.model import Job, Phase, SourceKey, shared_fields, shared_parts, shared_text


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
