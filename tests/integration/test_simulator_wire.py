"""The bytes on the wire, compared with transcripts of what the services answer."""

import json
import re

import aiohttp
import pytest

from monitor import simulator

TIMEOUT = aiohttp.ClientTimeout(10)
FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
ID = "a1f5a4c6-0adb-11df-a381-155bec6f7c93"
PACKAGE = (
    '{"ClientToken": "tok-1", "CreatedTime": 1748433600.123, "InputConfig": '
    '{"PackageVersionInputConfig": {"S3Location": {"BucketName": "in-bkt", "ObjectKey": '
    '"pkg.zip", "Region": "us-east-1"}}}, "JobId": "ok", "JobTags": [{"ResourceType": "PACKAGE", '
    '"Tags": {"team": "a"}}], "JobType": "NODE_PACKAGE_VERSION", "LastUpdatedTime": 1748433661, '
    '"Output": {"OutputS3Location": {"BucketName": "out-bkt", "ObjectKey": "o/pkg"}, "PackageId": '
    '"package-abc", "PackageVersion": "1.0", "PatchVersion": "deadbeef"}, "OutputConfig": '
    '{"PackageVersionOutputConfig": {"MarkLatest": true, "PackageName": "people", '
    '"PackageVersion": "1.0"}}, "Status": "SUCCEEDED", "StatusMessage": "done", "FutureField": '
    '{"x": 1}}'
)
DISK = f"""<GetStatusResponse xmlns="http://importexport.amazonaws.com/doc/2010-06-01/">
  <GetStatusResult>
    <CreationDate>2015-05-27T18:58:21Z</CreationDate>
    <CurrentManifest>manifestVersion:2.0
trueCryptPassword:password123
    phoneNumber:206-555-1111</CurrentManifest>
    <ErrorCount>0</ErrorCount>
    <JobId>EX1ID</JobId>
    <JobType>Import</JobType>
    <LocationCode>NotReceived</LocationCode>
    <LocationMessage>AWS has not received your device.</LocationMessage>
    <ProgressCode>Pending</ProgressCode>
    <ProgressMessage>The specified job has not started.</ProgressMessage>
    <Signature>ktKDXpdbEXAMPLEyGFJmQO744UHw=</Signature>
    <SignatureFileContents>version:2.0
signature:ktKDXpdbEXAMPLEyGFJmQO744UHw=
</SignatureFileContents>
    <ArtifactList><member><Description>label</Description>\
<URL>https://s3.amazonaws.com/b/k.pdf?Signature=zzz&amp;Expires=1</URL></member></ArtifactList>
  </GetStatusResult>
  <ResponseMetadata>
    <RequestId>{ID}</RequestId>
  </ResponseMetadata>
</GetStatusResponse>
"""
ROWS = (
    '<ListJobsResponse xmlns="http://importexport.amazonaws.com/doc/2010-06-01/"><ListJobsResult>'
    "<Jobs><member><JobId>J3</JobId><CreationDate>2015-05-27T18:58:21Z</CreationDate>"
    "<IsCanceled>false</IsCanceled><JobType>Import</JobType></member><member><JobId>J2</JobId>"
    "<CreationDate>2015-05-27T18:58:21Z</CreationDate><IsCanceled>false</IsCanceled>"
    "<JobType>Import</JobType></member></Jobs><IsTruncated>true</IsTruncated></ListJobsResult>"
    f"<ResponseMetadata><RequestId>{ID}</RequestId></ResponseMetadata></ListJobsResponse>"
)


def problem(code, message, kind="Sender", space="doc/2010-06-01/"):
    return f"""<ErrorResponse xmlns="http://importexport.amazonaws.com/{space}">
  <Error>
    <Type>{kind}</Type>
    <Code>{code}</Code>
    <Message>{message}</Message>
  </Error>
  <RequestId>{ID}</RequestId>
</ErrorResponse>
"""


async def panorama(sim, path="", region=None):
    scope = {}
    if region:
        credential = f"AKIDEXAMPLE/20260528/{region}/panorama/aws4_request"
        rest = f"SignedHeaders=host, Signature={'0' * 64}"
        scope["Authorization"] = f"AWS4-HMAC-SHA256 Credential={credential}, {rest}"
    async with (
        aiohttp.ClientSession(timeout=TIMEOUT) as session,
        session.get(f"{sim.url}/packages/import-jobs{path}", headers=scope) as response,
    ):
        return response.status, response.headers, await response.text()


async def importexport(sim, form):
    async with (
        aiohttp.ClientSession(timeout=TIMEOUT) as session,
        session.post(f"{sim.url}/", data=form, headers=FORM) as response,
    ):
        body = await response.text()
        return response.status, response.headers, re.sub(r"[0-9a-f-]{36}", ID, body)


def get_status(job):
    return f"Action=GetStatus&Version=2010-06-01&JobId={job}"


async def test_a_package_import_job_is_described_byte_for_byte():
    members = json.loads(PACKAGE)
    extra = {"FutureField": members.pop("FutureField")}
    members.pop("JobId")
    job = {"id": "ok", "service": "panorama", "members": members, "extra": extra}
    async with simulator.running({"jobs": [job]}) as sim:
        status, headers, body = await panorama(sim, "/ok")
    assert (status, headers["Content-Type"], body) == (200, "application/json", PACKAGE)
    assert re.fullmatch(r"[0-9a-f-]{36}", headers["x-amzn-RequestId"])
    assert "Server" not in headers


async def test_package_import_jobs_are_listed_byte_for_byte():
    members = {
        "CreatedTime": 1748433600.123,
        "LastUpdatedTime": 1748433661,
        "Status": "SUCCEEDED",
        "StatusMessage": "done",
    }
    job = {"id": "ok", "service": "panorama", "members": members}
    async with simulator.running({"jobs": [job]}) as sim:
        _, _, body = await panorama(sim)
    assert body == (
        '{"PackageImportJobs": [{"CreatedTime": 1748433600.123, "JobId": "ok", "JobType": '
        '"NODE_PACKAGE_VERSION", "LastUpdatedTime": 1748433661, "Status": "SUCCEEDED", '
        '"StatusMessage": "done"}]}'
    )


async def test_a_disk_job_is_told_byte_for_byte():
    label = {
        "Description": "label",
        "URL": "https://s3.amazonaws.com/b/k.pdf?Signature=zzz&Expires=1",
    }
    signature = "ktKDXpdbEXAMPLEyGFJmQO744UHw="
    members = {
        "ArtifactList": [label],
        "CreationDate": "2015-05-27T18:58:21Z",
        "CurrentManifest": "manifestVersion:2.0\ntrueCryptPassword:password123\n"
        "    phoneNumber:206-555-1111",
        "Signature": signature,
        "SignatureFileContents": f"version:2.0\nsignature:{signature}\n",
    }
    job = {"id": "EX1ID", "service": "importexport", "members": members}
    async with simulator.running({"jobs": [job]}) as sim:
        status, headers, body = await importexport(sim, get_status("EX1ID"))
    assert (status, headers["Content-Type"], body) == (200, "text/xml", DISK)
    assert re.fullmatch(r"[0-9a-f-]{36}", headers["x-amzn-RequestId"])


async def test_disk_jobs_are_listed_byte_for_byte():
    members = {"CreationDate": "2015-05-27T18:58:21Z"}
    jobs = [
        {"id": name, "service": "importexport", "members": members} for name in ("J1", "J2", "J3")
    ]
    async with simulator.running({"jobs": jobs}) as sim:
        _, _, body = await importexport(sim, "Action=ListJobs&Version=2010-06-01&MaxJobs=2")
    assert body == ROWS


async def test_disk_errors_are_told_byte_for_byte():
    jobs = [
        {"id": "CAN", "service": "importexport", "steps": [{"error": "canceled"}]},
        {"id": "EXP", "service": "importexport", "steps": [{"error": "expired"}]},
    ]
    async with simulator.running({"jobs": jobs}) as sim:
        await sim.truth.states.wait_for(lambda r: r.error == "expired")
        told = [await importexport(sim, get_status(job)) for job in ("NONE", "CAN", "EXP")]
    assert [(status, headers["Content-Type"]) for status, headers, _ in told] == [
        (400, "text/xml")
    ] * 3
    assert [body for _, _, body in told] == [
        problem(
            "InvalidJobIdException",
            "The JOBID was missing, not found, or not associated with the AWS account.",
        ),
        problem(
            "CanceledJobIdException",
            "The specified job ID has been canceled and is no longer valid.",
        ),
        problem("ExpiredJobIdException", "The specified job ID has expired.", space=""),
    ]


async def test_an_error_that_is_a_state_is_recorded_with_its_number():
    job = {"id": "CAN", "service": "importexport", "steps": [{"error": "canceled"}]}
    async with simulator.running({"jobs": [job]}) as sim:
        await sim.truth.states.wait_for(lambda r: r.error == "canceled")
        await importexport(sim, get_status("CAN"))
        (record,) = sim.truth.requests
    assert (record.error, record.state, record.status) == ("CanceledJobIdException", 2, 400)


async def test_a_missing_package_import_job_is_not_found():
    async with simulator.running() as sim:
        status, headers, body = await panorama(sim, "/none")
    assert (status, headers["x-amzn-ErrorType"]) == (404, "ResourceNotFoundException")
    assert json.loads(body)["ResourceId"] == "none"


@pytest.mark.parametrize("path", ["/a%20b", "/a.b", "/a%2Fb", "/" + "a" * 256])
async def test_an_id_that_cannot_be_is_a_validation_error(path):
    async with simulator.running() as sim:
        status, headers, body = await panorama(sim, path)
    error = "ValidationException:http://internal.amazon.com/coral/com.amazonaws.panorama/"
    assert (status, headers["x-amzn-ErrorType"]) == (400, error)
    told = json.loads(body)
    assert (told["Message"], told["Reason"]) == ("1 validation error", "FIELD_VALIDATION_FAILED")
    assert told["Fields"][0]["Name"] == "JobId"


async def test_operations_that_are_none_are_refused():
    async with simulator.running() as sim:
        status, headers, _ = await panorama(sim, "/a/b")
        assert (status, headers["x-amzn-ErrorType"]) == (404, "UnknownOperationException")
        for form, code in (
            ("Action=CancelJob&Version=2010-06-01", "InvalidAction"),
            ("Action=GetStatus&Version=2011-01-01", "InvalidAction"),
            ("Version=2010-06-01", "MissingAction"),
        ):
            status, _, body = await importexport(sim, form)
            assert status == 400
            assert f"<Code>{code}</Code>" in body


async def test_control_characters_cannot_break_the_xml():
    members = {"LocationMessage": "a\x1b[31m<b>&\r\u0085"}
    job = {"id": "E", "service": "importexport", "members": members}
    async with simulator.running({"jobs": [job]}) as sim:
        _, _, body = await importexport(sim, get_status("E"))
    assert "a\ufffd[31m&lt;b&gt;&amp;&#13;\u0085</LocationMessage>" in body


async def test_jobs_are_seen_in_their_region_only():
    jobs = [
        {"id": "here", "service": "panorama"},
        {"id": "there", "service": "panorama", "region": "eu-west-1"},
    ]
    async with simulator.running({"jobs": jobs}) as sim:
        assert (await panorama(sim, "/here"))[0] == 200
        assert (await panorama(sim, "/there"))[0] == 404
        assert (await panorama(sim, "/there", region="eu-west-1"))[0] == 200
        _, _, body = await panorama(sim, region="eu-west-1")
        assert [row["JobId"] for row in json.loads(body)["PackageImportJobs"]] == ["there"]
        assert [r.region for r in sim.truth.requests][-2:] == ["eu-west-1"] * 2


async def pages_of(sim, size=None):
    pages, query = [], f"?MaxResults={size}" if size else ""
    for _ in range(10):
        _, _, body = await panorama(sim, query)
        page = json.loads(body)
        pages.append([row["JobId"] for row in page["PackageImportJobs"]])
        if "NextToken" not in page:
            break
        token = page["NextToken"].replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
        assert {"%2B", "%2F", "%3D"} <= set(re.findall("%..", token))
        query = f"?MaxResults={size or 25}&NextToken={token}"
    return pages


async def test_package_import_jobs_come_in_pages_newest_first():
    async with simulator.running({"generate": [{"service": "panorama", "count": 60}]}) as sim:
        assert [len(page) for page in await pages_of(sim)] == [25, 25, 10]
        assert [len(page) for page in await pages_of(sim, 20)] == [20, 20, 20]
        found = [job for page in await pages_of(sim, 7) for job in page]
    assert found == [f"pkg-{number:04d}" for number in range(60, 0, -1)]


async def test_a_service_may_give_fewer_rows_than_asked_for():
    scenario = {"page_limit": 2, "generate": [{"service": "panorama", "count": 5}]}
    async with simulator.running(scenario) as sim:
        assert [len(page) for page in await pages_of(sim, 25)] == [2, 2, 1]


@pytest.mark.parametrize("query", ["MaxResults=26", "MaxResults=x", "NextToken=A", "NextToken=A+/"])
async def test_paging_that_cannot_be_is_a_validation_error(query):
    async with simulator.running() as sim:
        status, _, body = await panorama(sim, f"?{query}")
    assert status == 400
    assert json.loads(body)["Fields"][0]["Name"] == query.partition("=")[0]


async def test_a_token_that_was_not_encoded_is_refused():
    async with simulator.running({"generate": [{"service": "panorama", "count": 3}]}) as sim:
        _, _, body = await panorama(sim, "?MaxResults=1")
        status, _, _ = await panorama(sim, f"?NextToken={json.loads(body)['NextToken']}")
    # aiohttp leaves "+" as it is in a query, where it means a space.
    assert status == 400


async def test_a_list_is_recorded_with_the_states_it_showed():
    job = {"id": "p", "service": "panorama", "steps": [{"set": {"Status": "FAILED"}}]}
    async with simulator.running({"jobs": [job, {"id": "q", "service": "panorama"}]}) as sim:
        await sim.truth.states.wait_for(lambda r: r.number == 2)
        await panorama(sim)
        (record,) = sim.truth.requests
    assert record.operation == "ListPackageImportJobs"
    assert record.rows == (("q", 1), ("p", 2))


async def test_disk_jobs_come_in_pages_by_marker():
    scenario = {"generate": [{"service": "importexport", "count": 5}]}
    listing = "Action=ListJobs&Version=2010-06-01"
    async with simulator.running(scenario) as sim:
        _, _, body = await importexport(sim, f"{listing}&MaxJobs=3&Marker=DISK0005")
        assert re.findall("<JobId>(.*?)</JobId>", body) == ["DISK0004", "DISK0003", "DISK0002"]
        assert "<IsTruncated>true</IsTruncated>" in body
        _, _, body = await importexport(sim, f"{listing}&MaxJobs=3&Marker=DISK0002")
        assert re.findall("<JobId>(.*?)</JobId>", body) == ["DISK0001"]
        assert "<IsTruncated>false</IsTruncated>" in body
        for wrong in ("Marker=none", "MaxJobs=1001", "MaxJobs=x"):
            status, _, body = await importexport(sim, f"{listing}&{wrong}")
            assert (status, "InvalidParameterException" in body) == (400, True)


async def test_a_vanished_job_is_denied_and_left_out_until_it_reappears():
    jobs = [{"id": "p", "service": "panorama"}, {"id": "E", "service": "importexport"}]
    async with simulator.running({"jobs": jobs}) as sim:
        for job in ("p", "E"):
            sim.change(job, {"vanish": True})
        assert (await panorama(sim, "/p"))[0] == 404
        assert json.loads((await panorama(sim))[2]) == {"PackageImportJobs": []}
        assert (await importexport(sim, get_status("E")))[0] == 400
        assert [r.state for r in sim.truth.requests if r.job] == [2, 2]
        for job in ("p", "E"):
            sim.change(job, {"reappear": True})
        assert (await panorama(sim, "/p"))[0] == 200
        assert (await importexport(sim, get_status("E")))[0] == 200


async def test_planted_values_of_sensitive_members_are_answered():
    scenario = {
        "defaults": {
            "panorama": {"ClientToken": "canary-1"},
            "importexport": {"CurrentManifest": "trueCryptPassword:canary-2"},
        },
        "generate": [
            {"service": "panorama", "count": 1},
            {"service": "importexport", "count": 1, "members": {"Signature": "canary-3"}},
        ],
    }
    async with simulator.running(scenario) as sim:
        assert "canary-1" in (await panorama(sim, "/pkg-0001"))[2]
        body = (await importexport(sim, get_status("DISK0001")))[2]
    assert "canary-2" in body
    assert "canary-3" in body
