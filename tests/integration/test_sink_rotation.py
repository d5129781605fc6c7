"""Files of a sink that are replaced while it runs: nothing dies of it, and no signal is needed."""

import asyncio
import base64
import os
import time

import anyio
import pytest
from standardwebhooks import Webhook as Verifier
from structlog.testing import capture_logs

from monitor import errors, sinks
from monitor.errors import SendError, SendReason
from monitor.sinks import rotation
from monitor.sinks.rotation import Rotating
from tests.contracts.sink_kit import SEEN, event, receiving, replying, webhook

KEYS = [f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in range(2)]


def guarded(wanted, status=401):
    """Answer as one who takes the token that ``wanted()`` tells, and no other."""

    async def answer(writer, request):
        known = request.headers.get("authorization") == wanted()
        await replying(200 if known else status)(writer, request)

    return answer


async def send(sink):
    """Send once; return the error, if any."""
    try:
        with anyio.fail_after(60):
            await sink.send([event()])
    except SendError as error:
        return error
    return None


def tokens(receiver):
    return [request.headers.get("authorization") for request in receiver.requests]


def in_place(path, text):
    path.write_text(text)


def by_rename(path, text):
    new = path.with_name("new")
    new.write_text(text)
    new.replace(path)


def as_kubernetes_does(path, text):
    """Swap the link above the files: the path itself is never touched."""
    folder = path.parent / f"..{time.monotonic_ns()}"
    folder.mkdir()
    (folder / path.name).write_text(text)
    link = path.parent / "..tmp"
    link.symlink_to(folder.name)
    link.replace(path.parent / "..data")


def keeping_times(path, text):
    """Write as many bytes at the very same time: only the content tells."""
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def token(tmp_path):
    as_kubernetes_does(tmp_path / "token", "Bearer one\n")
    (tmp_path / "token").symlink_to("..data/token")
    return tmp_path / "token"


@pytest.mark.parametrize("replace", [by_rename, in_place, as_kubernetes_does, keeping_times])
async def test_a_changed_token_is_taken_before_the_next_attempt(token, replace):
    async with receiving(guarded(lambda: "Bearer two")) as receiver:
        settings = webhook(receiver.url, header_files={"Authorization": str(token)})
        async with sinks.open_sink("ops", settings) as sink:
            replace(token, "Bearer two\n")
            assert await send(sink) is None
    assert tokens(receiver) == ["Bearer two"]


async def test_a_url_in_a_file_is_rotated(tmp_path):
    file = tmp_path / "url"
    async with receiving(replying(200)) as receiver:
        settings = webhook(None, url_file=str(file))
        file.write_text(f"{receiver.url}?planted=1\n")
        async with sinks.open_sink("ops", settings) as sink:
            assert await send(sink) is None
            by_rename(file, f"{receiver.url}?planted=2\n")
            assert await send(sink) is None
            file.unlink()
            assert await send(sink) is None
    assert [one.line.split("=")[1][0] for one in receiver.requests] == ["1", "2", "2"]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_that_changes_during_an_attempt_is_sent_at_once(token, status):
    async def answer(writer, request):
        by_rename(token, "Bearer two")
        await guarded(lambda: "Bearer two", status)(writer, request)

    async with receiving(answer) as receiver:
        settings = webhook(receiver.url, header_files={"Authorization": str(token)})
        async with sinks.open_sink("ops", settings) as sink:
            assert await send(sink) is None
            assert await send(sink) is None
    assert tokens(receiver) == ["Bearer one", "Bearer two", "Bearer two"]


async def test_a_denial_with_the_right_file_is_told_once_and_may_be_tried_again(token):
    async with receiving(guarded(lambda: "Bearer two")) as receiver:
        settings = webhook(receiver.url, header_files={"Authorization": str(token)})
        async with sinks.open_sink("ops", settings) as sink:
            error = await send(sink)
            assert error
            assert error.reason is SendReason.DENIED
            assert error.reason.retryable
            assert len(receiver.requests) == 1
            in_place(token, "Bearer two")
            assert await send(sink) is None


async def test_a_denial_of_a_webhook_without_files_may_be_tried_again_too():
    async with (
        receiving(replying(403)) as receiver,
        sinks.open_sink("ops", webhook(receiver.url)) as sink,
    ):
        error = await send(sink)
    assert error
    assert error.reason is SendReason.DENIED
    assert len(receiver.requests) == 1


def become_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text(""),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"Bearer \xff\xfe"),
        lambda path: path.write_text("Bearer o\x00ne"),
        lambda path: (path.unlink(), path.mkdir()),
        become_a_pipe,
        lambda path: (path.unlink(), path.symlink_to(path.name)),
    ],
    ids=["empty", "gone", "binary", "null byte", "directory", "pipe", "link to itself"],
)
async def test_what_cannot_be_used_leaves_the_last_good_in_use(tmp_path, spoil):
    token = tmp_path / "token"
    token.write_text("Bearer one")
    with capture_logs() as logged:
        await _go_on(token, spoil)
    said = [line["event"] for line in logged]
    assert (said.count("sink_files.refused"), said.count("sink_files.reloaded")) == (1, 1)


async def _go_on(token, spoil):
    """Send with files that are spoiled, and then mended."""
    async with receiving(guarded(lambda: "Bearer one")) as receiver:
        settings = webhook(receiver.url, header_files={"Authorization": str(token)})
        async with sinks.open_sink("ops", settings) as sink:
            spoil(token)
            assert [await send(sink) for _ in range(3)] == [None] * 3
            if token.is_dir():
                token.rmdir()
            token.unlink(missing_ok=True)
            token.write_text("Bearer one")
            assert await send(sink) is None
    assert tokens(receiver) == ["Bearer one"] * 4


async def test_signing_secrets_are_rotated(tmp_path):
    (tmp_path / "key").write_text(KEYS[0])
    async with receiving() as receiver:
        settings = webhook(receiver.url, secret_files=[str(tmp_path / "key")])
        async with sinks.open_sink("ops", settings, lambda: SEEN) as sink:
            assert await send(sink) is None
            (tmp_path / "key").write_text(KEYS[1][:20])  # half written
            assert await send(sink) is None
            (tmp_path / "key").write_text(KEYS[1])
            assert await send(sink) is None
    signed = [request.headers["webhook-signature"] for request in receiver.requests]
    assert signed[0] == signed[1] != signed[2]
    assert (
        Verifier(KEYS[1]).sign(event()["id"], SEEN, receiver.requests[2].body.decode())
        == (signed[2])
    )


async def test_a_template_and_its_secrets_are_read_again(tmp_path):
    (tmp_path / "t.j2").write_text('{"key": "{{ secrets.key }}"}')
    (tmp_path / "key").write_text("one-planted")
    async with receiving() as receiver:
        settings = webhook(
            receiver.url,
            template=str(tmp_path / "t.j2"),
            template_secrets={"key": str(tmp_path / "key")},
            timeout="30s",
        )
        async with sinks.open_sink("ops", settings) as sink:
            (tmp_path / "key").write_text("two-planted")
            assert await send(sink) is None
            (tmp_path / "t.j2").write_text('{"key": {{ nope }}}')
            assert await send(sink) is None
    assert [request.event for request in receiver.requests] == [{"key": "two-planted"}] * 2


async def test_files_that_never_answer_delay_one_attempt_and_no_more(token, monkeypatch):
    monkeypatch.setattr(rotation, "PATIENCE", 2.0)
    hung = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with receiving(guarded(lambda: "Bearer one")) as receiver:
        settings = webhook(receiver.url, header_files={"Authorization": str(token)})
        async with sinks.open_sink("ops", settings) as sink:
            assert isinstance(sink, Rotating)

            def hang(**_):
                asyncio.run_coroutine_threadsafe(hung.wait(), loop).result(60)

            monkeypatch.setattr(sink, "_read", hang)
            started = time.monotonic()
            assert [await send(sink) for _ in range(5)] == [None] * 5
            assert time.monotonic() - started < 3 * 2.0  # of five attempts, one
            monkeypatch.undo()
            hung.set()
            in_place(token, "Bearer two")
            receiver.answer = guarded(lambda: "Bearer two")
            assert await send(sink) is None
    assert tokens(receiver)[5:] in (["Bearer two"], ["Bearer one", "Bearer two"])


async def test_attempts_under_way_end_with_what_they_began_with(token):
    arrived, go = asyncio.Event(), asyncio.Event()

    async def answer(writer, request):
        if request.headers["authorization"] == "Bearer one":
            arrived.set()
            await go.wait()
        await replying()(writer, request)

    async with receiving(answer) as receiver:
        settings = webhook(receiver.url, header_files={"Authorization": str(token)})
        async with sinks.open_sink("ops", settings) as sink, anyio.create_task_group() as tasks:
            tasks.start_soon(sink.send, [event()])
            await arrived.wait()
            by_rename(token, "Bearer two")
            assert await send(sink) is None
            go.set()
    assert tokens(receiver) == ["Bearer one", "Bearer two"]


async def test_a_denial_told_in_a_reply_of_200_reads_the_files_too(token):
    async def answer(writer, request):
        known = request.headers["authorization"] == "Bearer two"
        by_rename(token, "Bearer two")
        text = b'{"ok":true}' if known else b'{"ok":false,"error":"token_expired"}'
        await replying(200, text)(writer, request)

    async with receiving(answer) as receiver:
        settings = webhook(
            receiver.url, header_files={"Authorization": str(token)}, success="json.ok"
        )
        async with sinks.open_sink("ops", settings) as sink:
            assert await send(sink) is None
    assert tokens(receiver) == ["Bearer one", "Bearer two"]


async def test_a_configuration_that_cannot_be_opened_is_refused_as_before(tmp_path):
    settings = webhook("https://h/x", secret_files=[str(tmp_path / "none")])
    with pytest.raises(errors.ConfigurationError, match="does not name an existing file"):
        async with sinks.open_sink("ops", settings):
            pass
