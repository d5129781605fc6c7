"""The docstrings of fields, for documents."""

from monitor.config import docstrings
from monitor.config.settings import SnsSink, Watch
from monitor.web.api.job_filters import JobsQuery


def test_a_field_is_described_where_it_is_declared():
    found = docstrings.of_fields(SnsSink)
    assert found["topic_arn"].startswith("The ARN of the topic.")
    assert found["account"] == "The name in ``accounts`` whose credentials and endpoints are used."
    assert found["timeout"] == "Time limit of one delivery attempt."


def test_a_field_without_a_docstring_is_not_described():
    assert "type" not in docstrings.of_fields(SnsSink)


def test_a_long_docstring_has_no_indentation():
    assert "\nand ``max_age``" in docstrings.of_fields(Watch)["discover"]


def test_a_schema_describes_its_properties():
    made = JobsQuery.model_json_schema(schema_generator=docstrings.DescribedSchema)
    assert made["properties"]["region"]["description"] == "An AWS region."
