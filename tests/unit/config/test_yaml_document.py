import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import yaml_document


def read(text):
    return yaml_document.parse(text, lambda line: f"f:{line}")


def value(text):
    tree, problems = read(text)
    assert not problems
    return tree.plain()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1", {"a": 1}),
        ("a: -1.5e3", {"a": -1500.0}),
        ("a: true\nb: False", {"a": True, "b": False}),
        ("a:\nb: ~\nc: null", {"a": None, "b": None, "c": None}),
        ('a: "yes"\nb: \'012\'\nc: "12:30"', {"a": "yes", "b": "012", "c": "12:30"}),
        ("a: 2026-01-01\nb: 127.0.0.1:9847\nc: 30s", {"a": "2026-01-01"} | {
            "b": "127.0.0.1:9847", "c": "30s"}),
        ("a: !!str 012", {"a": "012"}),
        ("012345678901: a\non: b", {"012345678901": "a", "on": "b"}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}", {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}}),
        ("a: &x {p: 1}\nb: &y {p: 2, q: 2}\nc: {<<: [*x, *y]}", {
            "a": {"p": 1}, "b": {"p": 2, "q": 2}, "c": {"p": 1, "q": 2}}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("a: 1234567890123456789012", {"a": "1234567890123456789012"}),
        ("", None),
        ("# nothing\n---\n", None),
    ],
)  # fmt: skip
def test_plain_yaml_is_read(text, expected):
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: b: c", "f:1", "mapping values are not allowed"),
        ("a: 1\nb: [", "f:3", "is not YAML"),
        ("a:\n\tb: 1", "f:2", "cannot start any token"),
        ("a: 1\nb: \x01", "f:2", "character that YAML does not allow"),
        ("a: 1\n---\nb: 1", "f:2", "second document"),
        ("a: *x", "f:1", "unknown anchor"),
        ("a: &x [*x]", "f:1", "unknown anchor"),
        ("? [a]\n: 1", "f:1", "has a list or map as a key"),
        ("a: " + "[" * 40 + "]" * 40, "f:1", "nested more than 32 deep"),
    ],
)
def test_what_is_no_document_is_told_with_its_line(text, place, words):
    tree, problems = read(text)
    assert tree is None
    assert [problem.place for problem in problems] == [place]
    assert words in problems[0].message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: yes", "true or false to some"),
        ("a: Off", "true or false to some"),
        ("a: 012345678901", "is a number to some"),
        ("a: 0x1F", "is a number to some"),
        ("a: 0o17", "is a number to some"),
        ("a: 1e5", "is a number to some"),
        ("a: 1_000", "is a number to some"),
        ("a: 12:30:45", "is a number to some"),
        ("a: !vault x", "tag"),
        ("a: !!python/object:os.system {}", "tag"),
        ("a: !x []", "tag"),
        ("a: {<<: 3}", "needs a map"),
        ('"": 1', "has an empty key"),
        ("a: 1\na: 2", "is given twice"),
    ],
)
def test_what_readers_of_yaml_disagree_on_is_refused(text, words):
    tree, problems = read(text)
    assert tree is not None
    assert len(problems) == 1
    assert words in problems[0].message
    assert problems[0].remedy


def test_a_key_given_twice_is_told_with_both_lines():
    _, problems = read("a:\n  b: 1\n  c: 1\n  b: 2")
    assert str(problems[0]) == "f:4: a.b: is given twice (it was first given at f:2)"


def test_each_value_knows_its_line():
    tree, _ = read("a:\n  - b: 1\n    c:\n      2\n  - x")
    assert tree is not None
    assert tree.place_of(("a", 0, "c")) == "f:3"
    assert tree.place_of(("a", 1)) == "f:5"
    assert tree.place_of(("a", 0, "missing")) == "f:2"


def test_an_outline_keeps_lines_and_drops_values():
    tree, _ = read("a: [secret]\nb: {c: secret}\nd:\n- secret\n- secret\n- [secret]")
    assert tree is not None
    outline = tree.outline()
    assert "secret" not in repr(outline)
    assert outline.place_of(("b", "c")) == "f:2"
    assert [outline.place_of(("d", number)) for number in range(4)] == ["f:4", "f:5", "f:6", "f:3"]


def test_an_outline_keeps_the_lines_of_a_long_list():
    tree, _ = read("a:\n- secret\n- secret\n")
    assert tree is not None
    outline = tree.outline()
    places = [outline.place_of(("a", token)) for token in (0, 1, 2, "b")]
    assert places == ["f:2", "f:3", "f:1", "f:1"]


def test_a_bomb_of_aliases_is_refused_at_once():
    levels = "\n".join(f"k{n}: &k{n} [{', '.join([f'*k{n - 1}'] * 10)}]" for n in range(1, 12))
    begun = time.process_time()
    tree, problems = read("k0: &k0 [a, a, a, a, a, a, a, a, a, a]\n" + levels)
    assert tree is None
    assert "500,000 values" in problems[0].message
    assert time.process_time() - begun < 10


def test_a_deep_document_is_refused_at_once():
    begun = time.process_time()
    tree, _ = read("[" * 200_000)
    assert tree is None
    assert time.process_time() - begun < 10


def test_ten_thousand_watches_are_read_in_seconds():
    item = "  - {name: w%d, type: panorama.package-import, regions: [us-east-1], jobs: [j%d]}\n"
    text = "watches:\n" + "".join(item % (n, n) for n in range(10_000))
    begun = time.process_time()
    assert len(value(text)["watches"]) == 10_000
    assert time.process_time() - begun < 60


@given(st.text(alphabet=st.sampled_from("ab:- \n\t[]{},&*!|>'\"%@`#?<~0x1e.5yno"), max_size=60))
def test_any_text_is_a_document_or_a_list_of_problems(text):
    tree, problems = read(text)
    assert tree is not None or problems
    assert all("\n" not in str(problem) for problem in problems)


def test_a_path_is_written_on_one_line():
    assert yaml_document.dotted(("a", 0, "b-c", "d.e", "f\ng")) == 'a[0].b-c["d.e"]["f?g"]'
