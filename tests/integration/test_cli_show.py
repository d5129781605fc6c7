"""``job-monitor show``: one look at one job."""

import json

import pytest

from monitor import simulator
from tests.acceptance.program import configure, run

pytestmark = pytest.mark.timeout(600)

PACKAGE, DISK = "panorama.package-import", "importexport.job"
SCENARIO = {
    "jobs": [
        {"id": "pkg", "service": "panorama", "members": {"Status": "FAILED"}},
        {
            "id": "EX1",
            "service": "importexport",
            "members": {
                "LocationCode": "Returned",
                "ProgressCode": "SuccessWithErrors",
                "ErrorCount": 7,
                "TrackingNumber": "1Z999AA10123456784",
            },
        },
        {"id": "EXGONE", "service": "importexport", "steps": [{"error": "canceled"}]},
    ]
}


async def _show(directory, sim, *arguments):
    config = configure(directory, sim)
    return await run("show", "-c", config, "--account", "sim", *arguments, directory=directory)


async def test_it_shows_a_package_import(tmp_path):
    async with simulator.running(SCENARIO) as sim:
        code, out, err = await _show(tmp_path, sim, PACKAGE, "pkg", "--region", "us-east-1")
    assert (code, err) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert rows["job"] == f"{PACKAGE}/sim/us-east-1/pkg"
    assert (rows["state"], rows["phase"], rows["severity"]) == ("FAILED", "failed", "error")
    assert rows["PackageName"] == "pkg"


async def test_it_shows_a_disk_without_asking_for_a_region(tmp_path):
    async with simulator.running(SCENARIO) as sim:
        code, out, err = await _show(tmp_path, sim, DISK, "EX1")
    assert (code, err) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert rows["state"] == "Returned/SuccessWithErrors"
    assert (rows["phase"], rows["severity"]) == ("succeeded", "warning")
    assert rows["ErrorCount"] == "7"
    assert rows["TrackingNumber"].endswith("6784")
    assert "1Z999AA" not in out


@pytest.mark.parametrize(
    ("arguments", "state"),
    [
        ((PACKAGE, "pkg", "--region", "us-east-1"), "FAILED"),
        ((DISK, "EX1"), "Returned/SuccessWithErrors"),
    ],
    ids=["package", "disk"],
)
async def test_it_prints_json_on_request(tmp_path, arguments, state):
    async with simulator.running(SCENARIO) as sim:
        code, out, err = await _show(tmp_path, sim, *arguments, "--output", "json")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert told["state"] == state
    assert told["seen_at"].endswith("Z")
    assert told["fields"]["JobType"]


async def test_a_job_canceled_by_an_error_is_shown_as_canceled(tmp_path):
    async with simulator.running(SCENARIO) as sim:
        code, out, err = await _show(tmp_path, sim, DISK, "EXGONE", "--output", "json")
    assert (code, err) == (0, "")
    assert json.loads(out)["phase"] == "canceled"


@pytest.mark.parametrize("arguments", [(PACKAGE, "no", "--region", "us-east-1"), (DISK, "EXNO")])
async def test_a_job_that_does_not_exist_is_exit_code_1(tmp_path, arguments):
    async with simulator.running(SCENARIO) as sim:
        code, out, err = await _show(tmp_path, sim, *arguments)
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert arguments[1] in err


async def test_an_endpoint_that_cannot_be_reached_is_exit_code_69(tmp_path):
    async with simulator.running(SCENARIO) as sim:
        config = configure(tmp_path, sim)
    code, out, err = await run(
        "show", "-c", config, "--account", "sim", DISK, "EX1", directory=tmp_path
    )
    assert (code, out) == (69, "")
    assert len(err.splitlines()) == 1
    assert "ECONNREFUSED" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("panorama.package-imports", "pkg"), "panorama.package-import"),
        ((PACKAGE, "pkg"), "region"),
        ((PACKAGE, "pkg", "--region", "mars"), "mars"),
        ((DISK, "EX1", "--region", "eu-west-1"), "region"),
        ((DISK, "not an id"), "not an id"),
        ((DISK, "EX1", "--account", "nobody"), "nobody"),
    ],
)
async def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, arguments, said):
    async with simulator.running(SCENARIO) as sim:
        code, out, err = await _show(tmp_path, sim, *arguments)
    assert (code, out) == (2, ""), err
    assert len(err.splitlines()) == 1
    assert said in err
    assert "watches" not in err


async def test_it_records_and_sends_nothing(tmp_path):
    async with simulator.running(SCENARIO) as sim:
        await _show(tmp_path, sim, DISK, "EX1")
        assert [request.operation for request in sim.truth.requests] == ["GetStatus"]
        assert sim.truth.received.count == 0
    assert not (tmp_path / "state.db").exists()


async def test_the_sdk_s_own_endpoint_variables_work_without_a_configuration(tmp_path):
    async with simulator.running(SCENARIO) as sim:
        own = {"AWS_ENDPOINT_URL_PANORAMA": sim.url}
        arguments = ("show", PACKAGE, "pkg", "--region", "us-east-1", "-o", "json")
        code, out, err = await run(*arguments, directory=tmp_path, **own)
    assert (code, err) == (0, "")
    assert json.loads(out)["job"] == f"{PACKAGE}/default/us-east-1/pkg"


async def test_a_profile_of_the_aws_files_works_without_a_configuration(tmp_path):
    async with simulator.running(SCENARIO) as sim:
        (tmp_path / "aws").write_text(
            f"[profile emulator]\nendpoint_url = {sim.url}\n"
            "aws_access_key_id = AKIAPROFILE\naws_secret_access_key = x\n"
        )
        own = {
            "AWS_CONFIG_FILE": str(tmp_path / "aws"),
            "AWS_PROFILE": "emulator",
            "AWS_ACCESS_KEY_ID": None,
            "AWS_SECRET_ACCESS_KEY": None,
        }
        code, _, err = await run("show", DISK, "EX1", directory=tmp_path, **own)
        assert (code, err) == (0, "")
        assert {request.access_key for request in sim.truth.requests} == {"AKIAPROFILE"}


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
async def test_the_region_may_come_from_the_environment(tmp_path, variable):
    async with simulator.running(SCENARIO) as sim:
        arguments = ("show", PACKAGE, "pkg", "-o", "json")
        own = {"AWS_ENDPOINT_URL": sim.url, variable: "us-east-1"}
        code, out, err = await run(*arguments, directory=tmp_path, **own)
    assert (code, err) == (0, "")
    assert json.loads(out)["job"] == f"{PACKAGE}/default/us-east-1/pkg"


async def test_the_region_may_come_from_the_profile_that_is_named(tmp_path):
    (tmp_path / "aws").write_text(
        "[profile own]\nregion = us-east-1\n"
        "aws_access_key_id = AKIAPROFILE\naws_secret_access_key = x\n"
    )
    async with simulator.running(SCENARIO) as sim:
        arguments = ("show", PACKAGE, "pkg", "--profile", "own", "-o", "json")
        own = {"AWS_ENDPOINT_URL": sim.url, "AWS_CONFIG_FILE": str(tmp_path / "aws")}
        code, out, err = await run(*arguments, directory=tmp_path, **own)
        assert {request.access_key for request in sim.truth.requests} == {"AKIAPROFILE"}
    assert (code, err) == (0, "")
    assert json.loads(out)["job"] == f"{PACKAGE}/default/us-east-1/pkg"


async def test_an_arn_names_region_and_id(tmp_path):
    arn = "arn:aws:panorama:us-east-1:123456789012:package-import-job/pkg"
    async with simulator.running(SCENARIO) as sim:
        own = {"AWS_ENDPOINT_URL": sim.url, "AWS_REGION": "eu-west-1"}
        code, out, err = await run("show", PACKAGE, arn, "-o", "json", directory=tmp_path, **own)
    assert (code, err) == (0, "")
    assert json.loads(out)["job"] == f"{PACKAGE}/default/us-east-1/pkg"


async def test_a_region_of_the_environment_that_does_not_exist_is_told_as_such(tmp_path):
    code, out, err = await run("show", PACKAGE, "pkg", directory=tmp_path, AWS_REGION="mars")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "AWS_REGION" in err
    assert "mars" in err


async def test_without_credentials_it_says_so(tmp_path):
    none = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    async with simulator.running(SCENARIO) as sim:
        own = {"AWS_ENDPOINT_URL": sim.url, **none}
        code, _, err = await run("show", DISK, "EX1", directory=tmp_path, **own)
    assert code == 69
    assert "no AWS credentials were found" in err
    assert len(err.splitlines()) == 1
