"""The full example with anything in it replaced, removed, renamed or added."""

import re
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from monitor import config
from monitor.aws import service_models
from monitor.config.yaml_document import dotted
from monitor.errors import ConfigurationError
from monitor.validation import everything

EXAMPLE = (Path(__file__).parents[3] / "config/full.yaml").read_text("utf-8")
CANARY = "canary5ecret"


class _Dumper(yaml.SafeDumper):
    """Quotes times of day, which some readers of YAML take for numbers."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, '"' if re.fullmatch(r"[0-9]+:[0-9]+", text) else None
    ),
)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The values of the example, with its secrets in files that are there.

    Without the sinks that have templates: each check of those takes a process of its own.
    """
    secrets = tmp_path_factory.mktemp("secrets")
    text = EXAMPLE.replace("/run/secrets", str(secrets))
    tree = yaml.safe_load(text)
    slow = [name for name, sink in tree["sinks"].items() if {"template", "body"} & sink.keys()]
    for name in slow:
        del tree["sinks"][name]
    for route in tree["routes"]:
        route["sinks"] = [name for name in route["sinks"] if name not in slow]
    for path in paths(tree):
        value = at(tree, path)
        if isinstance(value, str) and value.startswith(str(secrets)):
            Path(value).write_text(CONTENTS.get(Path(value).name, "whsec_" + "MDEy" * 8), "utf-8")
    return tree


CONTENTS = {"external-id": CANARY, "hook-authorization": CANARY}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Return a function from a tree to what is told of it, and whether it can be loaded."""
    path = tmp_path_factory.mktemp("example") / "a.yaml"
    models = service_models.loader()

    def tell(tree):
        text = yaml.dump(tree, Dumper=_Dumper, allow_unicode=True, sort_keys=False)
        path.write_text(text, "utf-8")
        try:
            settings = config.load([path], {})
        except ConfigurationError as error:
            return list(error.problems), False
        return list(everything.validate(settings, models)[1]), True

    return tell


def paths(tree, path=()):
    """Every place in a tree but its root."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, child in children:
        yield (*path, key)
        if isinstance(child, dict | list):
            yield from paths(child, (*path, key))


def at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def replaced(tree, path, value):
    at(tree, path[:-1])[path[-1]] = value


def removed(tree, path, _):
    del at(tree, path[:-1])[path[-1]]


def renamed(tree, path, value):
    holder = at(tree, path[:-1])
    if isinstance(holder, dict):
        holder[f"{path[-1]}{value if isinstance(value, str) else 'x'}"] = holder.pop(path[-1])


def added(tree, path, value):
    holder = at(tree, path)
    if isinstance(holder, dict):
        holder["zzz"] = value
    elif isinstance(holder, list):
        holder.append(value)


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=6),
    st.sampled_from(["default", "prod", "ops", "audit", "30s", "log", "webhook", "sqs", "*", "?"]),
    st.sampled_from([[], [[]], ["a"], {}, {"type": "log"}, {"a": {}}, [{}]]),
)
CHANGES = st.lists(
    st.tuples(st.sampled_from([replaced, removed, renamed, added]), st.integers(min_value=0), JUNK),
    min_size=1,
    max_size=4,
)
RELAXED = effort(max_examples=30)


def test_the_example_itself_has_no_mistake(example, told):
    assert told(example) == ([], True)


@RELAXED
@given(CHANGES)
def test_whatever_is_changed_there_are_plain_mistakes_with_a_place_or_none(example, told, changes):
    tree = deepcopy(example)
    for change, number, value in changes:
        if places := list(paths(tree)):
            change(tree, places[number % len(places)], deepcopy(value))
    assume(tree)
    found, loads = told(tree)
    mistakes = [problem for problem in found if not problem.warning]
    assert loads or mistakes
    assert all(problem.place.rpartition(":")[2].isdigit() for problem in found)
    assert all(f"{problem}{problem.message}{problem.remedy}".isprintable() for problem in found)
    assert CANARY not in str(found)


@pytest.mark.parametrize("place", [("accounts", "prod"), ("watches", 0, "labels", "team")])
def test_a_name_that_cannot_be_printed_is_suggested_in_printable_words(example, told, place):
    tree = deepcopy(example)
    renamed(tree, place, "\u200bx\u2028y\u00a0z")
    found, _ = told(tree)
    words = [text for problem in found for text in (problem.message, problem.remedy)]
    assert any("did you mean" in text for text in words)
    assert all(text.isprintable() for text in words)


def wrong(value):
    """Return what nothing in the place of ``value`` can be."""
    return 5 if isinstance(value, dict) else {"zzz": 1}


def apart(chosen):
    """Whether no path is inside another, or in a sink of which another takes the type."""
    untyped = {path[:2] for path in chosen if path[0] == "sinks" and path[2:] == ("type",)}
    inside = [(a, b) for a in chosen for b in chosen if a != b and a[: len(b)] == b]
    beside = [path for path in chosen if path[:2] in untyped and path[2:] != ("type",)]
    return not inside and not beside


def of(problem, path):
    return problem.path.startswith(dotted(path))


@RELAXED
@given(st.sets(st.integers(min_value=0), min_size=1, max_size=4))
def test_each_wrong_value_is_told_at_once_and_nothing_else(example, told, numbers):
    tree = deepcopy(example)
    places = list(paths(tree))
    chosen = {places[number % len(places)] for number in numbers}
    assume(apart(chosen))
    for path in chosen:
        replaced(tree, path, wrong(at(tree, path)))
    found, loads = told(tree)
    assert not loads
    for path in chosen:
        assert any(of(problem, path) for problem in found), path
    assert [problem for problem in found if not any(of(problem, path) for path in chosen)] == []


SENSELESS = {
    ("watches", 1, "jobs", 0): "?!",
    ("server", "listen"): "x",
    ("store",): "x",
    ("sinks", "ops", "secret_files", 0): "/nowhere/x",
    ("accounts", "prod", "session_name"): "x",
    ("watches", 0, "name"): "?",
}


@RELAXED
@given(st.sets(st.sampled_from(sorted(SENSELESS, key=str)), min_size=1))
def test_all_values_that_make_no_sense_are_told_at_once(example, told, chosen):
    tree = deepcopy(example)
    for path in chosen:
        replaced(tree, path, SENSELESS[path])
    found, loads = told(tree)
    assert loads
    assert {problem.path for problem in found if not problem.warning} == {
        dotted(path) for path in chosen
    }
