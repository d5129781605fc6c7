"""The last net under what reads a configuration: an exception that nobody foresaw.

Such a fault of the program must neither end a daemon that runs on its former configuration nor
greet a user with frames. It becomes a problem like any other, on one line.
"""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING

from monitor import redaction
from monitor.errors import ConfigurationError, MonitorError, Problem, StopRequested

if TYPE_CHECKING:
    from collections.abc import Iterator

_REMEDY = "a fault of job-monitor: please report it; until then write this part differently"


def problem(error: BaseException, place: str = "", path: str = "", what: str = "this") -> Problem:
    """Return what can be said of ``error``: its kind and where it arose, never its own words."""
    frames = traceback.extract_tb(error.__traceback__)
    last = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    message = f"checking {what} failed with {type(error).__name__}{last}"
    return Problem(place, path, message, _REMEDY, trace=redaction.describe(error))


@contextmanager
def refused(place: str = "", path: str = "", what: str = "the configuration") -> Iterator[None]:
    """Turn what nobody foresaw into a refusal; what is foreseen passes.

    Raises:
        ConfigurationError: something was raised that is no error of our own.
    """
    try:
        yield
    except (MonitorError, StopRequested):
        raise
    except (Exception, SystemExit) as error:  # a plug-in may even end the process
        raise ConfigurationError([problem(error, place, path, what)]) from error
