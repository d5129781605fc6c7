"""Each fault, as a raw client sees it."""

import asyncio
import json
import time

import aiohttp
import pytest

from monitor import simulator

JOBS = [{"id": "p", "service": "panorama"}, {"id": "E1", "service": "importexport"}]
FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}


async def raw(sim, request):
    """Send bytes, return all that comes until the server closes or falls silent."""
    host, port = sim.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        async with asyncio.timeout(2):
            return await reader.read()
    finally:
        writer.close()


async def describe(sim, job="p"):
    head = f"GET /packages/import-jobs/{job} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = await raw(sim, head.encode())
    top, _, body = answer.partition(b"\r\n\r\n")
    return top.decode(), body.decode()


async def get_status(sim, job="E1", action="GetStatus", more=""):
    form = f"Action={action}&Version=2010-06-01&JobId={job}{more}"
    head = (
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Type: {FORM['Content-Type']}\r\nContent-Length: {len(form)}\r\n\r\n"
    )
    answer = await raw(sim, (head + form).encode())
    top, _, body = answer.partition(b"\r\n\r\n")
    return top.decode(), body.decode()


def faulty(*faults, **more):
    return simulator.running({"jobs": JOBS, "faults": list(faults), **more})


def last(sim):
    return list(sim.truth.requests)[-1]


@pytest.mark.looptime
async def test_throttle_is_a_token_bucket_and_says_when_to_come_back():
    fault = {"kind": "throttle", "rate": 5, "burst": 2, "retry_after": "1500ms"}
    async with faulty(fault) as sim:
        tops = [(await describe(sim))[0] for _ in range(3)]
        assert [top.split()[1] for top in tops] == ["200", "200", "429"]
        assert "Retry-After: 2" in tops[2]
        assert "x-amzn-ErrorType: ThrottlingException" in tops[2]
        await asyncio.sleep(0.25)
        assert (await describe(sim))[0].split()[1] == "200"
        assert [r.status for r in sim.truth.requests] == [200, 200, 429, 200]


async def test_an_error_can_be_any():
    fault = {
        "kind": "error",
        "status": 500,
        "code": "InternalServerException",
        "message": "boom",
        "retry_after": 7,
    }
    async with faulty(fault) as sim:
        top, body = await describe(sim)
        assert body == '{"Message": "boom"}'
        assert "x-amzn-ErrorType: InternalServerException\r\nRetry-After: 7" in top
        top, body = await get_status(sim)
        assert top.startswith("HTTP/1.1 500 ")
        assert "<Type>Receiver</Type>\n    <Code>InternalServerException</Code>" in body
        assert last(sim).state is None


async def test_an_error_may_be_named_in_the_body_instead_of_a_header():
    fault = {
        "kind": "error",
        "status": 400,
        "code": "ValidationException",
        "message": "x",
        "code_in": "body",
    }
    async with faulty(fault) as sim:
        top, body = await describe(sim)
    assert body == '{"__type": "com.amazonaws.panorama#ValidationException", "message": "x"}'
    assert "ErrorType" not in top


async def test_an_error_may_say_more():
    fields = [{"Name": "JobId", "Message": "not found"}]
    members = {"Reason": "FIELD_VALIDATION_FAILED", "ErrorId": "e-1", "Fields": fields}
    fault = {"kind": "error", "status": 400, "code": "ValidationException", "members": members}
    async with faulty({**fault, "message": "1 validation error"}) as sim:
        top, body = await describe(sim)
    assert body == (
        '{"Message": "1 validation error", "Reason": "FIELD_VALIDATION_FAILED", '
        '"ErrorId": "e-1", "Fields": [{"Name": "JobId", "Message": "not found"}]}'
    )
    coral = "http://internal.amazon.com/coral/com.amazonaws.panorama/"
    assert f"x-amzn-ErrorType: ValidationException:{coral}\r\n" in top


async def test_refusals_are_said_as_each_protocol_does():
    async with faulty({"kind": "denied", "times": 2}, {"kind": "expired_credentials"}) as sim:
        told = [(await describe(sim))[0], (await get_status(sim))[1]]
        assert "x-amzn-ErrorType: AccessDeniedException" in told[0]
        assert "<Code>AccessDenied</Code>" in told[1]
        told = [(await describe(sim))[0], (await get_status(sim))[1]]
        assert "x-amzn-ErrorType: ExpiredTokenException" in told[0]
        assert "<Code>ExpiredTokenException</Code>" in told[1]


@pytest.mark.parametrize("status", [200, 503])
async def test_html_instead_of_an_answer(status):
    async with faulty({"kind": "html", "status": status}) as sim:
        top, body = await describe(sim)
    assert top.startswith(f"HTTP/1.1 {status} ")
    assert "Content-Type: text/html" in top
    assert body.startswith("<html>")


async def test_an_empty_answer():
    async with faulty({"kind": "empty"}) as sim:
        top, body = await describe(sim)
    assert top.startswith("HTTP/1.1 200 ")
    assert "Content-Length: 0" in top
    assert body == ""


async def test_an_answer_without_members():
    async with faulty({"kind": "empty_object"}) as sim:
        assert (await describe(sim))[1] == "{}"
        body = (await get_status(sim))[1]
        assert "<GetStatusResult>\n  </GetStatusResult>" in body
        assert last(sim).state is None


async def test_malformed_answers_are_whole_for_http_and_broken_for_parsers():
    async with faulty({"kind": "malformed"}) as sim:
        top, body = await describe(sim)
        assert f"Content-Length: {len(body)}" in top
        with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
            json.loads(body)
        assert "</GetStatusResponse>" not in (await get_status(sim))[1]
        assert [(r.status, r.state) for r in sim.truth.requests] == [(200, None)] * 2


async def test_a_wrong_id():
    async with faulty({"kind": "wrong_id", "id": "other"}) as sim:
        assert json.loads((await describe(sim))[1])["JobId"] == "other"
        assert "<JobId>other</JobId>" in (await get_status(sim))[1]
        assert last(sim).state is None


async def test_a_bad_timestamp():
    async with faulty({"kind": "bad_timestamp"}) as sim:
        answer = json.loads((await describe(sim))[1])
        assert (answer["CreatedTime"], answer["LastUpdatedTime"]) == ("yesterday", "yesterday")
        assert "<CreationDate>yesterday</CreationDate>" in (await get_status(sim))[1]
        assert (
            "<CreationDate>yesterday</CreationDate>"
            in (await get_status(sim, action="ListJobs"))[1]
        )
        assert last(sim).rows is None


async def test_slow_delays_and_then_goes_on_to_the_next_fault():
    async with faulty({"kind": "slow", "delay": "200ms"}, {"kind": "html"}) as sim:
        begun = time.monotonic()
        _, body = await describe(sim)
        assert time.monotonic() - begun >= 0.2
        assert body.startswith("<html>")
        assert last(sim).fault == ("slow-1", "html-2")


async def test_reset_resets_the_connection():
    async with faulty({"kind": "reset"}) as sim:
        with pytest.raises(ConnectionResetError):
            await describe(sim)
        assert (last(sim).status, last(sim).state) == (None, None)


async def test_cut_closes_in_the_middle_of_the_body():
    async with faulty({"kind": "cut"}) as sim:
        top, body = await describe(sim)
        promised = int(top.lower().split("content-length: ")[1].split()[0])
        assert 0 < len(body) < promised
        assert last(sim).status is None


@pytest.mark.looptime
async def test_hang_never_answers_and_does_not_keep_the_simulator_from_stopping():
    async with asyncio.timeout(10), faulty({"kind": "hang"}) as sim:
        with pytest.raises(TimeoutError):
            await describe(sim)
        client = asyncio.create_task(describe(sim))
        first = last(sim)
        await sim.truth.requests.wait_for(lambda r: r is not first)
        assert last(sim).status is None
    assert await client == ("", "")


@pytest.mark.looptime
async def test_a_client_that_leaves_while_it_waits_is_recorded():
    async with faulty({"kind": "slow", "delay": "1h"}) as sim:
        with pytest.raises(TimeoutError):
            await describe(sim)
        record = await asyncio.wait_for(sim.truth.requests.wait_for(lambda _: True), 5)
    assert (record.status, record.fault) == (None, ("slow-1",))


@pytest.mark.looptime
async def test_stale_answers_what_was_true_before():
    async with faulty() as sim:
        await asyncio.sleep(0.3)
        sim.change("p", Status="FAILED")
        sim.add_job(id="new", service="panorama")
        sim.faults.add({"kind": "stale", "age": "200ms", "name": "old"})
        assert json.loads((await describe(sim))[1])["Status"] == "PENDING"
        assert (last(sim).state, last(sim).fault) == (1, ("old",))
        assert (await describe(sim, "new"))[0].startswith("HTTP/1.1 404 ")
        sim.faults.clear()
        assert json.loads((await describe(sim))[1])["Status"] == "FAILED"
        assert last(sim).state == 2


async def listed(sim, token=None, size=2):
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5)) as session:
        params = {"MaxResults": str(size)} | ({"NextToken": token} if token else {})
        async with session.get(f"{sim.url}/packages/import-jobs", params=params) as response:
            page = await response.json()
    return [row["JobId"] for row in page["PackageImportJobs"]], page.get("NextToken")


THREE = {"generate": [{"service": "panorama", "count": 3}, {"service": "importexport", "count": 3}]}


async def test_an_empty_page_says_there_is_more_and_the_token_goes_on_from_there():
    async with simulator.running(THREE) as sim:
        sim.faults.add({"kind": "torn_page", "form": "empty", "times": 1})
        rows, token = await listed(sim)
        assert rows == []
        rows, token = await listed(sim, token)
        assert rows == ["pkg-0003", "pkg-0002"]
        sim.faults.add({"kind": "torn_page", "form": "empty", "name": "again"})
        tokens = {token}
        for _ in range(5):
            rows, token = await listed(sim, token)
            assert rows == []
            tokens.add(token)
        assert len(tokens) == 6
        _, body = await get_status(sim, action="ListJobs")
        assert "<Jobs></Jobs><IsTruncated>true</IsTruncated>" in body


async def test_a_repeated_token_leads_back_to_its_own_page():
    async with simulator.running(THREE) as sim:
        sim.faults.add({"kind": "torn_page", "form": "repeated"})
        rows, token = await listed(sim)
        assert rows == ["pkg-0003", "pkg-0002"]
        assert await listed(sim, token) == (["pkg-0001"], token)
        assert await listed(sim, token) == (["pkg-0001"], token)
        _, first = await get_status(sim, action="ListJobs")
        _, second = await get_status(sim, action="ListJobs", more="&Marker=DISK0001")
        assert first.split("<ResponseMetadata>")[0] == second.split("<ResponseMetadata>")[0]
        assert "<IsTruncated>true</IsTruncated>" in second


async def test_a_lossy_page_leaves_rows_out():
    async with simulator.running(THREE) as sim:
        sim.faults.add({"kind": "torn_page", "form": "lossy", "omit": "*2"})
        rows, token = await listed(sim)
        assert rows == ["pkg-0003"]
        assert (await listed(sim, token))[0] == ["pkg-0001"]
        assert last(sim).rows == (("pkg-0001", 1),)


async def test_faults_strike_only_what_they_match():
    faults = [
        {"kind": "html", "match": {"service": "importexport"}},
        {"kind": "empty", "match": {"job": "q*"}},
        {"kind": "denied", "match": {"operation": "List*"}},
        {"kind": "denied", "match": {"region": "eu-*"}},
        {"kind": "denied", "match": {"access_key": "AKIA"}},
        {"kind": "torn_page", "form": "empty", "times": 1},
    ]
    async with faulty(*faults) as sim:
        assert (await describe(sim))[0].startswith("HTTP/1.1 200 ")
        assert (await describe(sim, "q1"))[1] == ""
        assert (await get_status(sim))[1].startswith("<html>")
        assert [told["fired"] for told in sim.faults.views()] == [1, 1, 0, 0, 0, 0]


@pytest.mark.looptime
async def test_a_fault_has_its_time():
    async with faulty({"kind": "html", "from": "10s", "until": "20s"}, speed=10) as sim:
        assert not (await describe(sim))[1].startswith("<html>")
        await asyncio.sleep(1.2)
        assert (await describe(sim))[1].startswith("<html>")
        await asyncio.sleep(1)
        assert not (await describe(sim))[1].startswith("<html>")
