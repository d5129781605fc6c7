"""The catalogue on paper is the catalogue in the package."""

from monitor.sources.loader import BUILT_IN
from tests.docs import catalogue


def test_the_page_is_made_of_the_shipped_types():
    text = catalogue.text()
    assert catalogue.FILE.read_text("utf-8") == text, "run make catalogue"
    for path in BUILT_IN.glob("*.yaml"):
        assert f"\n### {path.stem}\n" in text


def test_there_are_types_for_what_people_run():
    assert len(list(BUILT_IN.glob("*.yaml"))) >= 66
