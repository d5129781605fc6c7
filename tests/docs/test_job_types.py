"""The page on job types names every key, default and limit as the code has them."""

import re

import pytest

from monitor.aws import lenient_parser, response_body
from monitor.config import format_duration
from monitor.polling import describe, sweep
from monitor.sources import declaration, response_parser, sanitize
from tests.docs import pages

PAGE = " ".join((pages.ROOT / "docs" / "job-types.md").read_text().split())
OLDER = {"id", "state", "updated_at", "created_at", "reason"}
"""Keys of a listing in the older form, which has a section of its own."""


@pytest.mark.parametrize(
    ("form", "apart"),
    [
        (declaration.Declaration, set()),
        (declaration.IdForm, {"path"}),
        (declaration.DescribeForm, set()),
        (declaration.ListForm, OLDER),
        (declaration.ParentForm, set()),
        (declaration.FieldForm, set()),
    ],
)
def test_every_key_is_in_a_table(form, apart):
    rows = re.findall(r"(?<=\| )(?:`\w+`(?:, )?)+(?= \|)", PAGE)
    shown = set(re.findall(r"`(\w+)`", " ".join(rows)))
    keys = {one.alias or name for name, one in form.model_fields.items()} - apart
    assert not keys - shown


@pytest.mark.parametrize(
    "phrase",
    [
        f"may have {response_body.LARGEST // 2**20} MiB and {lenient_parser.MOST_VALUES:,} values",
        f"a page {response_parser.MOST_ROWS:,} rows",
        f"in each sweep, up to {sweep.MAX_PAGES:,} pages",
        f"lists the last {sweep.HISTORY.days} days",
        f"unless AWS repeats it for {describe.INSISTS_AFTER / 60:g} minutes",
        f"kept of each text, up to {sanitize.LIMIT} | `{sanitize.LIMIT}`",
        f"most characters of an id | `{declaration.IdForm.model_fields['max_length'].default}`",
    ],
)
def test_a_limit_on_the_page_is_that_of_the_code(phrase):
    assert phrase in PAGE


def test_the_defaults_on_the_page_are_those_of_the_code():
    fields = declaration.Declaration.model_fields
    quota = fields["quota"].default
    assert f"`{fields['interval'].default:g}s`" in PAGE
    assert f"`{{rate: {quota.rate:g}, burst: {quota.burst:g}}}`" in PAGE
    graces = [format_duration(fields[name].default) for name in ("grace", "grace_interval")]
    assert ", ".join(f"`{one}`" for one in graces) in PAGE
