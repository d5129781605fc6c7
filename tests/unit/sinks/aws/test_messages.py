import hashlib
import json

import pytest

from monitor.model import Kind
from monitor.sinks.aws import messages
from monitor.sinks.aws.refusals import UNTOLD, Refusal
from tests.contracts.sink_kit import event


@pytest.mark.parametrize(
    ("job_id", "named"),
    [
        ("job-1", True),
        ("x" * (128 - len("panorama.package-import/prod/us-east-1/")), True),
        ("x" * (129 - len("panorama.package-import/prod/us-east-1/")), False),
        ("a b", False),
        ("ä", False),
    ],
)
def test_a_group_is_named_by_its_job_where_that_is_allowed(job_id, named):
    key = f"panorama.package-import/prod/us-east-1/{job_id}"

    group = messages.group(event(job_id=job_id))

    assert group == (key if named else hashlib.sha256(key.encode()).hexdigest())


def test_all_events_of_a_source_are_one_group():
    kinds = (Kind.SOURCE_UNAVAILABLE, Kind.SOURCE_RECOVERED)

    assert {messages.group(event(kind)) for kind in kinds} == {"source:panorama/prod/us-east-1"}


def test_an_attribute_without_a_value_is_left_out():
    made = event()
    made["data"]["current"] = {"state": "\x00", "phase": "unknown"}

    assert set(messages.attributes(made)) == {
        *("kind", "severity", "job_type", "account", "region", "phase")
    }


def test_a_text_keeps_what_it_says_without_the_characters_that_are_refused():
    made = event(reason="\x00\x1f\x7f\ud7ff\ue000\ufffd\ufffe\uffff\U00010000")

    text = messages.text(made)

    assert not {"\x00", "\x1f", "\ufffe", "\uffff"} & set(text)
    assert json.loads(text) == made


def test_outcomes_stand_in_the_order_of_the_entries():
    answer = {
        "Failed": [{"Id": "0", "Code": "X", "SenderFault": True}],
        "Successful": [{"Id": "2"}],
    }

    assert messages.outcomes(answer, 3) == [Refusal("X", sender=True), UNTOLD, None]
