"""What the sinks in AWS make of real bytes that moto never answers."""

import json
import re
from contextlib import asynccontextmanager
from urllib.parse import parse_qs

import anyio
import pytest

from monitor import config, sinks
from monitor.aws.clients import Clients
from monitor.errors import PartialSendError, SendError, SendReason
from tests.contracts.sink_kit import event
from tests.integration.sources_server import (
    MODELS,
    SECRET_KEY,
    aws,
    clean_environment,
    http,
    raw_server,
)

OWNER = "us-east-1:123456789012"
SETTINGS: dict[str, config.SnsSink | config.SqsSink | config.EventBridgeSink] = {
    "sns": config.SnsSink(type="sns", topic_arn=f"arn:aws:sns:{OWNER}:jobs"),
    "sqs": config.SqsSink(type="sqs", queue_arn=f"arn:aws:sqs:{OWNER}:jobs"),
    "eventbridge": config.EventBridgeSink(
        type="eventbridge", event_bus_arn=f"arn:aws:events:{OWNER}:event-bus/jobs"
    ),
}
NAMESPACE = 'xmlns="http://sns.amazonaws.com/doc/2010-03-31/"'
BATCH = [event(job_id=f"job-{n}") for n in range(4)]


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch, tmp_path):
    clean_environment(monkeypatch, tmp_path)


@asynccontextmanager
async def opened(kind, url):
    account = config.Account(endpoint_urls=dict.fromkeys(("sns", "sqs", "events"), url))
    async with (
        Clients({"default": account}, models=MODELS) as clients,
        sinks.open_sink("sink", SETTINGS[kind], clients=clients) as sink,
    ):
        yield sink


async def failure_of(kind, answer, *batch):
    async with raw_server() as server:
        server.answer = answer
        async with opened(kind, server.url) as sink:
            with anyio.fail_after(60), pytest.raises((SendError, PartialSendError)) as caught:
                await sink.send(list(batch or BATCH[:1]))
    assert len(server.requests) == 1, "it asks once"
    return caught.value


def xml_error(code, status="400 Bad Request", message="no", **headers):
    return aws(
        f"<ErrorResponse {NAMESPACE}><Error><Type>Sender</Type><Code>{code}</Code>"
        f"<Message>{message}</Message></Error><RequestId>r-1</RequestId></ErrorResponse>",
        status,
        content_type="text/xml",
        **headers,
    )


def published(taken, failed):
    """A real answer of SNS: the numbers of the entries taken, and the codes of the others."""
    good = "".join(f"<member><Id>{n}</Id><MessageId>m-{n}</MessageId></member>" for n in taken)
    bad = "".join(
        f"<member><Id>{n}</Id><Code>{code}</Code><Message>told {SECRET_KEY}</Message>"
        f"<SenderFault>{str(sender).lower()}</SenderFault></member>"
        for n, (code, sender) in failed.items()
    )
    return aws(
        f"<PublishBatchResponse {NAMESPACE}><PublishBatchResult><Successful>{good}</Successful>"
        f"<Failed>{bad}</Failed></PublishBatchResult><ResponseMetadata><RequestId>r-1</RequestId>"
        "</ResponseMetadata></PublishBatchResponse>",
        content_type="text/xml",
    )


def queued(taken, failed):
    good = [{"Id": str(n), "MessageId": f"m-{n}", "MD5OfMessageBody": ""} for n in taken]
    bad = [
        {"Id": str(n), "Code": code, "SenderFault": sender, "Message": SECRET_KEY}
        for n, (code, sender) in failed.items()
    ]
    body = json.dumps({"Successful": good, "Failed": bad})
    return aws(body, content_type="application/x-amz-json-1.0")


def put(taken, failed):
    entries = [
        {"EventId": f"e-{n}"}
        if n in taken
        else {"ErrorCode": failed[n][0], "ErrorMessage": SECRET_KEY}
        for n in sorted({*taken, *failed})
    ]
    body = json.dumps({"FailedEntryCount": len(failed), "Entries": entries})
    return aws(body, content_type="application/x-amz-json-1.1")


ANSWERS = {"sns": published, "sqs": queued, "eventbridge": put}


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize(
    ("code", "sender", "reason"),
    [
        ("Throttling", True, SendReason.RATE_LIMITED),
        ("ThrottlingException", False, SendReason.RATE_LIMITED),
        ("InternalError", False, SendReason.SERVER_ERROR),
        ("InternalFailure", False, SendReason.SERVER_ERROR),
        ("NeverHeardOf", False, SendReason.SERVER_ERROR),
        ("InvalidParameter", True, SendReason.REJECTED),
        ("KMSAccessDenied", True, SendReason.DENIED),
        ("KMSThrottlingException", True, SendReason.RATE_LIMITED),
        ("AccessDeniedException", True, SendReason.DENIED),
        ("AuthorizationError", True, SendReason.DENIED),
    ],
)
async def test_each_entry_of_a_batch_has_its_own_outcome(kind, code, sender, reason):
    answer = ANSWERS[kind]([0, 1, 3], {2: (code, sender)})

    failure = await failure_of(kind, answer, *BATCH)

    assert isinstance(failure, PartialSendError)
    (only,) = failure.failures.values()
    assert list(failure.failures) == [BATCH[2]["id"]]
    assert (only.reason, code in only.message) == (reason, True)
    assert SECRET_KEY not in only.message


@pytest.mark.parametrize("kind", SETTINGS)
async def test_an_entry_that_the_answer_leaves_out_was_not_taken(kind):
    failure = await failure_of(kind, ANSWERS[kind]([0, 1, 2], {}), *BATCH)

    assert isinstance(failure, PartialSendError)
    assert [(event_id, each.reason) for event_id, each in failure.failures.items()] == [
        (BATCH[3]["id"], SendReason.SERVER_ERROR)
    ]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (xml_error("Throttled", "429 Too Many Requests"), SendReason.RATE_LIMITED),
        (xml_error("Throttling"), SendReason.RATE_LIMITED),
        (xml_error("NotFound", "404 Not Found"), SendReason.GONE),
        (xml_error("AuthorizationError", "403 Forbidden"), SendReason.DENIED),
        (xml_error("InvalidClientTokenId", "403 Forbidden"), SendReason.DENIED),
        (xml_error("ExpiredToken", "403 Forbidden"), SendReason.DENIED),
        (xml_error("KMSDisabled"), SendReason.DENIED),
        (xml_error("KMSNotFound"), SendReason.DENIED),
        (xml_error("KMSThrottling"), SendReason.RATE_LIMITED),
        (xml_error("InvalidParameter"), SendReason.REJECTED),
        (xml_error("InternalError", "500 Internal Server Error"), SendReason.SERVER_ERROR),
        (xml_error("ServiceUnavailable", "503 Service Unavailable"), SendReason.SERVER_ERROR),
        (http("<html>", "502 Bad Gateway"), SendReason.SERVER_ERROR),
        (http("<html>", "404 Not Found"), SendReason.CONNECTION),
        (http("", "307 Temporary Redirect", location="http://127.0.0.1:1/"), SendReason.CONNECTION),
        (http("no XML"), SendReason.SERVER_ERROR),
    ],
)
async def test_a_refused_request_says_why(answer, reason):
    failure = await failure_of("sns", answer)

    assert failure.reason is reason
    assert failure.reason.retryable is (reason is not SendReason.REJECTED)


@pytest.mark.parametrize(
    ("kind", "code", "reason"),
    [
        ("sqs", "AWS.SimpleQueueService.NonExistentQueue", SendReason.GONE),
        ("sqs", "QueueDoesNotExist", SendReason.GONE),
        ("sqs", "RequestThrottled", SendReason.RATE_LIMITED),
        ("sqs", "KmsAccessDenied", SendReason.DENIED),
        ("sqs", "InvalidMessageContents", SendReason.REJECTED),
        ("eventbridge", "ResourceNotFoundException", SendReason.GONE),
        ("eventbridge", "AccessDeniedException", SendReason.DENIED),
        ("eventbridge", "ThrottlingException", SendReason.RATE_LIMITED),
        ("eventbridge", "ValidationException", SendReason.REJECTED),
        ("eventbridge", "InternalException", SendReason.SERVER_ERROR),
    ],
)
async def test_a_refused_json_request_says_why(kind, code, reason):
    status = "500 Internal Server Error" if "Internal" in code else "400 Bad Request"

    query = {"x_amzn_query_error": f"{code};Sender"} if code.startswith("AWS.") else {}
    body = json.dumps({"__type": f"com.amazonaws.any#{code}", "message": "no"})

    failure = await failure_of(kind, aws(body, status, **query))

    assert (failure.reason, code in failure.message) == (reason, True)


async def test_retry_after_is_honoured():
    answer = xml_error("Throttling", "429 Too Many Requests", retry_after="7")

    assert (await failure_of("sns", answer)).retry_after == 7


async def test_a_batch_that_is_refused_as_a_whole_kills_no_event_that_may_be_good():
    failure = await failure_of("sns", xml_error("InvalidParameter"), *BATCH)

    assert isinstance(failure, SendError)
    assert failure.reason is SendReason.SERVER_ERROR


async def test_no_words_of_an_answer_are_repeated():
    answer = xml_error("AuthorizationError", "403 Forbidden", f"user {SECRET_KEY} may not")

    failure = await failure_of("sns", answer)

    assert SECRET_KEY not in repr(failure) + str(failure)
    assert failure.__context__ is None
    assert failure.message == f"arn:aws:sns:{OWNER}:jobs: AuthorizationError"


async def test_a_closed_port_is_a_connection_error():
    async with opened("sns", "http://127.0.0.1:1") as sink:
        with pytest.raises(SendError) as caught:
            await sink.send(BATCH[:1])

    assert caught.value.reason is SendReason.CONNECTION


async def test_without_credentials_it_is_denied_until_there_are_some(monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    async with raw_server() as server:
        server.answer = published([0], {})
        async with opened("sns", server.url) as sink:
            with pytest.raises(SendError) as caught:
                await sink.send(BATCH[:1])
            assert caught.value.reason is SendReason.DENIED
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            await sink.send(BATCH[:1])

    assert len(server.requests) == 1


async def test_a_request_goes_to_the_region_of_the_topic_with_ids_of_its_own():
    topic = "arn:aws:sns:eu-west-1:123456789012:jobs.fifo"
    settings = config.SnsSink(type="sns", topic_arn=topic)
    async with raw_server() as server:
        server.answer = published([0, 1], {})
        account = config.Account(endpoint_urls={"sns": server.url})
        async with (
            Clients({"default": account}, models=MODELS) as clients,
            sinks.open_sink("sink", settings, clients=clients) as sink,
        ):
            await sink.send(BATCH[:2])

    assert server.scopes[0][1] == "eu-west-1/sns/aws4_request"
    sent = parse_qs(server.requests[0].partition(b"\r\n\r\n")[2].decode())
    assert sent["Action"] == ["PublishBatch"]
    names = "PublishBatchRequestEntries.member.{}.MessageDeduplicationId"
    assert [sent[names.format(n)] for n in (1, 2)] == [[each["id"]] for each in BATCH[:2]]
    assert not re.search(rb"(?i)retry.*attempt=[2-9]", server.requests[0])


async def test_what_was_taken_before_the_deadline_is_not_sent_again():
    batch = [event(job_id=f"job-{n}", reason="x" * 60_000) for n in range(5)]
    settings = SETTINGS["sns"].model_copy(update={"timeout": 0.8})
    async with raw_server() as server:

        async def first_only(writer):
            if len(server.requests) > 1:
                await server.hang(writer)
            else:
                writer.write(published([0, 1, 2, 3], {}))

        server.answer = first_only
        account = config.Account(endpoint_urls={"sns": server.url})
        async with (
            Clients({"default": account}, models=MODELS) as clients,
            sinks.open_sink("sink", settings, clients=clients) as sink,
        ):
            with pytest.raises(PartialSendError) as caught:
                await sink.send(batch)

    assert list(caught.value.failures) == [batch[4]["id"]]
    assert caught.value.failures[batch[4]["id"]].reason is SendReason.TIMEOUT
