"""No test can make what is no event without failing, wherever it makes it."""

import subprocess
import sys
from dataclasses import replace

import jsonschema_rs
import pytest

from monitor import events
from tests.contracts.sink_kit import LEDGER, transition

CHILD = """
from dataclasses import replace
from monitor import events
from tests.contracts.sink_kit import LEDGER, transition
events.cloud_event(replace(transition(), reason=1), LEDGER)
"""


def test_events_of_this_process_are_counted_and_checked(made_events):
    events.cloud_event(transition(), LEDGER)
    assert made_events.check() == 1


def test_a_wrong_event_of_this_process_is_noticed(made_events):
    events.cloud_event(replace(transition(), sequence=0), LEDGER)
    with pytest.raises(jsonschema_rs.ValidationError, match="0 is less than"):
        made_events.check()
    made_events.forget()


def test_a_wrong_event_of_another_process_is_noticed(made_events):
    subprocess.run([sys.executable, "-c", CHILD], check=True)
    with pytest.raises(jsonschema_rs.ValidationError, match="1 is not"):
        made_events.check()
    made_events.forget()
