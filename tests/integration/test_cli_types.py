"""``job-monitor types``: what can be watched, and whether a type of one's own is right."""

import json
import re

import pytest

from monitor.sources import loader
from tests.acceptance.program import ROOT, run

DOCUMENT = ROOT / "docs" / "job-types.md"
BUILT_IN = sorted(file.stem for file in loader.BUILT_IN.glob("*.yaml"))


def own(directory, change=lambda text: text):
    """Write the example of the documentation, changed, into a directory of its own."""
    (example,) = re.findall(
        r"^```yaml\n(name: batch\.job\n.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL
    )
    types = directory / "types"
    types.mkdir()
    file = types / "batch.yaml"
    file.write_text(change(example))
    return file


async def test_all_that_can_be_watched_is_listed(tmp_path):
    code, out, err = await run("types", "list", directory=tmp_path)
    assert (code, err) == (0, "")
    head, *rows = out.splitlines()
    assert head.split() == ["TYPE", "SERVICE", "DESCRIBE", "LIST", "INTERVAL", "DESCRIPTION"]
    assert [row.split()[0] for row in rows] == BUILT_IN
    (row,) = (row.split() for row in rows if row.startswith("panorama.package-import "))
    assert row[:5] == [
        "panorama.package-import",
        "panorama",
        "DescribePackageImportJob",
        "ListPackageImportJobs",
        "30s",
    ]


async def test_ones_own_stand_among_them(tmp_path):
    types = {"JOB_MONITOR_JOB_TYPES_DIR": str(own(tmp_path).parent)}
    code, out, err = await run("types", "list", "-o", "json", directory=tmp_path, **types)
    assert (code, err) == (0, "")
    assert [row["type"] for row in json.loads(out)] == sorted({"batch.job", *BUILT_IN})
    code, out, err = await run("types", "show", "batch.job", directory=tmp_path, **types)
    assert (code, err) == (0, "")
    assert re.search(r"^states: waiting +PENDING, RUNNABLE, SUBMITTED$", out, re.MULTILINE)


async def test_a_type_is_shown_with_what_it_asks_and_knows(tmp_path):
    code, out, err = await run("types", "show", "importexport.job", directory=tmp_path)
    assert (code, err) == (0, "")
    told = dict(re.split(r"  +", line, maxsplit=1) for line in out.splitlines())
    assert told["describe"] == "GetStatus"
    assert told["list shows states"] == "no"
    assert told["states: succeeded"] == "*/Complete, */SuccessWithErrors"
    assert told["error states: expiredjobid"] == "ProgressCode Expired"
    assert told["grace"] == "90d"
    code, out, err = await run(
        "types", "show", "panorama.package-import", "-o", "json", directory=tmp_path
    )
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["states"]["running"] == ["PENDING"]
    assert told["list_shows_states"] is True
    assert told["grace"] is None


async def test_a_type_that_is_none_is_told_with_those_that_are(tmp_path):
    code, out, err = await run("types", "show", "importexport.jb", directory=tmp_path)
    assert (code, out) == (2, "")
    assert 'did you mean "importexport.job"' in err


async def test_every_file_is_checked_and_every_mistake_told(tmp_path):
    right = ROOT / "monitor" / "sources" / "job_types" / "panorama.package-import.yaml"
    wrong = own(tmp_path, lambda text: text.replace("DescribeJobs", "DescribeJob", 1))
    gone = tmp_path / "gone.yaml"
    code, out, err = await run("types", "lint", right, wrong, gone, directory=tmp_path)
    assert code == 2
    assert out == f"{right}: panorama.package-import is valid, with 3 states\n"
    first, second = err.splitlines()
    assert f'{wrong}:9: describe.operation: there is no operation "DescribeJob"' in first
    assert second == (
        f"error: {gone}: cannot be read: no such file or directory"
        " (check the path and its permissions)"
    )


async def test_what_is_right_is_said_to_be(tmp_path):
    file = own(tmp_path)
    code, out, err = await run("types", "lint", file, directory=tmp_path)
    assert (code, out, err) == (0, f"{file}: batch.job is valid, with 7 states\n", "")


@pytest.mark.parametrize("command", ["list", "show", "lint"])
async def test_each_has_help(tmp_path, command):
    code, out, _ = await run("types", command, "--help", directory=tmp_path)
    assert code == 0
    assert f"types {command}" in out
