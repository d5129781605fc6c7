"""The plots of docs/performance.md show what its tables say."""

from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks import plots

TEXT = plots.DOCUMENT.read_text("utf-8")


@pytest.mark.parametrize("name", plots.PLOTS)
def test_a_plot_is_that_of_its_table(name):
    title, bars = plots.PLOTS[name]
    found = bars(TEXT)
    assert len(found) >= 4
    assert f"](images/{name})" in TEXT
    made = (plots.IMAGES / name).read_text("utf-8")
    assert made == plots.drawn(title, found), "make plots"
    shown = [one.text for one in ET.fromstring(made).iter() if one.text]
    for bar in found:
        assert bar.label in shown
        assert f"{bar.value:g}" in shown


def test_a_table_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="unpack"):
        plots.table(TEXT, "no | such")
