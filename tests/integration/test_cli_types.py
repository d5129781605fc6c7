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
    assert f'{wrong}:7: describe.operation: there is no operation "DescribeJob"' in first
    assert second == (
        f"error: {gone}: cannot be read: no such file or directory"
        " (check the path and its permissions)"
    )


async def test_what_is_right_is_said_to_be(tmp_path):
    file = own(tmp_path)
    code, out, err = await run("types", "lint", file, directory=tmp_path)
    assert (code, out, err) == (0, f"{file}: batch.job is valid, with 7 states\n", "")


async def test_a_draft_is_printed_and_is_valid(tmp_path):
    code, out, err = await run(
        "types", "generate", "ssm", "GetCommandInvocation", directory=tmp_path
    )
    assert (code, err) == (0, "")
    assert out.startswith("# Draft made by: job-monitor types generate ssm GetCommandInvocation\n")
    assert "    - Success  # confirm: by its name\n" in out
    (tmp_path / "printed.yaml").write_text(out)
    code, out, err = await run("types", "lint", "printed.yaml", directory=tmp_path)
    assert (code, err) == (0, "")
    assert out == "printed.yaml: ssm.command-invocation is valid, with 8 states\n"


async def test_a_draft_never_replaces_a_file(tmp_path):
    given = ("types", "generate", "batch", "describe-jobs", "--file")
    file = tmp_path / "draft.yaml"
    code, out, err = await run(*given, file, directory=tmp_path)
    assert (code, out, err) == (0, "", "")
    assert "operation: DescribeJobs" in file.read_text()
    file.write_text("mine")
    code, out, err = await run(*given, file, directory=tmp_path)
    assert (code, out, file.read_text()) == (2, "", "mine")
    remedy = "name another file, or remove it first"
    assert err == f"error: --file: {file} exists already ({remedy})\n"
    code, out, err = await run(*given, tmp_path / "none" / "x.yaml", directory=tmp_path)
    assert (code, out) == (2, "")
    assert "cannot be written: no such file or directory" in err


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (
            ("generate", "bach", "DescribeJobs"),
            'SERVICE: unknown service "bach" (did you mean "batch"?)',
        ),
        (
            ("generate", "batch", "DescribeJob"),
            'OPERATION: unknown operation of batch "DescribeJob" (did you mean "DescribeJobs"?)',
        ),
        (
            ("import-waiter", "emr", "StepComplet"),
            'WAITER: unknown waiter of emr "StepComplet" (did you mean "StepComplete"?)',
        ),
        (
            ("import-waiter", "emr", "--file", "none.json"),
            (
                "none.json: cannot be read: no such file or directory"
                " (check the path and its permissions)"
            ),
        ),
    ],
)
async def test_what_cannot_be_drafted_is_said_in_one_line(tmp_path, given, error):
    code, out, err = await run("types", *given, directory=tmp_path)
    assert (code, out, err) == (2, "", f"error: {error}\n")


async def test_waiters_are_listed_and_one_is_imported(tmp_path):
    code, out, err = await run("types", "import-waiter", "emr", directory=tmp_path)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["WAITER", "OPERATION"]
    assert out.splitlines()[-1].split() == ["StepComplete", "DescribeStep"]
    code, out, err = await run("types", "import-waiter", "batch", directory=tmp_path)
    assert (code, out, err) == (0, "There are no waiters of batch.\n", "")
    code, out, err = await run("types", "import-waiter", "emr", "step-complete", directory=tmp_path)
    assert (code, err) == (0, "")
    assert "  succeeded:\n    - COMPLETED\n" in out
    (tmp_path / "step.yaml").write_text(out)
    code, out, err = await run("types", "lint", "step.yaml", directory=tmp_path)
    assert (code, err) == (0, "")


async def test_a_waiter_of_a_file_is_imported(tmp_path):
    acceptor = {"matcher": "path", "argument": "jobRun.state", "expected": "SUCCESS"}
    waiter = {"operation": "GetJobRun", "acceptors": [{**acceptor, "state": "success"}]}
    file = tmp_path / "emr-serverless.json"
    file.write_text(json.dumps({"version": 2, "waiters": {"serverless_job_completed": waiter}}))
    given = ("types", "import-waiter", "emr-serverless")
    code, out, err = await run(*given, "--file", file, "-o", "json", directory=tmp_path)
    assert (code, err) == (0, "")
    assert json.loads(out) == [{"waiter": "serverless_job_completed", "operation": "GetJobRun"}]
    name = "serverless_job_completed"
    code, out, err = await run(*given, name, "--file", file, directory=tmp_path)
    assert (code, err) == (0, "")
    assert "    - SUCCESS\n" in out
    assert "    - FAILED  # confirm: by its name\n" in out


@pytest.mark.parametrize("command", ["list", "show", "lint", "generate", "import-waiter"])
async def test_each_has_help(tmp_path, command):
    code, out, _ = await run("types", command, "--help", directory=tmp_path)
    assert code == 0
    assert f"types {command}" in out
