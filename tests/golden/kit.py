"""What the producers of messages share: log lines, commands and pages as plain text."""

import html
import os
import re
from contextlib import contextmanager

import anyio
import looptime
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from monitor import redaction
from monitor.cli import main
from monitor.errors import MonitorError


def in_virtual_time(function, *values):
    """Run an async function whose sleeps take no time."""
    options = {"loop_factory": looptime.new_event_loop}
    return anyio.run(function, *values, backend_options=options)


@contextmanager
def logged():
    """Yield a function that returns the lines of these events, written for reading."""
    with capture_logs() as lines:
        yield lambda *events: [_line(each) for each in lines if each["event"] in events]


def _line(entry):
    values = redaction.clean_fields(entry)
    level, event = values.pop("log_level"), values.pop("event")
    said = " ".join(f"{name}={_value(value)}" for name, value in values.items())
    return f"log: {level}: {event} {said}"


def _value(value):
    return f'"{value}"' if isinstance(value, str) and " " in value else value


def command(*arguments):
    """Return what a command prints, and its exit code if it is not 0."""
    found = CliRunner().invoke(main.app, list(map(str, arguments)), standalone_mode=False)
    lines = [" ".join(line.split()) for line in found.output.splitlines()]
    if isinstance(found.exception, MonitorError):
        return [
            *lines,
            *(f"error: {line}" for line in getattr(found.exception, "problems", [found.exception])),
        ]
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return [line for line in lines if line]


@contextmanager
def no_aws(directory, **variables):
    """Nothing of this machine's AWS configuration counts."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("AWS_", "JOB_MONITOR_"))]:
            patch.delenv(name)
        patch.setenv("HOME", str(directory))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", str(directory / "config"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(directory / "credentials"))
        for name, value in variables.items():
            patch.setenv(name, value)
        yield patch


def texts(page, pattern):
    """Return the text of each part of a page that fits a pattern, without its tags."""
    parts = re.findall(pattern, page, re.DOTALL)
    assert parts, pattern
    return [plain(part) for part in parts]


def plain(markup):
    """Return the words of a part of a page."""
    words = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup.replace("<wbr>", ""))).split())
    return re.sub(r" ([,;:).])|(\() ", r"\1\2", words)
