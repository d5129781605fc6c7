"""The keys that may stand where, read from the types of the settings."""

from __future__ import annotations

import types
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from monitor.config.settings import Section, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

Shape = tuple[Any, ...]
"""The types that a value may have, unions and annotations taken apart."""

ROOT: Shape = (Settings,)
UNKNOWN: Shape = (Any,)
"""The shape of what only a plug-in knows."""


def shape_of(annotation: Any) -> Shape:
    """Take unions and annotations apart."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return shape_of(get_args(annotation)[0])
    if origin in {Union, types.UnionType}:
        # None is not a shape: a key without a value counts as not given.
        members = (shape_of(member) for member in get_args(annotation))
        return tuple(part for member in members for part in member if part is not types.NoneType)
    return (annotation,)


@cache
def fields(section: type[Section]) -> dict[str, FieldInfo]:
    """Return the keys of a section as they are written."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def sections(shape: Shape, kind: Any = None) -> tuple[type[Section], ...]:
    """Return the sections of ``shape``: those of ``type: kind`` alone, if there is one."""
    found = tuple(m for m in shape if isinstance(m, type) and issubclass(m, Section))
    return tuple(section for section in found if kind in _kinds(section)) or found


def kinds(shape: Shape) -> list[str]:
    """Return the values that the key ``type`` may have."""
    return [kind for section in sections(shape) for kind in _kinds(section)]


def _kinds(section: type[Section]) -> tuple[str, ...]:
    field = fields(section).get("type")
    literal = field is not None and get_origin(field.annotation) is Literal
    return get_args(field.annotation) if field and literal else ()


def keys(shape: Shape) -> list[str]:
    """Return the keys that a map of this shape may have; none for free ones."""
    return list(dict.fromkeys(key for part in sections(shape) for key in fields(part)))


def step(shape: Shape, token: str | int) -> Shape:
    """Return the shape under a key or an index; empty if there can be nothing."""
    found: list[Any] = []
    for member in shape:
        origin: Any = get_origin(member)
        if origin is dict and isinstance(token, str):
            found += shape_of(get_args(member)[1])
        elif origin is list and isinstance(token, int):
            found += shape_of(get_args(member)[0])
        elif isinstance(member, type) and issubclass(member, Section) and isinstance(token, str):
            field = fields(member).get(token)
            found += shape_of(field.annotation) if field else ()
        elif member is Any:
            found += UNKNOWN
    return tuple(found)


def origins(shape: Shape) -> set[Any]:
    """Return what a value may be: among others ``list``, or ``dict`` if its keys are free."""
    return {get_origin(member) for member in shape}


def every_section(shape: Shape = ROOT, path: str = "") -> Iterator[tuple[str, type[Section]]]:
    """Yield every section and its path, with ``[]`` for an item and ``NAME`` for a free key."""
    for section in sections(shape):
        yield path, section
        for key, field in fields(section).items():
            inner, inner_path = shape_of(field.annotation), f"{path}.{key}".removeprefix(".")
            if dict in origins(inner):
                yield from every_section(step(inner, "NAME"), f"{inner_path}.NAME")
            elif list in origins(inner):
                yield from every_section(step(inner, 0), f"{inner_path}[]")
            else:
                yield from every_section(inner, inner_path)
