"""What monitor/sinks/template_worker.py relies on inside Jinja."""

import inspect
import json

import pytest
from jinja2 import Environment, nodes
from jinja2.compiler import CodeGenerator
from jinja2.exceptions import SecurityError
from markupsafe import Markup

from monitor.sinks.template_worker import _UNSAFE, environment


def test_output_child_to_const_folds_constants_and_may_refuse_with_impossible():
    """`_Generator` refuses, so that constants are escaped at run time like all values."""
    parameters = inspect.signature(CodeGenerator._output_child_to_const).parameters
    assert list(parameters) == ["self", "node", "frame", "finalize"]
    assert issubclass(nodes.Impossible, Exception)
    assert Environment(autoescape=True).from_string("{{ '<' }}").render() == "&lt;"
    made = environment("json")
    assert json.loads(made.from_string("""["{{ '<"' }}"]""").render()) == ['<"']


def test_code_generator_class_of_an_environment_compiles_its_templates():
    used = []

    class Generator(CodeGenerator):
        def visit_Template(self, *arguments, **more):  # noqa: N802 -- Jinja calls it so
            used.append(type(self))
            return super().visit_Template(*arguments, **more)

    made = Environment(autoescape=True)
    made.code_generator_class = Generator
    made.from_string("x")
    assert used == [Generator]


def test_no_other_filter_of_jinja_returns_escaped_text():
    """`_UNSAFE` names those whose HTML would pass for JSON; a new one must be added there."""
    made = Environment(autoescape=True)
    values = ("<a href='http://x.y'>", {"a": "<"}, ["<"], 1)
    found = set()
    for name in made.filters:
        for value in values:
            try:
                result = made.call_filter(name, value, context=_context(made))
            except Exception:  # noqa: BLE001 -- not every filter takes every value
                continue
            # What was plain and came back as markup counts as escaped from then on.
            if isinstance(result, Markup):
                found.add(name)
    ours = {"tojson"}  # replaced by one of our own
    assert found - ours == set(_UNSAFE)


def _context(made):
    return made.from_string("").new_context({})


@pytest.mark.parametrize("source", ["{{ ''.__class__ }}", "{{ [].append(1) }}"])
def test_the_sandbox_refuses_attributes_and_changes(source):
    with pytest.raises(SecurityError):
        environment("text").from_string(source).render()
