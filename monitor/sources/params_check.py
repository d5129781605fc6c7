"""The parameters of a request in a declaration, checked against the model of the operation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from botocore.model import ListShape, MapShape, Shape, StructureShape
from botocore.validate import ParamValidator

from monitor.sources.jmespath_check import suggestion
from monitor.sources.job_type import Number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ANY = "{any}"
"""A value that is not known before the request."""

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_NUMBERS = frozenset({"integer", "long"})
_SAMPLES = {"since": "2026-01-01T00:00:00Z", "since_ms": "1767225600000"}
_SAMPLE = "0123456789" * 32
"""Longer than the shortest text that any model asks for."""

Slot = tuple[str | int, ...]
"""The place of a list within parameters."""


def placeholders(params: Any) -> list[str]:
    """Return the names in braces, in order."""
    return list(dict.fromkeys(_PLACEHOLDER.findall(str(params))))


def ready(
    shape: StructureShape | None, params: Mapping[str, Any]
) -> tuple[Mapping[str, Any], list[tuple[str, str]]]:
    """Return parameters ready to be filled, and each problem with its remedy.

    A placeholder where the model has a number becomes a ``Number``.
    """
    members = shape.members if shape else {}
    problems = [
        (f'"{name}" is not declared', suggestion(name, members))
        for name in params
        if name not in members
    ]
    required = shape.required_members if shape else ()
    problems += [(f'"{name}" is required', "") for name in required if name not in params]
    made = {
        name: _made(members[name], value, name, problems) if name in members else value
        for name, value in params.items()
    }
    if not problems and shape is not None:
        try:
            found = ParamValidator().validate(_sample(made), shape)
        except (RuntimeError, ValueError, OverflowError):
            # The SDK gives up at a time that no calendar has, such as milliseconds for seconds.
            return made, [("a time cannot be read", 'write "{since}", or a time in ISO 8601')]
        # Not its report, which is one text and repeats the values.
        problems += [_explained(*error) for error in found._errors]  # noqa: SLF001
    return made, problems


def slots(params: Any, above: Slot = ()) -> list[Slot]:
    """Return the places of the lists of one text that takes an id."""
    if isinstance(params, list):
        lone = len(params) == 1 and isinstance(params[0], str | Number)
        if lone and _PLACEHOLDER.search(str(params[0])):
            return [above]
        inner: Iterator[tuple[str | int, Any]] = iter(enumerate(params))
    elif isinstance(params, dict):
        inner = iter(params.items())
    else:
        return []
    return [found for key, value in inner for found in slots(value, (*above, key))]


def longest(shape: Shape | None, slot: Slot) -> int | None:
    """Return the most elements that the model allows in the list at ``slot``, if it says so."""
    for key in slot:
        if isinstance(shape, StructureShape) and isinstance(key, str):
            shape = shape.members.get(key)
        elif isinstance(shape, ListShape):
            shape = shape.member
    most = shape.metadata.get("max") if shape is not None else None
    return most if isinstance(most, int) else None


def _made(shape: Shape, value: Any, path: str, problems: list[tuple[str, str]]) -> Any:
    """Return ``value`` with its numbers marked; report a literal that is not in the model."""
    match value:
        case dict() if isinstance(shape, StructureShape):
            return {
                name: _made(shape.members[name], inner, f"{path}.{name}", problems)
                if name in shape.members
                else inner
                for name, inner in value.items()
            }
        case dict() if isinstance(shape, MapShape):
            return {k: _made(shape.value, v, f"{path}.{k}", problems) for k, v in value.items()}
        case list() if isinstance(shape, ListShape):
            return [_made(shape.member, inner, f"{path}[]", problems) for inner in value]
        case str() if _PLACEHOLDER.search(value):
            return Number(value) if shape.type_name in _NUMBERS else value
        case str():
            values = getattr(shape, "enum", ())
            if values and value not in values:
                problems.append((f'{path} cannot be "{value}"', suggestion(value, values)))
    return value


def _sample(value: Any) -> Any:
    """Return parameters as they may be sent."""
    match value:
        case Number():
            return 1
        case str():
            return _PLACEHOLDER.sub(lambda found: _SAMPLES.get(found[1], _SAMPLE), value)
        case dict():
            return {key: _sample(inner) for key, inner in value.items()}
        case list():
            return [_sample(inner) for inner in value]
    return value


def _explained(reason: str, name: str, details: Mapping[str, Any]) -> tuple[str, str]:
    """Return one problem that the SDK reports, without the value, and its remedy."""
    name = name.removeprefix(".")
    match reason:
        case "missing required field":
            return f'{name} lacks "{details["required_name"]}"', ""
        case "unknown field":
            unknown = details["unknown_param"]
            return f'{name} has no "{unknown}"', suggestion(unknown, details["valid_names"])
        case "invalid type":
            types = " or ".join(str(one) for one in details["valid_types"])
            types = re.sub(r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1", types)
            return f"{name} must be a {types}", ""
        case "invalid range" | "invalid length":
            return f"{name} is too small or too short", f"at least {details['min_allowed']}"
    return f"{name}: {reason}", ""
