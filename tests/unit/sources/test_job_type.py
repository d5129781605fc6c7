from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from monitor.aws.errors import normal_code
from monitor.model import Ending, Phase, Severity
from monitor.sources.loader import BUILT_IN, load_job_types

if TYPE_CHECKING:
    from monitor.interfaces import JobType as JobTypeProtocol

TYPES = load_job_types(None)
PANORAMA = TYPES["panorama.package-import"]
IMPORTEXPORT = TYPES["importexport.job"]

FAILURES = [
    "DeviceError",
    "InvalidSignature",
    "MissingSignature",
    "MissingDevice",
    "UnsupportedDeviceType",
    "UnsupportedFileFormat",
    "UnsupportedPowerSupply",
]
PROGRESS = {
    "Pending": (Phase.WAITING, Severity.INFO),
    "InProgress": (Phase.RUNNING, Severity.INFO),
    "Complete": (Phase.SUCCEEDED, Severity.INFO),
    "SuccessWithErrors": (Phase.SUCCEEDED, Severity.WARNING),
    "Canceled": (Phase.CANCELED, Severity.WARNING),
    "Expired": (Phase.EXPIRED, Severity.ERROR),
    **dict.fromkeys(FAILURES, (Phase.FAILED, Severity.ERROR)),
}
LOCATIONS = ["NotReceived", "AtAWS", "Returned", None]


def judged(location, progress, before=None):
    return IMPORTEXPORT.judge({"LocationCode": location, "ProgressCode": progress}, before)


def test_the_built_in_types_fit_the_protocol():
    found: list[JobTypeProtocol] = list(TYPES.values())

    assert {one.name for one in found} == {file.stem for file in BUILT_IN.glob("*.yaml")}


@pytest.mark.parametrize(
    ("state", "phase", "severity", "ending"),
    [
        ("PENDING", Phase.RUNNING, Severity.INFO, Ending.OPEN),
        ("SUCCEEDED", Phase.SUCCEEDED, Severity.INFO, Ending.FINAL),
        ("FAILED", Phase.FAILED, Severity.ERROR, Ending.FINAL),
    ],
)
def test_a_panorama_state_has_its_phase(state, phase, severity, ending):
    verdict = PANORAMA.judge({"Status": state}, None)

    assert verdict is not None
    assert (verdict.state, verdict.phase, verdict.severity) == (state, phase, severity)
    assert (verdict.ending, verdict.classified) == (ending, True)


@pytest.mark.parametrize(("progress", "location"), list(itertools.product(PROGRESS, LOCATIONS)))
def test_an_import_export_state_follows_its_progress(progress, location):
    verdict = judged(location, progress)

    assert verdict is not None
    assert verdict.state == f"{location or 'Unknown'}/{progress}"
    assert (verdict.phase, verdict.severity) == PROGRESS[progress]
    assert verdict.classified


@pytest.mark.parametrize(
    ("location", "progress", "ending"),
    [
        ("NotReceived", "Pending", Ending.OPEN),
        ("Returned", "InProgress", Ending.OPEN),
        ("Returned", "Odd", Ending.OPEN),
        ("Returned", "Complete", Ending.FINAL),
        ("Returned", "DeviceError", Ending.FINAL),
        ("Returned", "Canceled", Ending.FINAL),
        ("NotReceived", "Canceled", Ending.FINAL),
        ("NotReceived", "Expired", Ending.FINAL),
        ("NotReceived", "MissingDevice", Ending.GRACE),
        ("NotReceived", "Complete", Ending.GRACE),
        ("AtAWS", "Complete", Ending.GRACE),
        ("AtAWS", "Canceled", Ending.GRACE),
        (None, "Canceled", Ending.GRACE),
        (None, "Complete", Ending.GRACE),
    ],
)
def test_a_disk_is_finished_only_when_it_cannot_come_back_any_more(location, progress, ending):
    verdict = judged(location, progress)

    assert verdict is not None
    assert verdict.ending is ending


def test_a_state_nobody_knows_is_passed_on_and_counted():
    verdict = judged("AtAWS", "Polishing")

    assert verdict is not None
    assert (verdict.state, verdict.phase) == ("AtAWS/Polishing", Phase.UNKNOWN)
    assert (verdict.classified, verdict.ending) == (False, Ending.OPEN)


def test_a_state_that_was_not_told_is_no_unknown_one():
    verdict = judged(None, None)

    assert verdict is not None
    assert (verdict.state, verdict.classified) == ("Unknown/Unknown", True)


@pytest.mark.parametrize("before", [Phase.CANCELED, Phase.EXPIRED])
@pytest.mark.parametrize("progress", ["Pending", "InProgress", "Odd", None])
def test_what_is_canceled_or_expired_does_not_open_again(before, progress):
    assert judged("AtAWS", progress, before) is None
    assert judged("AtAWS", "Canceled", before) is not None


@pytest.mark.parametrize("before", [None, *sorted(set(Phase) - {Phase.CANCELED, Phase.EXPIRED})])
def test_any_other_phase_may_open_again(before):
    assert judged("AtAWS", "InProgress", before) is not None


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("CanceledJobId", "Canceled"),
        ("CanceledJobIdException", "Canceled"),
        ("canceledjobidEXCEPTION", "Canceled"),
        ("ExpiredJobIdException", "Expired"),
    ],
)
def test_an_error_may_be_a_state(code, state):
    assert IMPORTEXPORT.parts_from_error(code) == {"LocationCode": None, "ProgressCode": state}


def test_other_errors_are_no_state():
    assert IMPORTEXPORT.parts_from_error("InvalidJobId") is None
    assert IMPORTEXPORT.parts_from_error("") is None


@pytest.mark.parametrize(
    ("code", "normal"),
    [("ThrottlingException", "throttling"), ("Throttling", "throttling"), ("Exception", "")],
)
def test_codes_are_compared_without_case_and_ending(code, normal):
    assert normal_code(code) == normal


def test_aliases_apply_to_the_progress_alone():
    assert IMPORTEXPORT.normal_part("ProgressCode", "Success") == "Complete"
    assert IMPORTEXPORT.normal_part("LocationCode", "Success") == "Success"


def test_the_defaults_of_the_built_in_types():
    assert (PANORAMA.interval, PANORAMA.rate, PANORAMA.burst) == (30, 2, 5)
    assert (IMPORTEXPORT.interval, IMPORTEXPORT.rate, IMPORTEXPORT.burst) == (300, 1, 2)
    assert (IMPORTEXPORT.grace, IMPORTEXPORT.grace_interval) == (90 * 86400, 3600)
    assert (PANORAMA.region, IMPORTEXPORT.region) == (None, "us-east-1")
    assert (PANORAMA.polls_by_sweep, IMPORTEXPORT.polls_by_sweep) == (True, False)
    assert PANORAMA.unwatched() == {"CreatedTime", "LastUpdatedTime"}


def test_a_watch_may_set_another_grace():
    assert IMPORTEXPORT.with_grace(60).grace == 60
    assert IMPORTEXPORT.with_grace(60, 5).grace_interval == 5
    assert IMPORTEXPORT.with_grace(None) == IMPORTEXPORT


@pytest.mark.parametrize(
    ("job_id", "good"),
    [
        ("a-B_9", True),
        ("x" * 255, True),
        ("x" * 256, False),
        ("", False),
        ("a/b", False),
        ("a\n", False),
    ],
)
def test_an_id_must_fit_its_pattern_and_length(job_id, good):
    assert PANORAMA.accepts_id(job_id) is good
