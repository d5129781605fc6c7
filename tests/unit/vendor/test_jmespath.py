"""Internals of jmespath that the monitor subclasses or reads: an upgrade must not move them."""

import inspect

import jmespath
import pytest
from jmespath import functions
from jmespath.visitor import TreeInterpreter

KINDS = {
    "a.b": "subexpression",
    "a[0]": "index_expression",
    "a | b": "pipe",
    "@": "current",
    "a": "field",
    "a[*].b": "projection",
    "a.*": "value_projection",
    "a[?b]": "filter_projection",
    "a || b": "or_expression",
    "a && b": "and_expression",
    "!a": "not_expression",
    "a == b": "comparator",
    "length(a)": "function_expression",
    "`1`": "literal",
}


@pytest.mark.parametrize(("text", "kind"), KINDS.items())
def test_a_node_has_the_kind_by_which_the_check_walks_it(text, kind):
    tree = jmespath.compile(text).parsed
    assert tree["type"] == kind
    assert isinstance(tree["children"], list)


def test_the_inner_nodes_have_the_kinds_by_which_the_check_walks_them():
    def kinds(node):
        yield node["type"]
        for child in node["children"]:
            if isinstance(child, dict):  # a slice has numbers
                yield from kinds(child)

    assert set(kinds(jmespath.compile("a[].b[1:2].c[0][*]").parsed)) >= {
        "flatten",
        "identity",
        "slice",
        "index",
    }
    assert "expref" in set(kinds(jmespath.compile("sort_by(a, &b)").parsed))


def test_a_filter_has_its_condition_as_the_third_child():
    children = jmespath.compile("a[?b].c").parsed["children"]
    assert [child["value"] for child in children] == ["a", "c", "b"]


def test_the_interpreter_visits_each_node_by_the_methods_that_are_overridden():
    for name in ("field", "comparator", "or_expression", "not_expression", "function_expression"):
        method = getattr(TreeInterpreter, f"visit_{name}")
        assert list(inspect.signature(method).parameters) == ["self", "node", "value"]
    assert TreeInterpreter()._is_false([])
    assert list(inspect.signature(TreeInterpreter.visit).parameters)[:2] == ["self", "node"]


def test_functions_tell_how_many_arguments_they_take():
    table = functions.Functions.FUNCTION_TABLE
    assert len(table["contains"]["signature"]) == 2
    assert table["not_null"]["signature"][-1]["variadic"]
    assert functions.Functions().call_function("length", ["ab"]) == 2
