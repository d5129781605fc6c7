"""The real AWS CLI against the simulator."""

import asyncio
import json
import os
import shutil
import subprocess

import pytest

from monitor import simulator

TIMEOUT = 200
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
    "AWS_PAGER": "",
}
SCENARIO = {
    "credentials": {
        "AKIAIOSFODNN7EXAMPLE": {"secret": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
    },
    "page_limit": 2,
    "jobs": [
        {"id": "p1", "service": "panorama", "members": {"Status": "SUCCEEDED"}},
        {"id": "p2", "service": "panorama"},
        {"id": "p3", "service": "panorama"},
        {
            "id": "EX1ID",
            "service": "importexport",
            "members": {"LocationCode": "Returned", "TrackingNumber": "1Z999"},
        },
        {"id": "EX2ID", "service": "importexport"},
        {"id": "EX3ID", "service": "importexport", "steps": [{"error": "canceled"}]},
    ],
}


@pytest.fixture(scope="module")
def aws():
    """The CLI; its absence is a skip on a developer's machine and a failure in CI."""
    path = os.environ.get("TEST_AWS_CLI") or shutil.which("aws")
    lacking = "there is no AWS CLI" if path is None else _lacking(path)
    if lacking:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(lacking)
    return path


def _lacking(path):
    # A skeleton needs neither network nor credentials, only that the command exists.
    result = subprocess.run(
        [path, "panorama", "list-package-import-jobs", "--generate-cli-skeleton"],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        check=False,
        timeout=TIMEOUT,
    )
    return "" if result.returncode == 0 else f"{path} does not know panorama"


async def run(path, *arguments):
    process = await asyncio.create_subprocess_exec(
        path,
        *arguments,
        env={**os.environ, **ENVIRONMENT},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            out, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return process.returncode, out.decode(), errors.decode()


async def ask(sim, aws, *arguments):
    code, out, errors = await run(aws, *arguments, "--endpoint-url", sim.url, "--output", "json")
    assert code == 0, errors
    return json.loads(out)


async def refusal(sim, aws, *arguments):
    code, out, errors = await run(aws, *arguments, "--endpoint-url", sim.url)
    assert code != 0, out
    return errors


async def test_describe_package_import_job(aws):
    async with simulator.running(SCENARIO) as sim:
        answer = await ask(sim, aws, "panorama", "describe-package-import-job", "--job-id", "p1")
        (record,) = sim.truth.requests
    assert (answer["JobId"], answer["Status"]) == ("p1", "SUCCEEDED")
    assert isinstance(answer["CreatedTime"], float)
    assert answer["ClientToken"]
    assert (record.access_key, record.state) == ("AKIAIOSFODNN7EXAMPLE", 1)


async def test_list_package_import_jobs_page_by_page(aws):
    command = ("panorama", "list-package-import-jobs")
    async with simulator.running(SCENARIO) as sim:
        first = await ask(sim, aws, *command, "--max-results", "2")
        second = await ask(sim, aws, *command, "--next-token", first["NextToken"])
    assert [job["JobId"] for job in first["PackageImportJobs"]] == ["p3", "p2"]
    assert [job["JobId"] for job in second["PackageImportJobs"]] == ["p1"]
    assert "NextToken" not in second


async def test_importexport_get_status(aws):
    async with simulator.running(SCENARIO) as sim:
        answer = await ask(sim, aws, "importexport", "get-status", "--job-id", "EX1ID")
    assert (answer["JobId"], answer["LocationCode"]) == ("EX1ID", "Returned")
    assert answer["TrackingNumber"] == "1Z999"
    assert "trueCryptPassword" in answer["CurrentManifest"]
    assert answer["CreationDate"].endswith("Z")


async def test_importexport_list_jobs_over_pages(aws):
    async with simulator.running(SCENARIO) as sim:
        answer = await ask(sim, aws, "importexport", "list-jobs")
        assert len(sim.truth.requests) == 2
    assert [job["JobId"] for job in answer["Jobs"]] == ["EX3ID", "EX2ID", "EX1ID"]


async def test_errors_are_understood(aws):
    async with simulator.running(SCENARIO) as sim:
        describe = ("panorama", "describe-package-import-job", "--job-id")
        assert "(ResourceNotFoundException)" in await refusal(sim, aws, *describe, "none")
        errors = await refusal(sim, aws, "importexport", "get-status", "--job-id", "EX3ID")
        assert "(CanceledJobIdException)" in errors
        elsewhere = ("--region", "eu-west-1")
        assert "(ResourceNotFoundException)" in await refusal(sim, aws, *describe, "p1", *elsewhere)
        assert {r.region for r in sim.truth.requests} == {"us-east-1", "eu-west-1"}
