"""What monitor/sinks/webhook/success.py relies on inside JMESPath."""

import jmespath
import pytest
from jmespath.functions import Functions


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("json.ok", "subexpression"),
        ("a | b", "pipe"),
        ("a[0]", "index_expression"),
        ("a[*].b", "projection"),
        ("a.*", "value_projection"),
        ("a[?b]", "filter_projection"),
        ("!a", "not_expression"),
        ("length(a)", "function_expression"),
        ("a", "field"),
        ("@", "current"),
    ],
)
def test_parsed_of_an_expression_is_a_tree_of_type_children_and_value(text, kind):
    node = jmespath.compile(text).parsed
    assert node["type"] == kind
    assert isinstance(node["children"], list)


def test_function_table_has_the_signature_of_each_function():
    assert len(Functions.FUNCTION_TABLE["contains"]["signature"]) == 2
    assert Functions.FUNCTION_TABLE["merge"]["signature"][-1]["variadic"] is True
