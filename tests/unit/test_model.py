"""The keys and the closed sets that everything else relies on."""

from monitor.model import Job, Phase, SourceKey


def test_a_job_is_named_by_type_account_region_and_id():
    assert Job("t", "a", "r", "x").key == "t/a/r/x"


def test_an_id_with_slashes_stays_the_last_part():
    assert Job("t", "a", "r", "x/y").key.split("/", 3)[3] == "x/y"


def test_a_source_is_never_named_as_a_job():
    assert SourceKey("s", "a", "r").key == "source:s/a/r"


def test_work_is_over_in_four_phases():
    over = {phase.value for phase in Phase if phase.terminal}
    assert over == {"succeeded", "failed", "canceled", "expired"}
