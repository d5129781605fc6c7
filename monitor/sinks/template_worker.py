"""The process that renders templates: run as a file, imports nothing of the monitor.

A template is a program, and inside a process nothing bounds the time and memory that one
takes. So it runs here, alone, sandboxed, with limits that the operating system keeps.

Standard input and output carry lines of JSON. The first line in is ``{"name", "source",
"format"}`` with a format of json, html or text; each further one holds the values for one
rendering. The answer to each is ``{"text"}``, or ``{"message", "line"}`` where something went
wrong. A rendering that takes too long ends the process.
"""

from __future__ import annotations

import hashlib
import json
import re
import resource
import signal
import sys
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from jinja2 import (
    StrictUndefined,
    Template,
    TemplateError,
    TemplateSyntaxError,
    Undefined,
    UndefinedError,
    nodes,
)
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 2.0
MEMORY = 512 * 1024 * 1024
LARGEST = 256 * 1024
"""Bytes of one rendering."""

_UNSAFE = ("safe", "e", "escape", "forceescape", "urlize", "xmlattr")
"""Filters whose result counts as escaped, for HTML, which does not make it safe in JSON."""
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~])")


class _Generator(CodeGenerator):
    """Leaves constants to be escaped like all values: Jinja itself would escape them for HTML."""

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: Any) -> str:
        if isinstance(node, nodes.TemplateData):
            return super()._output_child_to_const(node, frame, finalize)
        raise nodes.Impossible


class _TooLargeError(Exception):
    """The rendering is larger than anything should be that is sent."""


def environment(form: str) -> ImmutableSandboxedEnvironment:
    """Return what templates of one format may use, and how their values are escaped."""
    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=form != "text",
        finalize=_in_json if form == "json" else None,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.code_generator_class = _Generator
    made.filters |= {
        "tojson": _tojson,
        "slack": lambda value, longest=None: _escaped(
            value, lambda sign: _ENTITIES.get(sign, sign), longest
        ),
        "markdown": lambda value, longest=None: _escaped(
            value, lambda sign: _MARKDOWN.sub(r"\\\1", sign), longest
        ),
        "sha256": lambda value: hashlib.sha256(str(value).encode()).hexdigest(),
    }
    # It makes up text of any length.
    made.globals.pop("lipsum")
    if form == "json":
        for name in _UNSAFE:
            del made.filters[name]
    return made


def _escaped(value: Any, escape: Callable[[str], str], longest: int | None) -> str:
    """Escape a text; of one that is too long keep the start, without half of an escaped sign.

    Signs beyond the first 65536 of Unicode count twice, as in the receivers that count in UTF-16.
    """
    if longest is None:
        return "".join(map(escape, str(value)))
    kept, size = [], 0
    # Neither escaping nor counting makes a sign shorter, so nothing beyond this can be kept.
    for sign in map(escape, str(value)[: longest + 1]):
        size += len(sign) + (sign > "\uffff")
        kept.append((sign, size))
    if size <= longest:
        return "".join(sign for sign, _ in kept)
    return "".join(sign for sign, end in kept if end < longest) + "…"


def _tojson(value: Any) -> Markup:
    return Markup(json.dumps(value, ensure_ascii=False))  # noqa: S704 -- JSON needs no escaping


def _in_json(value: Any) -> Any:
    """Write a text as the inside of a JSON string, and any other value as JSON."""
    if isinstance(value, Markup | Undefined):
        return value
    text = _tojson(value)
    return text[1:-1] if isinstance(value, str) else text


def render(template: Template, values: dict[str, Any], form: str) -> str:
    """Render within the limits of size; JSON must come out as such."""
    parts, size = [], 0
    for part in template.generate(values):
        # Counted part by part: the whole of a too large text is never in memory.
        size += len(part.encode(errors="surrogatepass"))
        if size > LARGEST:
            raise _TooLargeError
        parts.append(part)
    text = "".join(parts)
    if form == "json":
        json.loads(text)  # a receiver would only say 400
    return text


def describe(error: Exception, name: str) -> dict[str, Any]:
    """Return message and line of an error, without what the values hold."""
    match error:
        case TemplateSyntaxError():
            return {"message": error.message or "is not a template", "line": error.lineno}
        case json.JSONDecodeError():
            where = f"line {error.lineno}, column {error.colno} of what is rendered"
            return {"message": f"renders no JSON: {error.msg} in {where}", "line": 0}
        case _TooLargeError():
            message = f"renders more than {LARGEST // 1024} KiB"
        case MemoryError():
            message = "needs too much memory"
        case UndefinedError() | SecurityError() | TemplateError():
            message = str(error.message or type(error).__name__)
        case _:
            message = f"fails with {type(error).__name__}"
    frames = traceback.extract_tb(error.__traceback__)
    line = next((frame.lineno for frame in reversed(frames) if frame.filename == name), 0)
    return {"message": message, "line": line}


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Compile one template and render it until there is nothing more to read."""
    order = json.loads(source.readline())
    name, form = order["name"], order["format"]
    made = environment(form)
    compiled: list[Template] = []

    def prepare() -> str:
        code = made.compile(order["source"], filename=name)
        compiled.append(Template.from_code(made, code, dict(made.globals)))
        return ""

    def answer(work: Callable[[], str]) -> None:
        # The alarm has no handler, so it ends the process: not even a loop in C outlives it.
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            content: dict[str, Any] = {"text": work()}
        except Exception as error:  # noqa: BLE001 -- whatever a template may do
            content = describe(error, name)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        target.write(json.dumps(content).encode() + b"\n")
        target.flush()

    answer(prepare)
    for line in source if compiled else ():
        answer(partial(render, compiled[0], json.loads(line), form))


if __name__ == "__main__":
    # For all that follows, compiling included: a template may be built to explode there.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Ctrl-C reaches the whole group; the daemon still wants what is being rendered.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(sys.stdin.buffer, sys.stdout.buffer)
