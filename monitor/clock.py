"""Real time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial


class SystemClock:
    """Fits ``interfaces.Clock``."""

    # Without a function of Python around them, as each poll reads both.
    now = staticmethod(partial(datetime.now, UTC))
    monotonic = staticmethod(time.monotonic)
