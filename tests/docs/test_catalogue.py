"""The catalogue on paper is the catalogue in the package, and other pages count it right."""

import re

from monitor.sources.loader import BUILT_IN, declarations, load_job_types
from tests.docs import catalogue, pages


def test_the_page_is_made_of_the_shipped_types():
    text = catalogue.text()
    assert catalogue.FILE.read_text("utf-8") == text, "run make catalogue"
    for path in BUILT_IN.glob("*.yaml"):
        assert f"\n### {path.stem}\n" in text


def test_there_are_types_for_what_people_run():
    assert len(list(BUILT_IN.glob("*.yaml"))) >= 66


def test_each_page_that_counts_the_types_counts_right():
    types = list(declarations(None))
    services = {one.service for one in types}
    readme = (pages.ROOT / "README.md").read_text()
    changelog = (pages.ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"(\d+) job types", readme) == [str(len(types))]
    counts = re.findall(r"(\d+) job types of (\d+) services", changelog)
    assert counts == [(str(len(types)), str(len(services)))]


def test_the_listings_that_a_page_calls_unfiltered_are_so():
    text = (pages.ROOT / "docs" / "job-types.md").read_text()
    named = re.search(r"cannot be filtered, such as those of (.+?)\. The", text, re.DOTALL)
    assert named
    kinds = load_job_types(None)
    found = [kinds[name].listings for name in re.findall(r"`(.+?)`", named[1])]
    assert len(found) > 5
    assert not [one for listings in found for one in listings if one.windowed]
