"""A configuration is replaced in two steps: one that may wait, and one that cannot."""

import inspect

import pytest

from monitor.delivery.manager import DeliveryManager
from monitor.polling.manager import PollManager
from monitor.runtime.reconfigure import ConfigManager


@pytest.mark.parametrize("part", [ConfigManager, DeliveryManager, PollManager])
def test_what_applies_a_configuration_never_waits(part):
    assert inspect.isfunction(part.apply)
    assert not inspect.iscoroutinefunction(part.apply)
    assert not inspect.isgeneratorfunction(part.apply)
