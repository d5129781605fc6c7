"""The last net under what reads a configuration: an unexpected exception.

Such a bug must not end a daemon that runs with its former configuration, and must not greet a
user with a traceback. It becomes a problem like any other, on one line.
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
    """Return the kind of ``error`` and where it arose; never its own words, which may be secret."""
    # The place is enough to find the bug; the text of the exception may quote the configuration.
    frames = traceback.extract_tb(error.__traceback__)
    last = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    message = f"checking {what} failed with {type(error).__name__}{last}"
    return Problem(place, path, message, _REMEDY, trace=redaction.describe(error))


@contextmanager
def refused(place: str = "", path: str = "", what: str = "the configuration") -> Iterator[None]:
    """Turn an unexpected exception into ConfigurationError; our own errors pass.

    Raises:
        ConfigurationError: an exception was raised that is not one of ours.
    """
    try:
        yield
    except (MonitorError, StopRequested):
        raise
    except (Exception, SystemExit) as error:  # a plug-in may even end the process
        raise ConfigurationError([problem(error, place, path, what)]) from error
