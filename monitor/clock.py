"""Real time."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from functools import partial


class Lease:
    """Until when this process may act on what it owns: for ever, if no others share its store.

    A process that was stopped for a while, or is cut off, must find out before it acts again that
    another one has taken its place. So each sign of life extends the lease by less time than the
    others wait for the next one.
    """

    until = math.inf
    """On the monotonic clock."""


class SystemClock:
    """Fits ``interfaces.Clock``."""

    # Without a function of Python around them, as each poll reads both.
    now = staticmethod(partial(datetime.now, UTC))
    monotonic = staticmethod(time.monotonic)
