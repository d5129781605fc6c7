"""JMESPath without exceptions: what meets null, or a value of another kind, is not known.

Nothing that depends on what is not known is true: neither ``contains(null, 'x')`` nor
``!contains(null, 'x')``. An ``or`` may still find its other side to be true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from jmespath import exceptions, functions
from jmespath.visitor import TreeInterpreter

from monitor.aws.unreadable import UNREADABLE, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

Node: TypeAlias = Any
"""A node of the library's syntax tree: a dictionary with type, value and children."""

_FUNCTIONS = functions.Functions()
_INDICES = frozenset({"index", "slice"})
_PROJECTIONS = frozenset({"flatten", "projection", "filter_projection", "value_projection"})
_NOTHING = Unreadable()
"""What a function makes of null; the expression's result is null then."""


def value_of(node: Node, data: Any) -> Any:
    """Return what an expression reads of ``data``.

    That is ``UNREADABLE`` where the answer has another kind of value than the expression needs.
    """
    found = _INTERPRETER.visit(node, data)
    if isinstance(found, list):
        return [None if one is _NOTHING else one for one in found]
    return None if found is _NOTHING else found


def misuse(node: Node) -> Iterator[str]:
    """Yield what is wrong with the functions of an expression, whatever it reads."""
    if node["type"] == "function_expression":
        name, given = node["value"], len(node["children"])
        # The library finds these only when it evaluates; by then the job type is in use.
        function = functions.Functions.FUNCTION_TABLE.get(name)
        signature = function["signature"] if function else ()
        variadic = bool(signature and signature[-1].get("variadic"))
        if function is None:
            yield f"there is no function {name}()"
        elif given < len(signature) or (given > len(signature) and not variadic):
            more = " or more" if variadic else ""
            yield f"{name}() takes {len(signature)}{more} arguments instead of {given}"
    for child in node["children"]:
        if isinstance(child, dict):
            yield from misuse(child)


class _Interpreter(TreeInterpreter):
    """Evaluates one expression; keeps nothing of it."""

    def visit_field(self, node: Node, value: Any) -> Any:
        if isinstance(value, dict):
            return value.get(node["value"])
        return value if isinstance(value, Unreadable) else None

    def visit(self, node: Node, value: Any) -> Any:
        if node["type"] in _INDICES and isinstance(value, Unreadable):
            return value
        found = super().visit(node, value)
        if found is None and node["type"] in _PROJECTIONS:
            # The library gives null for a projection of anything but a list or map, so its
            # base is read again: a projection of what is not known is not known.
            base = self.visit(node["children"][0], value)
            return base if isinstance(base, Unreadable) else None
        return found

    def visit_comparator(self, node: Node, value: Any) -> Any:
        left, right = (self.visit(child, value) for child in node["children"])
        for side in (left, right):
            if isinstance(side, Unreadable):
                return side
        sides = [{"type": "literal", "value": side, "children": []} for side in (left, right)]
        pair: Node = {**node, "children": sides}
        try:
            return super().visit_comparator(pair, value)
        except TypeError:
            return _NOTHING

    def visit_or_expression(self, node: Node, value: Any) -> Any:
        first, second = node["children"]
        found = self.visit(first, value)
        if not self._is_false(found):
            return found
        other = self.visit(second, value)
        unknown = isinstance(found, Unreadable) and self._is_false(other)
        return found if unknown else other

    def visit_not_expression(self, node: Node, value: Any) -> Any:
        found = self.visit(node["children"][0], value)
        if isinstance(found, Unreadable):
            return found
        return super().visit_not_expression(node, value)

    def visit_function_expression(self, node: Node, value: Any) -> Any:
        given = [self.visit(child, value) for child in node["children"]]
        unknown = [one for one in given if isinstance(one, Unreadable)]
        if node["value"] == "not_null":
            given = [one for one in given if not isinstance(one, Unreadable)]
            found = next((one for one in given if one is not None), None)
            return unknown[0] if found is None and unknown else found
        if unknown:
            return unknown[0]
        try:
            return _FUNCTIONS.call_function(node["value"], given)
        except (RecursionError, MemoryError):
            raise
        except (exceptions.JMESPathError, ArithmeticError, ValueError, TypeError, AttributeError):
            inner = [one for each in given for one in (each if isinstance(each, list) else [each])]
            has_null = any(one is None or one is _NOTHING for one in inner)
            return _NOTHING if has_null else UNREADABLE

    def _is_false(self, value: Any) -> bool:
        return isinstance(value, Unreadable) or super()._is_false(value)  # type: ignore[misc]  # the stubs omit it


_INTERPRETER = _Interpreter()
