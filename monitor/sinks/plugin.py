"""Sinks of installed plug-ins, found by the entry-point group ``job_monitor.sinks``.

An entry point names a module, or anything else, that has ``Settings`` (a pydantic model of
what a user can set) and ``open_sink(context, settings)`` (an asynchronous context manager that
takes an ``interfaces.SinkContext`` and yields an ``interfaces.Sink``).
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from monitor import interfaces
from monitor.config import PLUGINS, PluginSink
from monitor.errors import ConfigurationError, MonitorError, Problem
from monitor.redaction import clean_text
from monitor.sinks.kind import SinkKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from monitor.sinks.kind import SinkTools


@dataclass(frozen=True, slots=True)
class PluginTarget:
    """A sink of a package, with its settings as the package's own model."""

    context: interfaces.SinkContext
    settings: BaseModel
    opener: Callable[[interfaces.SinkContext, Any], AbstractAsyncContextManager[interfaces.Sink]]


class _BadPluginError(MonitorError):
    """The package does not keep to the contract."""


def files(settings: PluginSink) -> list[str]:
    """Name the files that a plug-in's settings seem to name."""
    found: list[str] = []
    for key, value in (settings.model_extra or {}).items():
        if key.endswith(("_file", "_files")):
            values = value if isinstance(value, list) else [value]
            found.extend(name for name in values if isinstance(name, str))
    return found


def load(name: str, settings: PluginSink, _before: PluginTarget | None = None) -> PluginTarget:
    """Import the plug-in, and have its model read the settings.

    Raises:
        ConfigurationError: with every problem found.
    """
    try:
        model, opener = _parts(settings.type)
    except Exception as error:  # noqa: BLE001 -- another's code
        message = f'the plug-in "{settings.type}" cannot be used: {_words(error)}'
        remedy = "fix or replace the package that offers it"
        raise ConfigurationError([Problem("", f"sinks.{name}.type", message, remedy)]) from None
    given = settings.model_extra or {}
    found: list[Problem] = []
    if model.model_config.get("extra") != "allow":
        # Pydantic passes over misspelled keys unless the model says otherwise.
        aliases = (field.alias for field in model.model_fields.values())
        known = sorted({*model.model_fields, *filter(None, aliases)})
        for key in (key for key in given if key not in known):
            remedy = f"known: {', '.join(known)}"
            found.append(Problem("", f"sinks.{name}.{key}", "unknown key", remedy))
    try:
        own = model.model_validate(given)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False, include_context=False):
            key, *rest = map(str, detail["loc"] or ("type",))
            inside = f" (at {'.'.join(rest)})" if rest else ""
            message = clean_text(detail["msg"]) + inside
            found.append(Problem("", f"sinks.{name}.{key}", message))
    if found:
        raise ConfigurationError(list({problem.path: problem for problem in found}.values()))
    context = interfaces.SinkContext(name, settings.timeout, settings.concurrency)
    return PluginTarget(context, own, opener)


@asynccontextmanager
async def open_plugin(target: PluginTarget, _tools: SinkTools) -> AsyncIterator[interfaces.Sink]:
    """Open a plug-in's sink, and close it at the end.

    Raises:
        ConfigurationError: the plug-in raises, or its sink is not one.
    """
    async with AsyncExitStack() as stack:
        try:
            sink = await stack.enter_async_context(target.opener(target.context, target.settings))
            _check(sink)
        except Exception as error:  # noqa: BLE001 -- another's code
            message = f"the plug-in cannot open the sink: {_words(error)}"
            problem = Problem("", f"sinks.{target.context.name}.type", message)
            raise ConfigurationError([problem]) from None
        yield sink


def _parts(kind: str) -> tuple[type[BaseModel], Callable[..., Any]]:
    entries = list(metadata.entry_points(group=PLUGINS, name=kind))
    if len(entries) != 1:
        raise _BadPluginError(f"{len(entries)} packages offer it")
    offered = entries[0].load()
    model, opener = getattr(offered, "Settings", None), getattr(offered, "open_sink", None)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise _BadPluginError("its Settings are not a pydantic model")
    if not callable(opener):
        raise _BadPluginError("it has no function open_sink")
    return model, opener


def _check(sink: Any) -> None:
    size = getattr(sink, "batch_size", None)
    if not isinstance(size, int) or size < 1:
        raise _BadPluginError("the batch_size of its sink is not a number above 0")
    if not callable(getattr(sink, "send", None)):
        raise _BadPluginError("its sink has no method send")


def _words(error: Exception) -> str:
    """Name an error: only texts of our own and of imports hold no secret for sure."""
    if isinstance(error, MonitorError | ImportError | AttributeError):
        return clean_text(f"{error}")
    return type(error).__name__


# A plug-in reads its files itself, whenever it likes; a reload notices that they differ.
KIND = SinkKind(PluginSink, load, open_plugin, files, rereads=False)
