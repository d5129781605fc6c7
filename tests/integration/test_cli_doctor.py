"""``job-monitor doctor``: one call of each kind, and what it says of each."""

import json
from collections import Counter

import pytest

from monitor import simulator
from tests.acceptance.program import configure, disks, packages, run

pytestmark = pytest.mark.timeout(600)

JOBS = [
    {"id": "pkg", "service": "panorama"},
    {"id": "EX1", "service": "importexport"},
]


async def _doctor(directory, sim, *arguments, watches, **changes):
    config = configure(directory, sim, watches=watches, **changes)
    return await run("doctor", "-c", config, *arguments, directory=directory)


async def _findings(directory, sim, *, watches, code=0):
    found, out, err = await _doctor(directory, sim, "--output=json", watches=watches)
    assert (found, err) == (code, "")
    rows = json.loads(out)
    return {
        (row["region"], row["operation"]): (row["outcome"], row["said"].partition(" (")[0])
        for row in rows
    }


async def test_it_asks_once_for_each_account_region_and_operation(tmp_path):
    watches = [
        packages(regions=["us-east-1", "eu-west-1"]),
        packages(name="more", regions=["us-east-1"]),
        disks(),
    ]
    async with simulator.running({"jobs": JOBS}) as sim:
        findings = await _findings(tmp_path, sim, watches=watches)
        asked = Counter((each.region, each.operation) for each in sim.truth.requests)
        received = sim.truth.received.count
    assert findings == {
        ("us-east-1", "ListPackageImportJobs"): ("ok", "1 job"),
        ("us-east-1", "DescribePackageImportJob"): ("ok", "found job pkg"),
        ("eu-west-1", "ListPackageImportJobs"): ("ok", "0 jobs"),
        ("eu-west-1", "DescribePackageImportJob"): (
            "ok",
            "AWS answers that an invented job does not exist",
        ),
        ("us-east-1", "ListJobs"): ("ok", "1 job"),
        ("us-east-1", "GetStatus"): ("ok", "found job EX1"),
    }
    assert asked == dict.fromkeys(findings, 1)
    assert received == 0
    assert [path.name for path in tmp_path.glob("state.db*")] == []


async def test_what_is_denied_fails_and_the_rest_is_asked_all_the_same(tmp_path):
    faults = [{"kind": "denied", "match": {"operation": "List*"}}]
    async with simulator.running({"jobs": JOBS, "faults": faults}) as sim:
        watches = [packages(discover=False, jobs=["pkg"]), disks()]
        findings = await _findings(tmp_path, sim, watches=watches, code=1)
        assert findings == {
            ("us-east-1", "ListPackageImportJobs"): ("failed", "denied"),
            ("us-east-1", "DescribePackageImportJob"): ("ok", "found job pkg"),
            ("us-east-1", "ListJobs"): ("failed", "denied"),
            ("us-east-1", "GetStatus"): ("ok", "AWS answers that an invented job does not exist"),
        }
        code, out, err = await _doctor(tmp_path, sim, watches=watches)
    assert code == 1
    assert err == "to see what must be allowed: job-monitor iam-policy\n"
    head, *rows = out.splitlines()
    assert head.split() == ["ACCOUNT", "REGION", "OPERATION", "OUTCOME", "SAID", "SECONDS"]
    assert len(rows) == 4
    assert "denied (AccessDenied" in out


async def test_a_job_that_the_watch_names_and_aws_does_not_know_fails(tmp_path):
    async with simulator.running({"jobs": JOBS}) as sim:
        watches = [packages(discover=False, jobs=["other"])]
        findings = await _findings(tmp_path, sim, watches=watches, code=1)
    assert findings["us-east-1", "DescribePackageImportJob"] == (
        "failed",
        "AWS knows no job of this name",
    )


@pytest.mark.parametrize(
    ("fault", "outcome", "said", "code"),
    [
        ({"kind": "throttle", "rate": 0.001}, "unclear", "throttled just now", 0),
        ({"kind": "expired_credentials"}, "failed", "denied", 1),
        ({"kind": "reset"}, "failed", "no answer", 1),
        ({"kind": "malformed"}, "failed", "unreadable answer", 1),
        ({"kind": "error", "status": 400, "code": "SomethingElse"}, "failed", "refused", 1),
    ],
)
async def test_each_failure_has_its_word(tmp_path, fault, outcome, said, code):
    rule = {**fault, "match": {"operation": "Describe*"}}
    # The bucket lets the first request through.
    more = {"times": 5} if fault["kind"] != "throttle" else {"burst": 1}
    async with simulator.running({"jobs": JOBS, "faults": [{**rule, **more}]}) as sim:
        watches = [packages(discover=False, jobs=["pkg"])]
        if fault["kind"] == "throttle":
            await _findings(tmp_path, sim, watches=watches)
        findings = await _findings(tmp_path, sim, watches=watches, code=code)
    assert findings["us-east-1", "DescribePackageImportJob"] == (outcome, said)


CLOCK = "compare this machine's clock with AWS"


def _refusing(operation, code):
    return {"kind": "error", "status": 403, "code": code, "match": {"operation": operation}}


async def test_credentials_that_aws_refuses_are_to_be_renewed_and_no_policy_is_advised(tmp_path):
    faults = [
        _refusing("ListPackageImportJobs", "ExpiredTokenException"),
        _refusing("DescribePackageImportJob", "UnrecognizedClientException"),
        _refusing("ListJobs", "InvalidClientTokenId"),
        _refusing("GetStatus", "SignatureDoesNotMatch"),
    ]
    async with simulator.running({"jobs": JOBS, "faults": faults}) as sim:
        watches = [packages(discover=True, jobs=["pkg"]), disks(jobs=["EX1"])]
        code, out, err = await _doctor(tmp_path, sim, watches=watches)
        assert sim.truth.requests.count == 4
    assert code == 1
    for fault in faults:
        assert fault["code"] in out
    keys = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    assert err.splitlines() == [
        f"renew the credentials: AWS refuses those of the environment; {keys}",
        f"{CLOCK}; if it is right, the secret access key of the environment is not: {keys}",
    ]


async def test_a_mistake_in_a_watch_is_told_and_nothing_is_asked(tmp_path):
    async with simulator.running({"jobs": JOBS}) as sim:
        code, out, err = await _doctor(tmp_path, sim, watches=[packages(account="sin")])
        assert sim.truth.requests.count == 0
    assert (code, out) == (2, "")
    assert 'unknown account "sin" (did you mean "sim"?)' in err


async def test_a_secret_of_a_sink_that_is_not_here_does_not_matter(tmp_path):
    hook = {"type": "webhook", "url": "https://hooks.example.com", "secret_files": ["/nowhere"]}
    async with simulator.running({"jobs": JOBS}) as sim:
        code, out, err = await _doctor(tmp_path, sim, watches=[disks()], sinks={"hook": hook})
    assert (code, err) == (0, "")
    assert "found job EX1" in out


NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}


async def test_without_credentials_it_says_what_was_tried_and_how_to_get_some(tmp_path):
    async with simulator.running({"jobs": JOBS}) as sim:
        config = configure(tmp_path, sim, watches=[packages()])
        code, out, err = await run("doctor", "-c", config, directory=tmp_path, **NO_KEYS)
        assert sim.truth.requests.count == 0
    assert code == 1
    assert 'no AWS credentials were found in the environment, profile "default"' in out
    assert "region us-east-1" in out
    assert err == (
        "to get AWS credentials: set AWS_PROFILE, run `aws sso login`, or give this machine or "
        "pod a role; for one account, accounts.NAME.profile\n"
    )


async def test_a_profile_with_mfa_is_refused_and_nothing_is_read_from_standard_input(tmp_path):
    (tmp_path / "aws").write_text(
        "[profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = x\n"
        "[profile p]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = base\n"
        "mfa_serial = arn:aws:iam::123456789012:mfa/someone\n"
    )
    own = {**NO_KEYS, "AWS_CONFIG_FILE": str(tmp_path / "aws"), "AWS_PROFILE": "p"}
    async with simulator.running({"jobs": JOBS}) as sim:
        config = configure(tmp_path, sim, watches=[packages(discover=False, jobs=["pkg"])])
        code, out, err = await run("doctor", "-c", config, directory=tmp_path, **own)
    assert code == 1
    assert "MfaRequired" in out
    assert len(err.splitlines()) == 1


async def test_without_watches_there_is_nothing_to_ask(tmp_path):
    async with simulator.running({"jobs": []}) as sim:
        code, out, err = await _doctor(tmp_path, sim, watches=[])
    assert (code, out, err) == (0, "There is nothing to check: no watches.\n", "")
