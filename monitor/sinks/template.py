"""Templates: an event → what a receiver of its own form wants.

Rendering happens in a process of its own (``template_worker.py``), one for each sink, which is
started when there is something to render and started again when it was lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitor import example_events
from monitor.config import named_files
from monitor.errors import SendError, SendReason
from monitor.redaction import HIDDEN
from monitor.sinks.format import title

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LARGEST = 64 * 1024
"""Bytes of a template."""
READY = Path(__file__).parent / "templates"
"""Where the templates lie that come with the program: ``NAME.j2``."""

_COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("template_worker.py")))
_LONGEST_LINE = 2 * 1024 * 1024
"""Bytes of one answer: JSON writes a character of the largest rendering in at most 6."""
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
class TemplateSource:
    """The text of a template; ``form`` is json, html or text, and decides the escaping."""

    name: str
    text: str = field(repr=False)
    form: str

    def order(self) -> bytes:
        """Return the first line for the process."""
        return _line({"name": self.name, "source": self.text, "format": self.form})


def read(name: str, content_type: str) -> TemplateSource:
    """Read a ready template by its name, or one of the user's by its path.

    The type of the bodies decides their escaping.

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
    kind = content_type.partition(";")[0].strip().lower()
    if kind.endswith(("/json", "+json")):
        return TemplateSource(name, text, "json")
    return TemplateSource(
        name, text, "html" if kind.endswith(("/html", "/xml", "+xml")) else "text"
    )


def ready() -> Sequence[str]:
    """Return the names of the templates that come with the program."""
    return sorted(path.stem for path in READY.glob("*.j2"))


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
        "account_id": data.get("account_id"),
        "links": {"job": None, "console": None} | data.get("links", {}),
        "secrets": secrets,
    }


def attempt(
    source: TemplateSource, events: Iterable[Mapping[str, Any]], secrets: Mapping[str, str]
) -> list[str]:
    """Render every event, in a process of its own; blocks until that has ended.

    Raises:
        TemplateError: the first thing that went wrong.
    """
    lines = [source.order(), *(_line(values(event, secrets)) for event in events)]
    try:
        # A process for one use: this runs in threads, and before there is an event loop.
        done = subprocess.run(  # noqa: S603 -- ourselves
            _COMMAND,
            input=b"".join(lines),
            capture_output=True,
            check=False,
            timeout=_PATIENCE,
            env=_environment(),
        )
    except (OSError, subprocess.TimeoutExpired):
        raise TemplateError("could not be tried") from None
    answers = done.stdout.splitlines(keepends=True)
    try:
        # A process that was killed leaves fewer answers, or half of the last one.
        texts = [_text(answer) for answer in [*answers, *[b""] * (len(lines) - len(answers))]]
    except EOFError:
        raise TemplateError(_LOST) from None
    return texts[1:]


def try_out(source: TemplateSource, secrets: Iterable[str]) -> None:
    """Render an example of each kind.

    Raises:
        TemplateError: one of them failed.
    """
    attempt(source, example_events.trials(), dict.fromkeys(secrets, "secret"))


class Renderer:
    """Renders one template in a process that is kept; one event at a time."""

    def __init__(self, source: TemplateSource, secrets: Mapping[str, str]) -> None:
        """``secrets`` are what the template may put into its output."""
        self._source = source
        self._secrets = secrets
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    async def render(self, event: Mapping[str, Any]) -> str:
        """Return the text for ``event``.

        Raises:
            SendError: it failed; to be retried, as a template can be fixed.
        """
        try:
            async with self._lock:  # answers come in the order of the questions
                return await self._exchange(_line(values(event, self._secrets)))
        except TemplateError as error:
            place = f"{self._source.name}:{error.line}" if error.line else self._source.name
            message = f"the template {place} {error.message}"
            for secret in self._secrets.values():
                message = message.replace(secret, HIDDEN)
        except (OSError, EOFError, ValueError):  # the last for a line that is cut, or too long
            message = f"the template {self._source.name} {_LOST}"
        raise SendError(SendReason.INTERNAL, message)

    async def aclose(self) -> None:
        """End the process."""
        if process := self._process:
            # First: a later rendering must not meet a process that is being killed.
            self._process = None
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            # asyncio keeps the pipe to a dead process open; nothing public closes it.
            process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001

    async def _exchange(self, line: bytes) -> str:
        """Render one line of values; start the process where there is none."""
        try:
            if self._process is None:
                pipe = asyncio.subprocess.PIPE
                self._process = await asyncio.create_subprocess_exec(
                    *_COMMAND, stdin=pipe, stdout=pipe, env=_environment(), limit=_LONGEST_LINE
                )
                await _answer(self._process, self._source.order())
            return await _answer(self._process, line)
        except TemplateError:
            raise
        except BaseException:
            # Its answer may still come, and would pass for that to the next question.
            await asyncio.shield(self.aclose())
            raise


async def _answer(process: asyncio.subprocess.Process, line: bytes) -> str:
    assert process.stdin is not None  # noqa: S101 -- both are pipes
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(line)
    await process.stdin.drain()
    return _text(await process.stdout.readline())


def _text(answer: bytes) -> str:
    """Return what was rendered; an answer that is not whole means that the process is lost."""
    if not answer.endswith(b"\n"):
        raise EOFError
    content = json.loads(answer)
    if "text" not in content:
        raise TemplateError(content["message"], content["line"])
    return str(content["text"])


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, default=dict).encode() + b"\n"


def _environment() -> dict[str, str]:
    """Return what Python needs to start, and no credentials: a template must not reach them."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("PYTHON", "LD_")) or name in {"PATH", "VIRTUAL_ENV", "LANG"}
    }
