"""Notifications through Apprise to a real HTTP receiver; its URLs are secrets."""

import asyncio
import logging
import sys
import time
import traceback

import pytest

from monitor import config, sinks
from monitor.errors import SendError, SendReason
from monitor.sinks import rotation
from tests import rounds
from tests.contracts import sink_kit
from tests.contracts.sink_kit import event, receiving, replying, stalling

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # the library's own


@pytest.fixture
def notifying(tmp_path):
    def settings(port, timeout="5s", **more):
        file = tmp_path / "url"
        file.write_text(f"json://user:planted-password@127.0.0.1:{port}/planted-path\n")
        return config.AppriseSink.model_validate(
            {"type": "apprise", "url_files": [str(file)], "timeout": timeout, **more}
        )

    return settings


async def refused(sink):
    with pytest.raises(SendError) as caught:
        await sink.send([event()])
    return caught.value


async def failure(settings):
    async with sinks.open_sink("ops", settings) as sink:
        error = await refused(sink)
    told = "".join(traceback.format_exception(error)) + repr(sink) + repr(settings)
    assert "planted" not in told
    return error


async def test_a_notification_has_title_text_and_weight(notifying):
    async with (
        receiving() as receiver,
        sinks.open_sink("ops", notifying(receiver.port)) as sink,
    ):
        await sink.send([event()])
    told = receiver.requests[0].event
    assert told["title"] == "panorama.package-import job-1: PENDING → SUCCEEDED"
    assert told["message"].startswith("It ended.\nprod · us-east-1 · job.state_changed, seen 2026")
    assert told["type"] == "info"


async def test_title_and_text_can_be_given(notifying):
    more = {"title": "{{ data.severity }}\n!", "body": "{{ subject }}"}
    async with (
        receiving() as receiver,
        sinks.open_sink("ops", notifying(receiver.port, **more)) as sink,
    ):
        await sink.send([event()])
    told = receiver.requests[0].event
    assert (told["title"], told["message"]) == ("info !", "job-1")


async def test_a_refusal_is_tried_again_and_told_without_the_url(notifying, caplog, capfd):
    caplog.set_level(logging.DEBUG, "apprise")
    async with receiving(replying(500, b"planted")) as receiver:
        error = await failure(notifying(receiver.port))
    assert error.reason is SendReason.CONNECTION
    assert "planted" not in caplog.text
    assert "planted" not in "".join(capfd.readouterr())


async def test_a_stalled_receiver_is_a_timeout_and_blocks_nothing(notifying):
    async with receiving(stalling) as receiver:
        settings = notifying(receiver.port, timeout="2s")
        async with sinks.open_sink("ops", settings) as sink:
            longest: list[float] = []
            for _ in rounds.until_enough(1, lambda: min(longest) < 0.8):
                started = time.monotonic()
                attempt = asyncio.create_task(refused(sink))
                longest.append(await sink_kit.longest_gap(attempt))
                assert (await attempt).reason in {SendReason.TIMEOUT, SendReason.CONNECTION}
                assert time.monotonic() - started < 22
            assert min(longest) < 0.8, "a busy machine stops the loop too, but not each time"


async def test_redirects_are_not_followed(notifying):
    async with receiving() as other:
        place = f"Location: http://127.0.0.1:{other.port}/"
        async with receiving(replying(307, b"", place)) as receiver:
            await failure(notifying(receiver.port))
    assert not other.requests


@pytest.mark.parametrize(
    ("content", "more", "path", "message"),
    [
        ("nonsense://planted", {}, "url_files[0]", "{} holds no URL that Apprise knows"),
        ("json://a json://planted", {}, "url_files[0]", "{} holds no URL that Apprise knows"),
        ("", {}, "url_files[0]", "{} is empty"),
        ("json://h", {"title": "{{ nope }}"}, "title", "line 1: 'nope' is undefined"),
        ("json://h", {"body": "a\n{{ data.job.id }}"}, "body", "line 2: 'dict object' has no"),
    ],
)
def test_what_is_wrong_is_told_without_the_url(content, more, path, message, tmp_path):
    (tmp_path / "url").write_text(content)
    settings = config.AppriseSink(type="apprise", url_files=[str(tmp_path / "url")], **more)
    (problem,) = sinks.problems("ops", settings)
    assert problem.path == f"sinks.ops.{path}"
    assert problem.message.startswith(message.format(tmp_path / "url"))
    assert "planted" not in str(problem)


def test_without_the_library_it_is_said_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)
    (tmp_path / "url").write_text("json://h")
    settings = config.AppriseSink(type="apprise", url_files=[str(tmp_path / "url")])
    (problem,) = sinks.problems("ops", settings)
    assert str(problem) == (
        "sinks.ops.type: needs the package apprise "
        "(install it with: pip install 'aws-job-monitor[apprise]')"
    )


async def test_a_url_that_changes_is_used_for_the_next_notification(
    notifying, tmp_path, monkeypatch
):
    monkeypatch.setattr(rotation, "PATIENCE", 60.0)
    async with (
        receiving() as old,
        receiving() as new,
        sinks.open_sink("ops", notifying(old.port)) as sink,
    ):
        await sink.send([event()])
        (tmp_path / "url").write_text("")  # half written
        await sink.send([event()])
        (tmp_path / "url").write_text(f"json://127.0.0.1:{new.port}/planted-path")
        await sink.send([event()])
    assert (len(old.requests), len(new.requests)) == (2, 1)
