"""Keep every event that a process makes, in the directory that the tests name.

Python imports this by itself at the start of each process whose PYTHONPATH leads here; the
program under test knows nothing of it. ``tests/made.py`` reads what was kept.
"""

import importlib.util
import json
import os
import sys
from importlib.abc import MetaPathFinder
from typing import Any

MODULE = "monitor.events"


class _Keeping(MetaPathFinder):
    """Wraps the one place where events are made, once it is imported."""

    def find_spec(self, name, path, target=None):
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec: Any = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            setattr(module, "cloud_event", _keeping(module.cloud_event))  # noqa: B010 -- for mypy

        spec.loader.exec_module = exec_module
        return spec


def _keeping(make):
    """One line for each event, whole whatever kills the process: it is one write."""
    file = os.path.join(os.environ["MADE_EVENTS"], f"{os.getpid()}.jsonl")  # noqa: PTH118
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def cloud_event(transition, ledger_id):
        event = make(transition, ledger_id)
        os.write(descriptor, json.dumps(event, default=dict).encode() + b"\n")
        return event

    return cloud_event


def keep_now():
    """Begin in a fork of what was imported before anybody wanted to keep its events."""
    if "MADE_EVENTS" in os.environ:
        module = sys.modules[MODULE]
        setattr(module, "cloud_event", _keeping(module.cloud_event))  # noqa: B010 -- for mypy


if "MADE_EVENTS" in os.environ:
    sys.meta_path.insert(0, _Keeping())
