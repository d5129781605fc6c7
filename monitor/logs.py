"""The log of the daemon: one line per event, without secrets.

Every line, ours or a library's, goes through one chain that ends with the redaction.
Loggers are named after their module (``structlog.stdlib.get_logger("monitor.polling.poller")``).
Ours speak from the configured level on, everyone else's from ``warning``: at ``debug``
and ``info`` the AWS SDK prints bodies and session tokens, and the database its
parameters.
"""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TextIO

import orjson

from monitor import redaction
from monitor.errors import MonitorError

# The library would import another for tracebacks in colours, which no line of ours has: that takes
# as long as all the rest of it. While a module is None, it counts as not installed.
_HIDDEN = "rich" not in sys.modules
if _HIDDEN:
    sys.modules["rich"] = None  # type: ignore[assignment]
import structlog  # noqa: E402
import structlog.testing  # noqa: E402
from structlog.stdlib import ProcessorFormatter  # noqa: E402

if _HIDDEN:
    del sys.modules["rich"]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.typing import EventDict, Processor, WrappedLogger

    from monitor.errors import Problem

POLL_FAILING = "poll.failing"
POLL_RECOVERED = "poll.recovered"
JOB_TRANSITIONED = "job.transitioned"
JOB_FAILING = "job.failing"
JOB_RECOVERED = "job.recovered"
JOB_MISDATED = "job.misdated"
POLL_BROKEN = "poll.broken"
LISTING_TORN = "listing.torn"
LISTING_REFUSED = "listing.refused"
LISTING_FAILING = "listing.failing"
LISTING_RECOVERED = "listing.recovered"
ROW_SKIPPED = "row.skipped"
FIELD_SKIPPED = "field.skipped"
QUOTA_LOWERED = "quota.lowered"
SCHEDULE_LEARNED = "schedule.learned"
HINTS_FAILING = "hints.failing"
HINTS_RECOVERED = "hints.recovered"
HINT_BROKEN = "hint.broken"
DELIVERY_FAILING = "delivery.failing"
DELIVERY_RECOVERED = "delivery.recovered"
DELIVERY_DEAD = "delivery.dead"
SINK_PARKED = "sink.parked"
SINK_RESUMED = "sink.resumed"
SINK_BROKEN = "sink.broken"
SINK_REMOVED = "sink.removed"
SINK_FILES_RELOADED = "sink_files.reloaded"
SINK_FILES_REFUSED = "sink_files.refused"
CONFIG_LOADED = "config.loaded"
CONFIG_RELOADED = "config.reloaded"
CONFIG_REFUSED = "config.refused"
WATCH_ADDED = "watch.added"
WATCH_REMOVED = "watch.removed"
WATCH_EXPIRED = "watch.expired"
WATCH_SKIPPED = "watch.skipped"
WEB_CONFIG_LOADED = "webconfig.loaded"
WEB_CONFIG_REFUSED = "webconfig.refused"
WEB_CONFIG_FAILING = "webconfig.failing"
WEB_CONFIG_RECOVERED = "webconfig.recovered"
REQUEST_FAILED = "request.failed"
REQUEST_ABORTED = "request.aborted"
CONNECTIONS_FULL = "connections.full"
CONNECTIONS_RECOVERED = "connections.recovered"
ACCEPT_FAILING = "accept.failing"
ACCOUNT_ID_UNKNOWN = "account_id.unknown"
DAEMON_STARTED = "daemon.started"
DAEMON_STOPPING = "daemon.stopping"
DAEMON_STOPPED = "daemon.stopped"
LINE_LOST = "line.lost"
STORE_LOST = "store.lost"
STORE_RECOVERED = "store.recovered"
TEXTS_UNINDEXED = "texts.unindexed"
REPLICA_TOOK = "replica.took"
REPLICA_GAVE_UP = "replica.released"
REPLICA_LOST = "replica.lost"
REPLICA_RECOVERED = "replica.recovered"
REPLICA_BROKEN = "replica.broken"
REPLICA_STALE = "replica.stale"
SILENCE_ADDED = "silence.added"
SILENCE_EXPIRED = "silence.expired"
SILENCE_ENDED = "silence.ended"
JOB_ACKNOWLEDGED = "job.acknowledged"
CLOCK_JUMPED = "clock.jumped"

_OURS = "monitor"
_FIRST = ("timestamp", "level", "event", "logger")


def get(**values: Any) -> structlog.stdlib.BoundLogger:
    """Return the monitor's logger, every line of which carries ``values``."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(_OURS)
    return logger.bind(**values)


def of_problem(problem: Problem) -> str:
    """Return a problem of the configuration as one line that the redaction leaves whole.

    It hides what follows a name such as ``Authorization:``, which may be the key that is wrong;
    the words of a problem themselves repeat no secret.
    """
    line = str(problem)
    if not problem.path or redaction.clean_text(line) == line:
        return line
    return str(replace(problem, path=f"`{problem.path}`"))


def configure(
    format_: Literal["json", "console"], level: str, stream: TextIO | None = None
) -> None:
    """Send every log line of the process to ``stream`` (standard error), and nowhere else.

    Call it once, before anything is logged; a later call replaces the earlier one.
    ``level`` is ``debug``, ``info``, ``warning`` or ``error``.
    """
    common: tuple[Processor, ...] = (
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    )
    stream = stream or sys.stderr
    threshold = logging.getLevelNamesMapping()[level.upper()]
    handler = _Handler(stream)
    # The redaction comes last before the rendering, so that nothing is added behind it.
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=(*common, _keep_first_line),
            processors=(
                ProcessorFormatter.remove_processors_meta,
                _redact,
                _renderer(format_, stream),
            ),
        )
    )
    handler.addFilter(lambda record: record.levelno >= _threshold(record.name, threshold))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_threshold("", threshold))
    logging.getLogger(_OURS).setLevel(threshold)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *common,
            ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


@contextmanager
def silenced() -> Iterator[None]:
    """Write no line of ours meanwhile: for a command that prints what happens in its own form."""
    with structlog.testing.capture_logs():
        yield


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to a stream, and keeps a failure from printing what should have been written."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # its name in logging
        """Say that a line is missing; logging itself would print the arguments."""
        lost = {"level": "error", "event": LINE_LOST, "logger": redaction.clean_text(record.name)}
        with suppress(OSError, ValueError, MonitorError):
            self.stream.write(orjson.dumps(lost).decode() + self.terminator)


def _threshold(name: str, ours: int) -> int:
    """Return the lowest level that a logger writes, whatever level a library gave it."""
    own = name == _OURS or name.startswith(f"{_OURS}.")
    return ours if own else max(ours, logging.WARNING)


def _keep_first_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Shorten a library's message: asyncio appends the repr of tasks and their errors."""
    event["event"] = event["event"].partition("\n")[0]
    return event


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # The exception comes as a logging call was given it: itself, in a triple, or as ``True``.
    error = event.pop("exc_info", None)
    if isinstance(error, tuple):
        error = error[1]
    elif error and not isinstance(error, BaseException):
        error = sys.exception()
    cleaned = redaction.clean_fields(event)
    ordered = {key: cleaned.pop(key) for key in _FIRST if key in cleaned} | cleaned
    return ordered | {"exception": redaction.describe(error)} if error else ordered


def _renderer(format_: Literal["json", "console"], stream: TextIO) -> Processor:
    if format_ == "json":
        return lambda _logger, _method, event: orjson.dumps(event).decode()
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(),
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,
    )
