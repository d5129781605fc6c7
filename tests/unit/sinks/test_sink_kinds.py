"""The registry of sinks holds what the configuration accepts."""

from typing import get_args

from monitor import config, sinks
from monitor.sinks import plugin


def test_the_registry_names_every_type_that_can_be_configured():
    accepted = {
        name: each
        for each in get_args(get_args(config.BuiltInSink)[0])
        for name in get_args(each.model_fields["type"].annotation)
    }
    assert {name: kind.settings for name, kind in sinks.KINDS.items()} == accepted


def test_any_other_type_is_that_of_a_plugin():
    assert sinks.kind_of(config.PluginSink(type="directory")) is plugin.KIND
