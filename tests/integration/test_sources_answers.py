from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from monitor.errors import PollError, PollReason
from monitor.model import SkippedRow
from tests.integration.sources_server import (
    IMPORTEXPORT,
    JOB_TYPES,
    NOW,
    OK_IMPORTEXPORT,
    OK_PANORAMA,
    PANORAMA,
    aws,
    clean_environment,
    job,
    list_answer,
    raw_server,
    sources,
    status_answer,
)

pytestmark = pytest.mark.usefixtures("both_paths")


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch, tmp_path):
    clean_environment(monkeypatch, tmp_path)


async def describe(name, job_id, answer, **options):
    async with raw_server() as server, sources(server.url, **options) as source:
        server.answer = answer
        with anyio.fail_after(60):
            return await source[name].describe(job(name, job_id))


async def page(name, answer, token=None):
    async with raw_server() as server, sources(server.url) as source:
        server.answer = answer
        with anyio.fail_after(60):
            return await source[name].page(token), server.requests[-1].decode()


async def test_a_panorama_job_is_seen_with_what_may_be_kept_and_nothing_else():
    seen = await describe(PANORAMA, "ok", aws(OK_PANORAMA))

    assert seen.parts == {"Status": "SUCCEEDED"}
    assert seen.fields == {
        "JobType": "NODE_PACKAGE_VERSION",
        "CreatedTime": "2025-05-28T12:00:00.123000Z",
        "LastUpdatedTime": "2025-05-28T12:01:01Z",
        "StatusMessage": "done",
        "PackageName": "people",
        "PackageVersion": "1.0",
        "MarkLatest": True,
        "OutputPackageId": "package-abc",
        "OutputPackageVersion": "1.0",
        "OutputPatchVersion": "deadbeef",
    }
    assert (seen.asked_at, seen.seen_at, seen.reason) == (NOW, NOW, "done")
    assert seen.updated_at == datetime(2025, 5, 28, 12, 1, 1, tzinfo=UTC)
    assert seen.created_at == datetime(2025, 5, 28, 12, 0, 0, 123000, tzinfo=UTC)
    for dropped in ("tok-secret-1", "in-bkt", "pkg.zip", "out-bkt", "team", "FutureField"):
        assert dropped not in repr(seen)


async def test_an_import_export_job_is_seen_with_what_may_be_kept_and_nothing_else():
    seen = await describe(IMPORTEXPORT, "EX1ID", aws(OK_IMPORTEXPORT))

    assert seen.parts == {"LocationCode": "NotReceived", "ProgressCode": "Pending"}
    assert seen.fields == {
        "JobType": "Import",
        "CreationDate": "2015-05-27T18:58:21Z",
        "ErrorCount": 0,
        "LocationMessage": "AWS has not received your device.",
        "ProgressMessage": "The specified job has not started.",
        "LogBucket": "myBucket",
        "LogKey": None,
        "Carrier": None,
        "TrackingNumber": None,
        "ArtifactCount": 1,
        "ArtifactDescriptions": ["label"],
    }
    assert seen.reason == "The specified job has not started."
    assert seen.created_at == datetime(2015, 5, 27, 18, 58, 21, tzinfo=UTC)
    for dropped in ("password123", "Jane", "206-555", "ktKDXpdb", "HmacSHA1", "s3.amazonaws"):
        assert dropped not in repr(seen)


async def test_a_secret_that_comes_back_in_a_message_is_taken_out():
    manifest = "CurrentManifest", "trueCryptPassword:password123\nname: Jane Roe of Anytown"
    seen = await describe(
        IMPORTEXPORT,
        "EX1ID",
        status_answer(
            JobId="EX1ID",
            LocationCode="AtAWS",
            ProgressCode="InProgress",
            LocationMessage="Hello Jane Roe of Anytown, sig ktKDXpdbEXAMPLE, 1Z999AA10123456784",
            ProgressMessage="tried password123 at https://u:p@s3/x.pdf?Signature=zzz",
            LogKey="logs/ktKDXpdbEXAMPLE",
            Signature="ktKDXpdbEXAMPLE",
            TrackingNumber="1Z999AA10123456784",
            **dict([manifest]),
        ),
    )

    assert seen.fields["LocationMessage"] == "Hello [removed], sig [removed], [removed]"
    assert seen.reason == "tried [removed] at https://s3/x.pdf"
    assert seen.fields["LogKey"] == "logs/[removed]"
    assert seen.fields["TrackingNumber"] == "6784"


async def test_the_client_token_that_comes_back_in_a_message_is_taken_out():
    body = {**json.loads(OK_PANORAMA), "StatusMessage": "token tok-secret-1\x1b[31m was seen"}

    seen = await describe(PANORAMA, "ok", aws(json.dumps(body)))

    assert seen.reason == "token [removed][31m was seen"


async def test_the_tracking_number_is_kept_whole_only_where_the_watch_says_so():
    answer = status_answer(
        JobId="EX1ID",
        LocationCode="Returned",
        ProgressCode="Complete",
        TrackingNumber="1Z999AA10123456784",
        Carrier="UPS",
    )

    short = await describe(IMPORTEXPORT, "EX1ID", answer)
    whole = await describe(
        IMPORTEXPORT, "EX1ID", answer, options=frozenset({"include_tracking_number"})
    )

    assert short.fields["TrackingNumber"] == "6784"
    assert whole.fields["TrackingNumber"] == "1Z999AA10123456784"


@pytest.mark.parametrize(
    ("spelling", "state"), [("Started", "InProgress"), ("Success", "Complete"), ("Odd", "Odd")]
)
async def test_two_spellings_of_a_state_are_one_and_an_unknown_one_passes(spelling, state):
    answer = status_answer(JobId="EX1ID", LocationCode="AtAWS", ProgressCode=spelling)

    assert (await describe(IMPORTEXPORT, "EX1ID", answer)).parts["ProgressCode"] == state


@pytest.mark.parametrize(
    ("code", "state"),
    [("CanceledJobIdException", "Canceled"), ("ExpiredJobId", "Expired")],
)
async def test_an_error_that_is_a_state_tells_that_part_alone(code, state):
    error = aws(
        f"<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>", "400 Bad Request"
    )

    seen = await describe(IMPORTEXPORT, "EX1ID", error)

    assert seen.parts == {"LocationCode": None, "ProgressCode": state}
    assert (seen.fields, seen.updated_at) == ({}, None)


STATUS = {"JobId": "EX1ID", "LocationCode": "AtAWS", "ProgressCode": "Pending"}
PANORAMA_TIMES = ("created_at", "CreatedTime")
UNREADABLE: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    (PANORAMA, {"CreatedTime": "yesterday"}, PANORAMA_TIMES),
    (PANORAMA, {"CreatedTime": {}}, PANORAMA_TIMES),
    (PANORAMA, {"CreatedTime": True}, PANORAMA_TIMES),
    (PANORAMA, {"CreatedTime": 1e30}, PANORAMA_TIMES),
    (PANORAMA, {"CreatedTime": -1e18}, PANORAMA_TIMES),
    (PANORAMA, {"CreatedTime": float("nan")}, PANORAMA_TIMES),
    (PANORAMA, {"CreatedTime": "1" * 100_000}, PANORAMA_TIMES),
    (PANORAMA, {"LastUpdatedTime": 2**63}, ("updated_at", "LastUpdatedTime")),
    (PANORAMA, {"OutputConfig": []}, ("PackageName", "PackageVersion", "MarkLatest")),
    (PANORAMA, {"Output": "x"}, ("OutputPackageId", "OutputPackageVersion", "OutputPatchVersion")),
    (PANORAMA, {"StatusMessage": 5}, ("reason", "StatusMessage")),
    (PANORAMA, {"StatusMessage": "x" * (1024 * 1024 + 1)}, ("reason", "StatusMessage")),
    (PANORAMA, {"JobType": ["x"]}, ("JobType",)),
    (IMPORTEXPORT, {"CreationDate": ""}, ("created_at", "CreationDate")),
    (IMPORTEXPORT, {"CreationDate": "yesterday"}, ("created_at", "CreationDate")),
    (IMPORTEXPORT, {"ErrorCount": ""}, ("ErrorCount",)),
    (IMPORTEXPORT, {"ErrorCount": "many"}, ("ErrorCount",)),
    (IMPORTEXPORT, {"ErrorCount": str(2**63)}, ("ErrorCount",)),
]


async def test_what_cannot_be_read_is_left_out_and_named_and_all_else_is_kept():
    async with raw_server() as server, sources(server.url) as source:
        for name, odd, left_out in UNREADABLE:
            if name is PANORAMA:
                server.answer = aws(json.dumps({**json.loads(OK_PANORAMA), **odd}))
                state = {"Status": "SUCCEEDED"}
            else:
                server.answer = status_answer(**STATUS, **odd)
                state = {"LocationCode": "AtAWS", "ProgressCode": "Pending"}

            seen = await source[name].describe(job(name, json_id(name)))

            assert (seen.parts, seen.unreadable) == (state, left_out), odd
            kept = {field.name for field in JOB_TYPES[name].fields} - set(left_out)
            assert seen.fields.keys() == kept


def json_id(name):
    return "ok" if name is PANORAMA else "EX1ID"


async def test_where_a_secret_cannot_be_read_no_text_is_kept(monkeypatch):
    body = {**json.loads(OK_PANORAMA), "ClientToken": ["x" * (1024 * 1024 + 1)]}

    seen = await describe(PANORAMA, "ok", aws(json.dumps(body)))

    assert seen.parts == {"Status": "SUCCEEDED"}
    assert seen.fields.keys() == {"CreatedTime", "LastUpdatedTime", "MarkLatest"}
    assert seen.reason is None


@pytest.mark.parametrize("written", ["1764201600123", "1764201600.123", "1764201600123.0"])
async def test_a_time_may_be_in_milliseconds(written):
    body = OK_PANORAMA.replace("1748433600.123", written)

    seen = await describe(PANORAMA, "ok", aws(body))

    assert seen.created_at == datetime(2025, 11, 27, 0, 0, 0, 123000, tzinfo=UTC)
    assert seen.fields["CreatedTime"] == "2025-11-27T00:00:00.123000Z"
    assert seen.unreadable == ()


NO_ANSWERS = [
    "",
    "{}",
    "[]",
    "null",
    "not json",
    "<html><body>login here</body></html>",
    "<html/>",
]
BAD_PANORAMA = [
    '{"JobId": "other", "Status": "FAILED"}',
    '{"JobId": "EX1ID"}',
    '{"JobId": "EX1ID", "Status": ""}',
    '{"JobId": "EX1ID", "Status": " \\u0000 "}',
    '{"JobId": "EX1ID", "Status": 5}',
    '{"JobId": "EX1ID", "Status": null}',
    '{"JobId": "EX1ID", "Status": {"a": 1}}',
    '{"JobId": 1, "Status": "FAILED"}',
    '{"JobId": "EX1ID", "Status": "FAIL',
]
BAD_IMPORTEXPORT = [
    {**STATUS, "JobId": "other"},
    {**STATUS, "JobId": ""},
    {**STATUS, "ProgressCode": ""},
    {**STATUS, "LocationCode": " "},
    {"JobId": "EX1ID", "ProgressCode": "Pending"},
    {"JobId": "EX1ID", "LocationCode": "AtAWS"},
    {},
]
MALFORMED = [
    *((name, aws(body)) for name in (PANORAMA, IMPORTEXPORT) for body in NO_ANSWERS),
    *((PANORAMA, aws(body)) for body in BAD_PANORAMA),
    *((IMPORTEXPORT, status_answer(**members)) for members in BAD_IMPORTEXPORT),
]


async def test_a_200_that_is_no_proper_answer_is_malformed():
    async with raw_server() as server, sources(server.url) as source:
        for name, answer in MALFORMED:
            server.answer = answer
            with pytest.raises(PollError) as caught:
                await source[name].describe(job(name, "EX1ID"))
            assert caught.value.reason is PollReason.MALFORMED, answer
            assert caught.value.status == 200


async def test_a_200_that_is_no_proper_listing_is_malformed():
    rows = [
        '{"PackageImportJobs": [{"JobId": "a"}]}',
        '{"PackageImportJobs": [{"Status": "FAILED"}]}',
        '{"PackageImportJobs": [{"JobId": "a b", "Status": "FAILED"}]}',
        '{"PackageImportJobs": [null]}',
        '{"PackageImportJobs": [], "NextToken": 5}',
    ]
    answers = [(PANORAMA, body) for body in rows]
    async with raw_server() as server, sources(server.url) as source:
        for name, body in [
            *answers,
            *((n, b) for n in (PANORAMA, IMPORTEXPORT) for b in NO_ANSWERS),
        ]:
            server.answer = aws(body)
            with pytest.raises(PollError) as caught:
                await source[name].page(None)
            assert caught.value.reason is PollReason.MALFORMED, body


BAD_ROWS: list[tuple[Any, str]] = [
    ({"JobId": None}, "BadRow"),
    ({"JobId": 5}, "BadRow"),
    ({"JobId": "a b"}, "BadRow"),
    ({"JobId": "x" * 256}, "BadRow"),
    ({"Status": None}, "NoState"),
    ({"Status": ""}, "NoState"),
    ({"Status": ["x"]}, "NoState"),
    (None, "BadRow"),
    ("text", "BadRow"),
]


@pytest.mark.parametrize(("odd", "code"), BAD_ROWS)
async def test_a_bad_row_costs_itself_alone(odd, code):
    rows: list[Any] = [{"JobId": f"j{number}", "Status": "PENDING"} for number in range(25)]
    rows[7] = {**rows[7], **odd} if isinstance(odd, dict) else odd

    found, _ = await page(
        PANORAMA, aws(json.dumps({"PackageImportJobs": rows, "NextToken": "more"}))
    )

    assert [row.job.id for row in found.rows] == [f"j{n}" for n in range(25) if n != 7]
    assert (found.skipped, found.next_token) == ((SkippedRow(7, code),), "more")


@pytest.mark.parametrize(("token", "more"), [("page-2", None), ("page-2", "x"), (None, "x")])
async def test_an_odd_row_that_stands_alone_on_its_page_hides_no_other_page(token, more):
    body = {"PackageImportJobs": [{"JobId": None, "Status": "FAILED"}], "NextToken": more}
    async with raw_server() as server, sources(server.url) as source:
        server.answer = aws(json.dumps(body))
        found = await source[PANORAMA].page(token)
    assert (found.rows, found.skipped, found.next_token) == ((), (SkippedRow(0, "BadRow"),), more)


@pytest.mark.parametrize("time", [1e30, "yesterday", {}, 10**40])
async def test_a_row_with_an_impossible_time_is_taken_without_it(time):
    rows = [{"JobId": f"j{number}", "Status": "PENDING"} for number in range(3)]
    rows[0]["LastUpdatedTime"] = time

    found, _ = await page(PANORAMA, aws(json.dumps({"PackageImportJobs": rows})))

    assert [(row.job.id, row.updated_at, row.unreadable) for row in found.rows] == [
        ("j0", None, ("updated_at",)),
        ("j1", None, ()),
        ("j2", None, ()),
    ]
    assert found.skipped == ()


async def test_a_listing_goes_on_where_its_last_row_is_a_bad_one():
    answer = list_answer([("J3", False), ("", True)], "<IsTruncated>true</IsTruncated>")

    found, _ = await page(IMPORTEXPORT, answer)

    assert [row.job.id for row in found.rows] == ["J3"]
    assert (found.next_token, found.torn, len(found.skipped)) == ("J3", False, 1)


async def test_a_page_of_too_many_rows_is_malformed():
    rows = [{"JobId": "same", "Status": "PENDING"}] * 20_000
    with pytest.raises(PollError) as caught:
        await page(PANORAMA, aws(json.dumps({"PackageImportJobs": rows})))
    assert (caught.value.reason, caught.value.code) == (PollReason.MALFORMED, "TooManyRows")


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Kolkata"])
def time_zone(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# 05:30 and 06:30 UTC on 2025-11-02 are both 01:30 in New York.
@pytest.mark.parametrize("epoch", [1762061400, 1762065000, 1748433600])
async def test_times_are_utc_whatever_the_time_zone_of_the_machine(time_zone, epoch):
    body = {**json.loads(OK_PANORAMA), "LastUpdatedTime": epoch}

    seen = await describe(PANORAMA, "ok", aws(json.dumps(body)))

    assert seen.updated_at == datetime.fromtimestamp(epoch, UTC)
    assert seen.updated_at.tzinfo is UTC
    assert seen.fields["LastUpdatedTime"].endswith("Z")


@pytest.mark.parametrize(
    "written", ["2015-05-27T20:58:21+02:00", "1432753101", "2015-05-27T18:58:21Z"]
)
async def test_every_spelling_of_a_time_is_the_same_moment(time_zone, written):
    seen = await describe(IMPORTEXPORT, "EX1ID", status_answer(**STATUS, CreationDate=written))

    assert seen.created_at == datetime(2015, 5, 27, 18, 58, 21, tzinfo=UTC)
    assert seen.fields["CreationDate"] == "2015-05-27T18:58:21Z"


async def test_a_panorama_page_carries_states_and_a_token():
    body = {
        "PackageImportJobs": [
            {
                "JobId": "a",
                "Status": "PENDING",
                "LastUpdatedTime": 1748433661,
                "StatusMessage": "x",
            },
            {"JobId": "b", "Status": "NEW_ONE", "CreatedTime": 1748433600},
        ],
        "NextToken": "tok+/=",
    }

    found, request = await page(PANORAMA, aws(json.dumps(body)), "previous+/=")

    assert [(row.job.id, row.parts, row.fields) for row in found.rows] == [
        ("a", {"Status": "PENDING"}, {}),
        ("b", {"Status": "NEW_ONE"}, {}),
    ]
    assert found.rows[0].job.key == f"{PANORAMA}/default/us-east-1/a"
    assert (found.rows[0].reason, found.next_token, found.torn) == ("x", "tok+/=", False)
    assert request.startswith(
        "GET /packages/import-jobs?MaxResults=25&NextToken=previous%2B%2F%3D HTTP"
    )


async def test_the_first_page_is_asked_without_a_token_and_the_last_has_none():
    found, request = await page(PANORAMA, aws('{"PackageImportJobs": [], "NextToken": ""}'))

    assert (found.rows, found.next_token, found.torn) == ((), None, False)
    assert request.startswith("GET /packages/import-jobs?MaxResults=25 HTTP")


async def test_an_import_export_page_tells_only_what_is_canceled():
    answer = list_answer([("J3", False), ("J2", True)], "<IsTruncated>true</IsTruncated>")

    found, request = await page(IMPORTEXPORT, answer, "J4")

    assert [row.parts for row in found.rows] == [
        {"LocationCode": None, "ProgressCode": None},
        {"LocationCode": None, "ProgressCode": "Canceled"},
    ]
    assert found.rows[0].created_at == datetime(2015, 5, 27, 18, 58, 21, tzinfo=UTC)
    assert (found.next_token, found.torn) == ("J2", False)
    assert request.endswith("Action=ListJobs&Version=2010-06-01&MaxJobs=1000&Marker=J4")


@pytest.mark.parametrize(
    ("rows", "more", "torn"),
    [
        ([], "<IsTruncated>true</IsTruncated>", True),
        ([], "<IsTruncated>false</IsTruncated>", False),
        ([("J1", False)], "<IsTruncated>false</IsTruncated>", False),
        ([("J1", False)], "", False),
    ],
)
async def test_a_page_that_says_more_without_saying_where_is_torn(rows, more, torn):
    found, _ = await page(IMPORTEXPORT, list_answer(rows, more))

    assert (found.torn, found.next_token, len(found.rows)) == (torn, None, len(rows))
