from itertools import pairwise

from monitor.sinks.aws.batch import weight
from monitor.sinks.aws.truncate import versions
from tests.contracts.sink_kit import check, event


def test_an_event_comes_as_it_is_first():
    made = event()

    assert next(versions(made)) is made


def test_each_version_is_no_larger_than_the_one_before():
    made = event(reason="x" * 200_000)

    sizes = [weight(version) for version in versions(made)][1:]

    assert all(later <= earlier for earlier, later in pairwise(sizes))
    assert sizes[-1] < 2000


def test_only_free_text_is_cut_and_the_event_stays_one():
    made = event(reason="r" * 500, job_id="j" * 500)
    data = made["data"]
    data["fields"] = {"a": ["b" * 500, {"c": "d" * 500}], "n": 1, "none": None}
    data["changes"] = [{"field": "f" * 500, "from": {"x": "y" * 500}, "to": "z" * 500}]
    data["job"]["labels"] = {"team": "t" * 500}

    *_, shortest = versions(made)

    check(shortest)
    cut = shortest["data"]
    assert shortest["truncated"] is True
    assert cut["reason"] == "r" * 31 + "…"
    assert cut["fields"] == {"a": ["b" * 31 + "…", {"c": "d" * 31 + "…"}], "n": 1, "none": None}
    assert cut["changes"] == [
        {"field": "f" * 500, "from": {"x": "y" * 31 + "…"}, "to": "z" * 31 + "…"}
    ]
    assert cut["job"] == data["job"]
    assert {**shortest, "data": 0} == {**made, "data": 0, "truncated": True}


def test_the_same_event_is_cut_the_same_every_time():
    made = event(reason="ü" * 300_000)

    assert list(versions(made)) == list(versions(made))
