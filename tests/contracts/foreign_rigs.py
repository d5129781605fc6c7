"""Sinks that others' code makes: the library Apprise and the example of a plug-in."""

import json
import os
import shutil
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from monitor import config, sinks
from monitor.sinks.format import title
from tests.contracts.sink_kit import (
    PLANTED,
    Outcome,
    Rig,
    answers,
    event,
    receiving,
    replying,
    stalling,
    warm_up,
)

EXAMPLE = Path(__file__).parents[1] / "plugins" / "example_sink"
DEADLINE = 2.5
STATUSES = dict.fromkeys((307, 400, 401, 404, 410, 429, 500, 503), Outcome.RETRY)
"""Apprise says yes or no and not why, so whatever it is told is tried again: nothing is dead
at once, and nothing parks."""


@asynccontextmanager
async def apprise_rig(tmp_path):
    """Notifies an HTTP receiver, which is told no id: it cannot know a repeat."""

    async def take(writer, request):
        taken.append({name: request.event[name] for name in ("title", "message")})
        await replying()(writer, request)

    async def echo(writer, request):
        await replying(503, f"{request.line}\n{request.headers}".encode())(writer, request)

    def form(made):
        return {"title": title(made), "message": f"{made['subject']} {made['data']['sequence']}"}

    taken: list[dict[str, Any]] = []
    async with receiving(take) as receiver:
        url = f"json://{PLANTED[2]}:{PLANTED[3]}@127.0.0.1:{receiver.port}/{PLANTED[0]}"
        (tmp_path / "url").write_text(f"{url}?+X-Key={PLANTED[1]}\n")
        settings = config.AppriseSink.model_validate(
            {
                "type": "apprise",
                "url_files": [str(tmp_path / "url")],
                "timeout": f"{DEADLINE}s",
                "body": "{{ subject }} {{ data.sequence }}",
            }
        )
        async with sinks.open_sink("rig", settings) as sink:
            await warm_up(sink, lambda: taken)
            yield Rig(
                sink,
                lambda: taken,
                lambda: setattr(receiver, "answer", stalling),
                lambda: setattr(receiver, "answer", take),
                lambda: setattr(receiver, "answer", echo),
                DEADLINE,
                answers(receiver, STATUSES),
                form=form,
                key=None,
            )


def install(directory, monkeypatch):
    """Let the example be found by its entry point, as the installed package would be."""
    info = directory / "example_sink-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example-sink\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[job_monitor.sinks]\ndirectory = example_sink\n")
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.syspath_prepend(directory)
    monkeypatch.delitem(sys.modules, "example_sink", raising=False)


@pytest.fixture
def example_plugin(tmp_path, monkeypatch):
    """The example of a plug-in, as good as installed."""
    (tmp_path / "site").mkdir()
    install(tmp_path / "site", monkeypatch)
    yield
    sys.modules.pop("example_sink", None)


@asynccontextmanager
async def directory_rig(tmp_path):
    """Each event is a file named after its id, so that a repeat takes the place of the first."""
    place = tmp_path / "told" / "rig"
    pipes = [place / f"{event(sequence=number)['id']}.json" for number in (1, 2)]
    order: dict[str, Any] = {}

    def taken():
        for file in place.iterdir():
            order.setdefault(file.name, json.loads(file.read_text()))
        return list(order.values())

    def stall():
        for pipe in pipes:
            os.mkfifo(pipe)

    def resume():
        for pipe in pipes:
            if pipe.is_fifo():
                release_writers(pipe)
                pipe.unlink()

    def refuse():
        shutil.rmtree(place)
        place.write_text("no directory")

    told = {"type": "directory", "path": str(tmp_path / "told"), "token": PLANTED[0]}
    told["timeout"] = f"{DEADLINE}s"
    settings: config.Sink = TypeAdapter(config.Sink).validate_python(told)
    assert isinstance(settings, config.PluginSink)
    async with sinks.open_sink("rig", settings) as sink:
        yield Rig(
            sink,
            taken,
            stall,
            resume,
            refuse,
            DEADLINE,
            {"no directory": (refuse, Outcome.RETRY)},
            keeps_repeats=False,
        )
        if place.is_dir():
            resume()


def release_writers(pipe):
    """Read to the end what the threads that wait for a reader of ``pipe`` write."""
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(BlockingIOError):
            if not os.read(reader, 65536):
                break
        time.sleep(0.005)
    os.close(reader)
