"""A real SDK against the simulator."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from monitor import simulator

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
CREDENTIALS = {
    KEY: {"secret": SECRET, "account": "111111111111"},
    "AKIAOTHER": {"secret": "other", "account": "222222222222"},
    "AKIAEXPIRED": {"secret": "old", "expired": True},
}
DISKS = [
    {"id": "E1", "service": "importexport", "account": "111111111111"},
    {"id": "E2", "service": "importexport", "account": "222222222222"},
    {"id": "E3", "service": "importexport"},
]


@asynccontextmanager
async def client(sim, key=KEY, secret=SECRET, region="us-east-1"):
    config = AioConfig(
        retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=5, read_timeout=5
    )
    async with get_session().create_client(
        "importexport",
        region_name=region,
        endpoint_url=sim.url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=config,
    ) as made:
        yield made


async def code_of(call):
    with pytest.raises(ClientError) as caught:
        await asyncio.wait_for(call, 10)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


async def test_the_sdk_understands_a_status():
    steps = [{"set": {"LocationCode": "Returned", "ProgressCode": "SuccessWithErrors"}}]
    job = {"id": "E1", "service": "importexport", "members": {"ErrorCount": 3}, "steps": steps}
    async with simulator.running({"jobs": [job]}) as sim, client(sim) as aws:
        await sim.truth.states.wait_for(lambda r: r.number == 2)
        answer = await asyncio.wait_for(aws.get_status(JobId="E1"), 10)
    assert answer["LocationCode"] == "Returned"
    assert answer["ErrorCount"] == 3
    assert answer["CreationDate"].tzinfo is not None
    assert answer["TrackingNumber"].startswith("1Z")
    assert "trueCryptPassword" in answer["CurrentManifest"]
    assert "Signature=" in answer["ArtifactList"][0]["URL"]
    assert answer["LogBucket"]


async def test_the_sdk_pages_through_a_list():
    scenario = {"page_limit": 2, "generate": [{"service": "importexport", "count": 5}]}
    async with simulator.running(scenario) as sim, client(sim) as aws:
        found = [
            job["JobId"]
            async for page in aws.get_paginator("list_jobs").paginate()
            for job in page["Jobs"]
        ]
        assert len(sim.truth.requests) == 3
    assert found == [f"DISK{number:04d}" for number in range(5, 0, -1)]


async def test_signed_requests_are_let_in_and_see_their_accounts_jobs():
    async with simulator.running({"jobs": DISKS, "credentials": CREDENTIALS}) as sim:
        async with client(sim) as aws:
            listed = await asyncio.wait_for(aws.list_jobs(), 10)
            assert [job["JobId"] for job in listed["Jobs"]] == ["E3", "E1"]
            assert await aws.get_status(JobId="E1")
            error = await code_of(aws.get_status(JobId="E2"))
            assert error == ("InvalidJobIdException", 400)
        assert {r.access_key for r in sim.truth.requests} == {KEY}


@pytest.mark.parametrize(
    ("key", "secret", "region", "code"),
    [
        ("AKIANOBODY", "x", "us-east-1", "InvalidClientTokenIdException"),
        (KEY, "wrong", "us-east-1", "SignatureDoesNotMatch"),
        ("AKIAEXPIRED", "old", "us-east-1", "ExpiredTokenException"),
        (KEY, SECRET, "eu-west-1", "SignatureDoesNotMatch"),
    ],
)
async def test_others_are_refused(key, secret, region, code):
    async with (
        simulator.running({"jobs": DISKS, "credentials": CREDENTIALS}) as sim,
        client(sim, key, secret, region) as aws,
    ):
        assert await code_of(aws.get_status(JobId="E1")) == (code, 403)


async def test_without_credentials_in_the_scenario_all_are_let_in():
    async with simulator.running({"jobs": DISKS}) as sim, client(sim, "ANY", "any") as aws:
        assert len((await asyncio.wait_for(aws.list_jobs(), 10))["Jobs"]) == 3


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "throttle", "rate": 0.01, "times": 2}, ("Throttling", 400)),
        ({"kind": "throttle", "rate": 0.01, "status": 503}, ("Throttling", 503)),
        ({"kind": "denied"}, ("AccessDenied", 403)),
        ({"kind": "expired_credentials"}, ("ExpiredTokenException", 403)),
        (
            {"kind": "error", "status": 400, "code": "InvalidAccessKeyIdException"},
            ("InvalidAccessKeyIdException", 400),
        ),
        ({"kind": "error", "status": 500, "code": "InternalFailure"}, ("InternalFailure", 500)),
    ],
)
async def test_the_sdk_understands_errors_by_fault(fault, expected):
    async with simulator.running({"jobs": DISKS, "faults": [fault]}) as sim, client(sim) as aws:
        if fault["kind"] == "throttle":
            await asyncio.wait_for(aws.get_status(JobId="E1"), 10)
        assert await code_of(aws.get_status(JobId="E1")) == expected
        record = list(sim.truth.requests)[-1]
    assert (record.error, record.status, record.state) == (*expected, None)
