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
    from collections.abc import Iterable, Iterator

Node: TypeAlias = Any
"""A node of the library's syntax tree: a dictionary with type, value and children."""

_FUNCTIONS = functions.Functions()
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
        yield from _misuse(node["value"], len(node["children"]))
    for child in node["children"]:
        if isinstance(child, dict):
            yield from misuse(child)


def _misuse(name: str, given: int) -> Iterator[str]:
    function = functions.Functions.FUNCTION_TABLE.get(name)
    if function is None:
        yield f"there is no function {name}()"
        return
    signature = function["signature"]
    wanted = len(signature)
    variadic = bool(signature and signature[-1].get("variadic"))
    if given < wanted or (given > wanted and not variadic):
        more = " or more" if variadic else ""
        yield f"{name}() takes {wanted}{more} arguments instead of {given}"


class _Interpreter(TreeInterpreter):
    """Evaluates one expression; keeps nothing of it."""

    def visit_field(self, node: Node, value: Any) -> Any:
        if isinstance(value, dict):
            return value.get(node["value"])
        return value if isinstance(value, Unreadable) else None

    def visit_index(self, node: Node, value: Any) -> Any:
        return value if isinstance(value, Unreadable) else super().visit_index(node, value)

    def visit_slice(self, node: Node, value: Any) -> Any:
        return value if isinstance(value, Unreadable) else super().visit_slice(node, value)

    def visit_flatten(self, node: Node, value: Any) -> Any:
        return self._or_its_base(super().visit_flatten(node, value), node, value)

    def visit_projection(self, node: Node, value: Any) -> Any:
        return self._or_its_base(super().visit_projection(node, value), node, value)

    def visit_filter_projection(self, node: Node, value: Any) -> Any:
        return self._or_its_base(super().visit_filter_projection(node, value), node, value)

    def visit_value_projection(self, node: Node, value: Any) -> Any:
        return self._or_its_base(super().visit_value_projection(node, value), node, value)

    def _or_its_base(self, found: Any, node: Node, value: Any) -> Any:
        """A projection of what is not known is not known."""
        if found is not None:
            return found
        base = self.visit(node["children"][0], value)
        return base if isinstance(base, Unreadable) else None

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
            return _NOTHING if _has_null(given) else UNREADABLE

    def _is_false(self, value: Any) -> bool:
        return isinstance(value, Unreadable) or super()._is_false(value)  # type: ignore[misc]  # the stubs omit it


def _has_null(values: Iterable[Any]) -> bool:
    values = [one for value in values for one in (value if isinstance(value, list) else [value])]
    return any(value is None or value is _NOTHING for value in values)


_INTERPRETER = _Interpreter()
