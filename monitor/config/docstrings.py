"""Docstrings below the fields of models, which describe them to readers.

The library can collect them when a class is made, which takes as long as all the rest of it; only
documents need them.
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from pydantic.json_schema import GenerateJsonSchema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema


class DescribedSchema(GenerateJsonSchema):
    """Makes JSON Schemas whose properties are described."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Add the docstrings of the model's fields."""
        found, model = super().model_schema(schema), schema["cls"]
        for name, text in of_fields(model).items():
            field = model.model_fields[name]
            found["properties"][field.alias or name]["description"] = text
        return found


def of_fields(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the docstring of each field that has one."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        found |= _of_module(base.__module__).get(base.__qualname__, {})
    return {name: text for name, text in found.items() if name in model.model_fields}


@cache
def _of_module(name: str) -> Mapping[str, Mapping[str, str]]:
    """Return what stands below the names of each class of a module of ours."""
    if name.partition(".")[0] != __name__.partition(".")[0]:
        return {}
    found: dict[str, dict[str, str]] = {}
    for one in ast.parse(inspect.getsource(sys.modules[name])).body:
        if isinstance(one, ast.ClassDef):
            below = found[one.name] = {}
            for field, text in pairwise(one.body):
                match field, text:
                    case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(
                        value=ast.Constant(value=str(words))
                    ):
                        below[key] = inspect.cleandoc(words)
    return found
