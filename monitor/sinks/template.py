"""Templates: an event → what a receiver of its own form wants.

Rendering happens in a process of its own (``template_worker.py``), one for each sink, which is
started when there is something to render and started anew when it was lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitor import example_events as examples
from monitor.config import named_files
from monitor.errors import SendError, SendReason
from monitor.sinks.format import title

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LARGEST = 64 * 1024
"""Bytes of a template."""
READY = Path(__file__).parent / "templates"
"""Where the templates lie that come with the program: ``NAME.j2``."""

_WORKER = str(Path(__file__).parent / "template_worker.py")
_LENGTH = struct.Struct("!I")
_PATIENCE = 20.0
"""Seconds for the process to start and to try a template with all examples."""
_LOST = "takes too long or too much memory"


class TemplateError(Exception):
    """A template cannot be read, or did not render; the text holds nothing of the values."""

    def __init__(self, message: str, line: int = 0) -> None:
        """``line`` counts from 1; 0 where it is not known."""
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a template; ``form`` is json, html or text, and decides the escaping."""

    name: str
    text: str = field(repr=False)
    form: str

    def order(self) -> bytes:
        """Return the first frame for the process."""
        return _frame({"name": self.name, "source": self.text, "format": self.form})


def read(name: str, content_type: str) -> Source:
    """Read a ready template by its name, or one of the user's by its path.

    Raises:
        TemplateError: there is none, or it is too long.
    """
    path = READY / f"{name}.j2" if name in ready() else Path(name)
    try:
        data = named_files.read(path, LARGEST + 1)
        text = data.decode()
    except (FileNotFoundError, named_files.NotRegularError):
        raise TemplateError(f"is not a file, and none of {', '.join(ready())}") from None
    except OSError as error:
        raise TemplateError(f"cannot be read: {named_files.reason(error)}") from None
    except UnicodeDecodeError:
        raise TemplateError("is not text in UTF-8") from None
    except ValueError:
        raise TemplateError("is not a path") from None
    if len(data) > LARGEST:
        raise TemplateError(f"is longer than {LARGEST // 1024} KiB")
    return Source(name, text, form_of(content_type))


def ready() -> Sequence[str]:
    """Return the names of the templates that come with the program."""
    return sorted(path.stem for path in READY.glob("*.j2"))


def form_of(content_type: str) -> str:
    """Return how values are escaped in bodies of this type."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind.endswith(("/json", "+json")):
        return "json"
    return "html" if kind.endswith(("/html", "/xml", "+xml")) else "text"


def values(event: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
    """Return what a template can use: the event's own keys, and what is often wanted of it."""
    data = event["data"]
    subject = data.get("job") or data["source"]
    return {
        **event,
        "event": event,
        "title": title(event),
        "key": subject["key"],
        "account": subject["account"],
        "region": subject["region"],
        "secrets": secrets,
    }


def attempt(
    source: Source, events: Iterable[Mapping[str, Any]], secrets: Mapping[str, str]
) -> list[str]:
    """Render every event, in a process of its own; blocks until that has ended.

    Raises:
        TemplateError: the first thing that went wrong.
    """
    frames = [source.order(), *(_frame(values(event, secrets)) for event in events)]
    try:
        done = subprocess.run(  # noqa: S603 -- ourselves
            _command(),
            input=b"".join(frames),
            capture_output=True,
            check=False,
            timeout=_PATIENCE,
            env=_environment(),
        )
    except (OSError, subprocess.TimeoutExpired):
        raise TemplateError("could not be tried") from None
    texts = [_text(answer) for answer in _answers(done.stdout)]
    if len(texts) < len(frames):
        raise TemplateError(_LOST)
    return texts[1:]


def try_out(source: Source, secrets: Iterable[str]) -> None:
    """Render an example of each kind.

    Raises:
        TemplateError: one of them failed.
    """
    attempt(source, examples.trials(), dict.fromkeys(secrets, "secret"))


class Renderer:
    """Renders one template in a process that is kept; one event at a time."""

    def __init__(self, source: Source, secrets: Mapping[str, str]) -> None:
        """``secrets`` are what the template may put into its output."""
        self._source = source
        self._secrets = secrets
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    async def render(self, event: Mapping[str, Any]) -> str:
        """Return the text for ``event``.

        Raises:
            SendError: it failed; to be tried again, as a template can be mended.
        """
        try:
            async with self._turn:
                return await self._ask(_frame(values(event, self._secrets)))
        except TemplateError as error:
            place = f"{self._source.name}:{error.line}" if error.line else self._source.name
            message = f"the template {place} {_hidden(error.message, self._secrets.values())}"
        except (OSError, EOFError):
            message = f"the template {self._source.name} {_LOST}"
        raise SendError(SendReason.INTERNAL, message)

    async def aclose(self) -> None:
        """End the process."""
        if process := self._process:
            self._process = None
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            # asyncio keeps the pipe to a dead process until it is told.
            process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001

    async def _ask(self, frame: bytes) -> str:
        """Exchange one frame; a process that did not answer is not asked a second time."""
        try:
            process = self._process or await self._start()
            return await _exchange(process, frame)
        except TemplateError:
            raise
        except BaseException:
            await asyncio.shield(self.aclose())
            raise

    async def _start(self) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *_command(), stdin=pipe, stdout=pipe, env=_environment()
        )
        await _exchange(self._process, self._source.order())
        return self._process


async def _exchange(process: asyncio.subprocess.Process, frame: bytes) -> str:
    assert process.stdin is not None  # noqa: S101 -- it was asked for
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(frame)
    await process.stdin.drain()
    (length,) = _LENGTH.unpack(await process.stdout.readexactly(_LENGTH.size))
    return _text(json.loads(await process.stdout.readexactly(length)))


def _text(answer: Mapping[str, Any]) -> str:
    if "text" not in answer:
        raise TemplateError(answer["message"], answer["line"])
    return str(answer["text"])


def _answers(data: bytes) -> Iterable[Mapping[str, Any]]:
    while data:
        (length,) = _LENGTH.unpack_from(data)
        yield json.loads(data[_LENGTH.size : _LENGTH.size + length])
        data = data[_LENGTH.size + length :]


def _frame(content: Mapping[str, Any]) -> bytes:
    data = json.dumps(content, default=dict).encode()
    return _LENGTH.pack(len(data)) + data


def _hidden(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _command() -> list[str]:
    return [sys.executable, "-P", _WORKER]


def _environment() -> dict[str, str]:
    """Only what Python needs to start; credentials are no concern of a template."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("PYTHON", "LD_")) or name in {"PATH", "VIRTUAL_ENV", "LANG"}
    }
