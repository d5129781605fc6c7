"""Lines that machines can read, people can read, and nobody can steal from."""

import asyncio
import io
import logging
import re
import sys
import warnings
from datetime import UTC, datetime

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from monitor import logs, redaction
from monitor.errors import Problem

CANARY = "c4nAryS3cret9x"


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Broken(io.StringIO):
    def write(self, _text):
        raise BrokenPipeError(CANARY)


@pytest.fixture(autouse=True)
def untouched_logging():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # Captured already by an earlier test of this process, it would not be captured anew.
    logging.captureWarnings(capture=False)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("monitor").setLevel(logging.NOTSET)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def log(stream):
    logs.configure("json", "debug", stream)
    return structlog.stdlib.get_logger("monitor.polling.poller")


def fail():
    raise ValueError(f"<html>{CANARY}</html>")


def lines(stream):
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_its_fields(stream, log):
    log.warning(logs.POLL_FAILING, job="t/a/r/j", attempts=3)
    (line,) = lines(stream)
    moment = datetime.fromisoformat(line.pop("timestamp"))
    assert moment.tzinfo == UTC
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 10
    assert line == {
        "level": "warning",
        "event": "poll.failing",
        "logger": "monitor.polling.poller",
        "job": "t/a/r/j",
        "attempts": 3,
    }


def test_every_event_name_is_a_noun_and_a_participle_and_unique():
    names = [v for k, v in vars(logs).items() if k.isupper() and k[0] != "_" and isinstance(v, str)]
    assert len(set(names)) == len(names) > 15
    assert all(re.fullmatch("[a-z]+(_[a-z]+)?[.][a-z]+", name) for name in names)


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_decides_what_we_say(stream, level, shown):
    logs.configure("json", level, stream)
    log = structlog.stdlib.get_logger("monitor.app")
    for method in (log.debug, log.info, log.warning, log.error):
        method(logs.DAEMON_STARTED)
    assert [line["level"] for line in lines(stream)] == shown


@pytest.mark.parametrize(
    "name",
    [
        *("botocore", "botocore.auth", "aiobotocore.endpoint", "aiohttp.access", "asyncio"),
        *("urllib3", "sqlalchemy.engine.Engine", "alembic", "monitored", ""),
    ],
)
def test_libraries_speak_from_warning_on_whatever_their_own_level(stream, log, name):
    library = logging.getLogger(name)
    own = library.level
    library.setLevel(logging.DEBUG)
    try:
        library.debug("Response body: %s", CANARY)
        library.info("SELECT %s", CANARY)
        library.warning("careful")
    finally:
        library.setLevel(own)
    assert [line["event"] for line in lines(stream)] == ["careful"]


def test_libraries_are_asked_for_nothing_they_may_not_say(log):
    assert not logging.getLogger("botocore.parsers").isEnabledFor(logging.INFO)


def test_a_librarys_message_goes_through_the_same_chain(stream, log):
    logging.getLogger("aiohttp.server").error("at %s: token=%s", "x", CANARY)
    (line,) = lines(stream)
    assert line["event"] == f"at x: token={redaction.HIDDEN}"
    assert (line["level"], line["logger"]) == ("error", "aiohttp.server")
    assert "timestamp" in line


def test_only_the_first_line_of_a_librarys_message_is_kept(stream, log):
    logging.getLogger("asyncio").error("Task exception\nfuture: <Task exception=E('%s')>", CANARY)
    assert lines(stream)[0]["event"] == "Task exception"


async def test_a_lost_tasks_error_is_told_without_its_message(stream, log):
    task = asyncio.create_task(asyncio.to_thread(fail))
    await asyncio.wait([task])
    del task
    (line,) = lines(stream)
    assert re.fullmatch(r"ValueError\n(  .+\n)+  unit/test_logs.py:\d+ in fail", line["exception"])
    assert CANARY not in stream.getvalue()


def test_a_warning_becomes_a_line(stream, log):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning(UserWarning(f"password={CANARY}"), UserWarning, "file.py", 1)
    (line,) = lines(stream)
    assert line["event"].startswith("file.py:1: UserWarning: password=***")


@pytest.mark.parametrize("format_", ["json", "console"])
@pytest.mark.parametrize("given_as", ["true", "error", "triple", "method"])
def test_an_exception_is_told_by_class_and_place(stream, format_, given_as):
    logs.configure(format_, "debug", stream)
    log = structlog.stdlib.get_logger("monitor.polling.poller")
    try:
        fail()
    except ValueError as error:
        match given_as:
            case "true":
                log.warning(logs.POLL_FAILING, exc_info=True)
            case "error":
                log.warning(logs.POLL_FAILING, exc_info=error)
            case "triple":
                log.warning(logs.POLL_FAILING, exc_info=sys.exc_info())
            case _:
                log.exception(logs.POLL_FAILING)
    assert "ValueError" in stream.getvalue()
    assert "unit/test_logs.py:" in stream.getvalue()
    assert CANARY not in stream.getvalue()
    assert "Traceback" not in stream.getvalue()


def test_no_exception_is_told_where_there_is_none(stream, log):
    log.warning(logs.POLL_FAILING, exc_info=True)  # noqa: LOG014  # the very case
    assert "exception" not in lines(stream)[0]


class Talkative:
    def __repr__(self):
        return CANARY

    __str__ = __repr__


@pytest.mark.parametrize("format_", ["json", "console"])
def test_no_planted_secret_gets_out_in_any_way(stream, format_):
    logs.configure(format_, "debug", stream)
    log = structlog.stdlib.get_logger("monitor.sinks")
    log.debug("token=%s", CANARY)
    log.debug("x", note=f"https://u:{CANARY}@h/{CANARY}?X-Amz-Signature={CANARY}")
    log.debug("x", secret=CANARY, answer={"SessionToken": CANARY}, body=CANARY.encode())
    log.debug("x", thing=Talkative(), things=[Talkative(), {"password": CANARY}])
    log.debug("x", error=ValueError(CANARY))
    log.bind(authorization=CANARY).debug("x")
    logging.getLogger("botocore.endpoint").debug("Sending %s", {"x-amz-security-token": CANARY})
    logging.getLogger("botocore").error("bad %s", {"x-amz-security-token": CANARY})
    logging.getLogger("aiohttp").error("extra", extra={"password": CANARY, "body": CANARY})
    assert stream.getvalue()
    assert CANARY not in stream.getvalue()


@given(
    event=st.text(),
    fields=st.dictionaries(
        st.text(min_size=1).filter(lambda name: name not in {"event", "exc_info"}),
        st.none() | st.integers() | st.floats() | st.text() | st.binary(),
        max_size=5,
    ),
)
def test_whatever_is_logged_is_one_valid_line(event, fields):
    stream = io.StringIO()
    logs.configure("json", "debug", stream)
    structlog.stdlib.get_logger("monitor").bind(**fields).info(event)
    assert stream.getvalue().count("\n") == 1
    assert lines(stream)[0]["level"] == "info"


def test_a_huge_value_is_cut(stream, log):
    log.info("x", text="x" * 1_000_000)
    assert len(stream.getvalue()) < 1500


def test_a_line_that_cannot_be_made_is_reported_without_its_arguments(stream, capfd):
    logs.configure("json", "info", stream)
    logging.getLogger("some.library").error("%d items", CANARY)
    assert lines(stream) == [{"level": "error", "event": "line.lost", "logger": "some.library"}]
    assert CANARY not in "".join(capfd.readouterr())


def test_a_closed_stream_stops_nothing(capfd):
    logs.configure("json", "info", Broken())
    structlog.stdlib.get_logger("monitor").info(logs.DAEMON_STARTED, note=CANARY)
    assert CANARY not in "".join(capfd.readouterr())


def test_the_console_is_coloured_only_on_a_terminal():
    for stream, coloured in ((io.StringIO(), False), (Terminal(), True)):
        logs.configure("console", "info", stream)
        structlog.stdlib.get_logger("monitor").info(logs.DAEMON_STARTED, url="http://[::1]:1")
        assert "daemon.started" in stream.getvalue()
        assert "http://[::1]:1" in stream.getvalue()
        assert ("\x1b[" in stream.getvalue()) is coloured


def test_a_value_cannot_steer_the_terminal(stream):
    logs.configure("console", "info", stream)
    structlog.stdlib.get_logger("monitor").info("x\x1b[2J", note="a\x1b]0;title\x07\r\nb")
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_lines_go_to_standard_error_unless_told_otherwise(capsys):
    logs.configure("json", "info")
    structlog.stdlib.get_logger("monitor").info(logs.DAEMON_STARTED)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert orjson.loads(captured.err)["event"] == "daemon.started"


def test_a_second_call_replaces_the_first(stream, log):
    second = io.StringIO()
    logs.configure("json", "info", second)
    log.info(logs.CONFIG_LOADED)
    assert stream.getvalue() == ""
    assert len(lines(second)) == 1


@pytest.mark.parametrize(
    "key", ["sinks.ops.header_files.Authorization", "accounts.a.external_id_file", "sinks.ops.type"]
)
def test_the_redaction_leaves_a_problem_of_a_key_that_names_a_secret_whole(key):
    line = logs.of_problem(Problem("a.yaml:7", key, "is empty", "write it"))
    assert redaction.clean_text(line) == line
    assert key in line
    assert line.endswith(": is empty (write it)")
