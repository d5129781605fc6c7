"""Messages about AWS: its answers, its listings, and the credentials to ask it with."""

import json
from dataclasses import replace

import anyio
import anyio.to_thread
import pytest

from monitor.aws import response_body
from monitor.aws.clients import Clients
from monitor.config import Account
from monitor.errors import PollError, PollReason
from monitor.model import Page, SkippedRow
from monitor.sources.aws_source import AwsSource
from tests.builders import Answer, at, running
from tests.golden.kit import command, in_virtual_time, logged, no_aws
from tests.golden.registry import message
from tests.integration.sources_server import (
    JOB_TYPES,
    MODELS,
    OK_PANORAMA,
    PANORAMA,
    FixedClock,
    aws,
    job,
    raw_server,
    sources,
    xml_error,
)
from tests.polling import polling

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "x"}
ROLE = "arn:aws:iam::123456789012:role/r"


def virtual(title):
    """Register a producer that runs in virtual time."""

    def register(function):
        message(title)(lambda directory: in_virtual_time(function, directory))
        return function

    return register


# 2, 17, 24, 26


@virtual("2 a describe that keeps failing where the listing shows the end (poll.failing)")
async def failing_describe(directory):
    async with polling(directory) as bench:
        bench.source.answers["job-1"] = PollError(PollReason.TRANSIENT, "HTTP 503", status=503)
        bench.follow("job-1")
        with logged() as lines:
            async with running(bench.poller):
                await anyio.sleep(60)
                bench.source.answers["job-1"] = "RUNNING"
                await anyio.sleep(600)
        return lines("poll.failing", "poll.recovered")


@virtual("17 AWS is away for six minutes, and back")
async def outage(directory):
    async with polling(directory) as bench:
        bench.source.answers["job-1"] = "RUNNING"
        bench.follow("job-1")
        with logged() as lines:
            async with running(bench.poller):
                await anyio.sleep(60)
                bench.source.trouble = PollError(PollReason.TRANSIENT, "ECONNREFUSED")
                await anyio.sleep(360)
                bench.source.trouble = None
                await anyio.sleep(600)
        events = [event["data"] for _, event in await bench.store.transitions()]
        ledger = [f"event: {each['kind']} {each['reason'] or ''}".strip() for each in events[1:]]
        return [*lines("poll.failing", "poll.recovered"), *ledger]


@virtual("24 an update time in the future")
async def misdated(directory):
    async with polling(directory) as bench:
        bench.source.answers["job-1"] = Answer("RUNNING", updated_at=at(86400))
        bench.follow("job-1")
        with logged() as lines:
            async with running(bench.poller):
                await anyio.sleep(90)
        return lines("job.misdated")


@virtual("26 a later page of a listing keeps failing, and is back")
async def incomplete(directory):
    async with polling(directory) as bench:

        def listing(token):
            if token:
                raise PollError(PollReason.TRANSIENT, "InternalServerException", status=500)
            return Page((), "2")

        bench.source.listing = listing
        bench.discover(interval=30.0)
        with logged() as lines:
            async with running(bench.poller):
                await anyio.sleep(600)
                bench.source.listing = bench.source.slice
                await anyio.sleep(600)
        return lines("listing.failing", "listing.recovered", "listing.torn")


@virtual("26 a row that cannot be read, and a field")
async def odd_row(directory):
    async with polling(directory) as bench:
        bench.source.answers["job-1"] = "RUNNING"

        def listing(token):
            page = bench.source.slice(token)
            rows = tuple(replace(row, unreadable=("StatusMessage",)) for row in page.rows)
            return replace(page, rows=rows, skipped=(SkippedRow(3, "NoId"),))

        bench.source.listing = listing
        bench.discover()
        with logged() as lines:
            async with running(bench.poller):
                await anyio.sleep(90)
        return lines("row.skipped", "field.skipped")


# 4, 5, 18


async def refused(answer, name=PANORAMA, *, lists=False):
    async with raw_server() as server, sources(server.url) as source:
        server.answer = answer
        with pytest.raises(PollError) as caught:
            await (source[name].page(None) if lists else source[name].describe(job(name, "ok")))
        return str(caught.value)


@message("18 an answer that is too long, has too many values or rows, or is nested too deep")
async def too_large(directory):
    rows = "{}," * 10_000
    many = "[]," * 200_000
    answers = {
        '{"a": "' + "x" * response_body.LARGEST + '"}': False,
        f'{{"PackageImportJobs": [{many}null]}}': True,
        f'{{"PackageImportJobs": [{rows}{{}}]}}': True,
        '{"JobId": ' + "[" * 50_000: False,
    }
    with no_aws(directory, **KEYS):
        return [await refused(aws(body), lists=lists) for body, lists in answers.items()]


@message("18 an answer that cannot be true")
async def untrue(directory):
    answers = [
        OK_PANORAMA.replace('"JobId": "ok"', '"JobId": "other"'),
        OK_PANORAMA.replace('"Status": "SUCCEEDED", ', ""),
        "<html>Sign in</html>",
        "[]",
    ]
    with no_aws(directory, **KEYS):
        return [await refused(aws(body)) for body in answers]


# 12, 29


async def failing_credentials(account, *, sts=None, patience=10.0, within=1.0):
    """Return what a poll says with such an account; ``sts`` is what STS answers."""
    async with raw_server() as server, raw_server() as tokens:
        server.answer = aws(OK_PANORAMA)
        tokens.answer = tokens.hang if sts is SILENCE else sts or b""
        urls = {"panorama": server.url, **({"sts": tokens.url} if sts else {})}
        made = Account(**account, endpoint_urls=urls)
        options = {"models": MODELS, "credentials_timeout": within, "patience": patience}
        async with Clients({"default": made}, **options) as clients:
            source = AwsSource(JOB_TYPES[PANORAMA], "default", "us-east-1", clients, FixedClock())
            with pytest.raises(PollError) as caught:
                await source.describe(job(PANORAMA, "ok"))
        assert server.requests == []
        await anyio.sleep(0.05)  # the loop hears of the end of a helper that was killed
        return str(caught.value)


SILENCE = b"silence"
HELPER = {"Version": 1, "AccessKeyId": "ASIAHELPER", "SecretAccessKey": "x"}


def printed(**changes):
    return f"echo '{json.dumps({**HELPER, **changes})}'"


HELPERS = {
    "fails": "exit 3",
    "prints no JSON": "echo Please log in",
    "prints a list": "echo '[]'",
    "prints too much": "yes",
    "prints no secret key": printed(SecretAccessKey=""),
    "prints a key with a blank": printed(AccessKeyId="AKIA "),
    "prints an odd Expiration": printed(Expiration="soon"),
    "prints keys that have expired": printed(Expiration="2020-01-01T00:00:00Z"),
    "hangs": "sleep 100",
}


def _register_helper(name, script):
    @message(f"29 a credential process that {name}")
    async def produce(directory):
        file = directory / "helper.sh"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        (directory / "config").write_text(f"[profile p]\ncredential_process = {file}\n")
        with no_aws(directory):
            return await failing_credentials({"profile": "p"})


for _name, _script in HELPERS.items():
    _register_helper(_name, _script)


@message("29 a credential process that is not there")
async def no_helper(directory):
    (directory / "config").write_text("[profile p]\ncredential_process = /nowhere/helper\n")
    with no_aws(directory):
        return await failing_credentials({"profile": "p"})


@message("29 a poll that does not wait for slow credentials")
async def pending(directory):
    (directory / "config").write_text("[profile p]\ncredential_process = sleep 100\n")
    with no_aws(directory):
        return await failing_credentials({"profile": "p"}, patience=1.0, within=60.0)


@message("29 a profile that asks for an MFA code")
async def mfa(directory):
    (directory / "config").write_text(
        "[profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = x\n"
        f"[profile p]\nrole_arn = {ROLE}\nsource_profile = base\n"
        "mfa_serial = arn:aws:iam::123456789012:mfa/someone\n"
    )
    with no_aws(directory):
        return await failing_credentials({"profile": "p"})


@message("29 a profile that does not exist")
async def no_profile(directory):
    with no_aws(directory):
        return await failing_credentials({"profile": "prd"})


@message("29 a key with a line break in the environment")
async def line_break(directory):
    with no_aws(directory, AWS_ACCESS_KEY_ID="AKIAOWN\n", AWS_SECRET_ACCESS_KEY="x"):
        return await failing_credentials({})


STS = {
    "refuses": xml_error("AccessDenied", "403 Forbidden"),
    "throttles": xml_error("Throttling", "400 Bad Request"),
    "says that the clock is wrong": xml_error("RequestExpired", "400 Bad Request"),
    "answers with a page": aws("<html>Sign in</html>", content_type="text/html"),
}


def _register_sts(name, answer):
    @message(f"29 STS {name}")
    async def produce(directory):
        with no_aws(directory, **KEYS):
            return await failing_credentials({"role_arn": ROLE}, sts=answer)


for _name, _answer in STS.items():
    _register_sts(_name, _answer)


@message("29 STS does not answer")
async def silent_sts(directory):
    with no_aws(directory, **KEYS):
        return await failing_credentials({"role_arn": ROLE}, sts=SILENCE, within=0.5)


@message("29 a web identity that STS refuses")
async def web_identity(directory):
    (directory / "token").write_text("a.web.token")
    token = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(directory / "token"), "AWS_ROLE_ARN": ROLE}
    with no_aws(directory, **token):
        return await failing_credentials({}, sts=xml_error("InvalidIdentityToken"))


@message("29 the credentials endpoint of a pod answers nonsense")
async def pod(directory):
    async with raw_server() as endpoint:
        endpoint.answer = aws("nonsense")
        with no_aws(directory, AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{endpoint.url}/v1"):
            return await failing_credentials({}, within=10.0)


@message("12 doctor without credentials (exit code 1)")
def doctor(directory):
    file = directory / "monitor.yaml"
    file.write_text("watches: [{name: w, type: importexport.job, jobs: [EX1ID]}]\n")
    with no_aws(directory):
        lines = command("doctor", "-c", file)
    return [line.rpartition(" ")[0] if line.startswith("default ") else line for line in lines]


@message("12 show without credentials (exit code 69)")
def show(directory):
    with no_aws(directory):
        return command("show", PANORAMA, "job-1", "--region", "eu-west-1")


@message("12 show without a region")
def no_region(directory):
    with no_aws(directory):
        return command("show", PANORAMA, "job-1")


@message("4 show of a job whose condition meets null (exit code 2)")
async def null_condition(directory):
    types = directory / "types"
    types.mkdir()
    (types / "own.yaml").write_text(
        "name: own.package\nservice: panorama\n"
        "describe: {operation: DescribePackageImportJob, params: {JobId: '{id}'}}\n"
        "state: Status\n"
        "phases: {running: [PENDING], succeeded: [SUCCEEDED], failed: [FAILED]}\n"
        "missing: [{code: ValidationException, where: \"contains(Message, 'not found')\"}]\n"
    )
    async with raw_server() as server:
        server.answer = aws("{}", "400 Bad Request", x_amzn_errortype="ValidationException")
        file = directory / "monitor.yaml"
        file.write_text(
            f"job_types_dir: {types}\n"
            f"accounts: {{a: {{endpoint_urls: {{panorama: '{server.url}'}}}}}}\n"
        )
        with no_aws(directory, **KEYS):
            arguments = ("show", "own.package", "nope", "-c", file, "--account", "a")
            return await anyio.to_thread.run_sync(
                lambda: command(*arguments, "--region", "us-east-1")
            )
