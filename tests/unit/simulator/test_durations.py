import pytest

from monitor.simulator import strict


@pytest.mark.parametrize(
    ("text", "expected"),
    [("250ms", 0.25), ("5s", 5), ("1m30s", 90), ("2h", 7200), ("3d", 259200), (7, 7), (0.5, 0.5)],
)
def test_a_duration_is_read(text, expected):
    assert strict.seconds(text) == expected


@pytest.mark.parametrize("text", ["", "5", "5 s", "s", "-1s", -1, None, True, "1y"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="is not a duration"):
        strict.seconds(text)
