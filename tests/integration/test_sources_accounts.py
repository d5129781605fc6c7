from __future__ import annotations

import asyncio
import re
import shutil
import socket
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import anyio
import botocore
import pytest
from botocore.loaders import Loader

from monitor.aws import service_models
from monitor.aws.clients import Clients, ResponseMeta
from monitor.aws.sessions import Session, client_config
from monitor.config import Account
from monitor.errors import PollError, PollReason
from monitor.model import SourceKey
from monitor.sources.aws_source import AwsSource
from tests.integration.sources_server import (
    IMPORTEXPORT,
    JOB_TYPES,
    MODELS,
    OK_IMPORTEXPORT,
    OK_PANORAMA,
    PANORAMA,
    SECRET_KEY,
    FixedClock,
    aws,
    clean_environment,
    job,
    raw_server,
    xml_error,
)

if TYPE_CHECKING:
    from monitor.interfaces import Source

OK = {PANORAMA: aws(OK_PANORAMA), IMPORTEXPORT: aws(OK_IMPORTEXPORT)}
IDS = {PANORAMA: "ok", IMPORTEXPORT: "EX1ID"}
EXAMPLE_KEY = "AKIAIOSFODNN7EXAMPLE"
ROLE = "arn:aws:iam::123456789012:role/job-monitor"


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch, tmp_path):
    clean_environment(monkeypatch, tmp_path)


def source(name, clients, account="prod", region="us-east-1", **options) -> Source:
    return AwsSource(JOB_TYPES[name], account, region, clients, FixedClock(), **options)


async def describe(name, account, *, region="us-east-1", models=MODELS):
    with anyio.fail_after(90):
        async with Clients({"prod": account}, models=models) as clients:
            return await source(name, clients, region=region).describe(job(name, IDS[name]))


async def refusal(name, account) -> PollError:
    with pytest.raises(PollError) as caught:
        await describe(name, account)
    return caught.value


def header(request, name):
    found = re.search(rf"(?im)^{name}: (.+?)\r$", request.decode())
    return found and found[1]


@pytest.mark.parametrize("name", [PANORAMA, IMPORTEXPORT])
@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_{}"])
async def test_the_endpoint_variables_of_the_sdk_work(monkeypatch, name, variable):
    async with raw_server() as server:
        server.answer = OK[name]
        service = JOB_TYPES[name].service
        monkeypatch.setenv(variable.format(service.upper()), server.url)

        await describe(name, Account())

    assert server.scopes[0][0] == EXAMPLE_KEY


async def test_an_account_endpoint_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    async with raw_server() as server:
        server.answer = OK[PANORAMA]

        await describe(PANORAMA, Account(endpoint_urls={"panorama": server.url}))

    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("name", "region", "scope"),
    [
        (PANORAMA, "eu-west-1", "eu-west-1/panorama/aws4_request"),
        (IMPORTEXPORT, "eu-west-1", "us-east-1/IngestionService/aws4_request"),
        (IMPORTEXPORT, "", "us-east-1/IngestionService/aws4_request"),
    ],
)
async def test_a_request_is_signed_for_its_region(name, region, scope):
    async with raw_server() as server:
        server.answer = OK[name]
        urls = {JOB_TYPES[name].service: server.url}

        await describe(name, Account(endpoint_urls=urls), region=region)

    assert server.scopes == [(EXAMPLE_KEY, scope)]
    assert "aws-job-monitor/" in (header(server.requests[0], "user-agent") or "")


async def test_the_real_endpoints_are_the_defaults(monkeypatch):
    asked = []

    async def getaddrinfo(host, *_args, **_options):
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    for name in (PANORAMA, IMPORTEXPORT):
        assert (await refusal(name, Account())).reason is PollReason.UNAVAILABLE

    assert asked == ["panorama.us-east-1.amazonaws.com", "importexport.amazonaws.com"]


@pytest.mark.parametrize("name", [PANORAMA, IMPORTEXPORT])
@pytest.mark.parametrize("variable", ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"])
async def test_fips_and_dual_stack_are_refused(monkeypatch, name, variable):
    monkeypatch.setenv(variable, "true")

    assert (await refusal(name, Account())).reason is PollReason.CONFIG


@pytest.fixture
def sdk_without_both(tmp_path, monkeypatch):
    """A loader whose SDK data has neither service."""
    data = tmp_path / "data"
    data.mkdir()
    for entry in (Path(botocore.__file__).parent / "data").iterdir():
        if entry.name not in {"panorama", "importexport"}:
            (data / entry.name).symlink_to(entry)
    monkeypatch.setattr(Loader, "BUILTIN_DATA_PATH", str(data))
    shutil.rmtree(tmp_path / ".aws", ignore_errors=True)
    return service_models.loader({})


@pytest.mark.parametrize("name", [PANORAMA, IMPORTEXPORT])
async def test_both_services_work_when_the_sdk_has_lost_them(sdk_without_both, name):
    async with raw_server() as server:
        server.answer = OK[name]
        account = Account(endpoint_urls={JOB_TYPES[name].service: server.url})

        seen = await describe(name, account, models=sdk_without_both)

    assert seen.job.id == IDS[name]


@pytest.mark.parametrize("service", ["panorama", "importexport"])
def test_our_models_win_over_those_of_the_sdk_and_of_the_user(tmp_path, service):
    other = tmp_path / service / "2099-01-01"
    other.mkdir(parents=True)
    (other / "service-2.json").write_text('{"metadata": {}, "operations": {}, "shapes": {}}')

    models = service_models.loader({"AWS_DATA_PATH": str(tmp_path)})

    assert len(service_models.service_model(models, service).operation_names) == 2


async def test_one_client_is_shared_by_all_and_closed_at_the_end():
    async with raw_server() as server:
        server.answer = OK[PANORAMA]
        account = Account(endpoint_urls={"panorama": server.url})
        async with Clients({"prod": account}, models=MODELS) as clients:
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(source(PANORAMA, clients).describe, job(PANORAMA, "ok"))
            (made,) = clients._open.values()
            assert len(made.clients) == 1
        with anyio.fail_after(60):
            await asyncio.gather(*server.serving)

    assert len(server.requests) == 20
    assert clients._open == {}


async def test_making_clients_does_not_hold_up_the_loop():
    """Measured at 2 to 15 ms on an idle core; the bound leaves room for a busy machine."""
    worst = 0.0

    async def watch():
        nonlocal worst
        while True:
            before = time.process_time()  # what other processes take does not count
            await asyncio.sleep(0.001)
            worst = max(worst, time.process_time() - before)

    async with Clients({}, models=MODELS) as clients, anyio.create_task_group() as group:
        group.start_soon(watch)
        for account in ("a", "b"):
            for service in ("panorama", "importexport"):
                connections = clients._connections(account, "us-east-1")
                await clients._made(SourceKey(service, account, "us-east-1"), connections)
        group.cancel_scope.cancel()

    assert worst < 0.25


async def test_a_profile_signs_with_its_own_key(monkeypatch, tmp_path):
    (tmp_path / "credentials").write_text(
        "[vision]\naws_access_key_id = AKIAVISION\naws_secret_access_key = x\n"
    )
    async with raw_server() as server:
        server.answer = OK[PANORAMA]
        urls = {"panorama": server.url}

        await describe(PANORAMA, Account(profile="vision", endpoint_urls=urls))
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.setenv("AWS_PROFILE", "vision")
        await describe(PANORAMA, Account(endpoint_urls=urls))

    assert [key for key, _ in server.scopes] == ["AKIAVISION", "AKIAVISION"]


async def test_a_missing_profile_is_told():
    found = await refusal(PANORAMA, Account(profile="nobody"))

    assert (found.reason, found.code) == (PollReason.AUTH, "ProfileNotFound")
    assert "profile" in found.hint


async def test_credentials_that_come_later_are_found(monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    async with raw_server() as server:
        server.answer = OK[PANORAMA]
        account = Account(endpoint_urls={"panorama": server.url})
        async with Clients({"prod": account}, models=MODELS) as clients:
            with pytest.raises(PollError) as caught:
                await source(PANORAMA, clients).describe(job(PANORAMA, "ok"))
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", EXAMPLE_KEY)
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            await source(PANORAMA, clients).describe(job(PANORAMA, "ok"))

    assert (caught.value.reason, caught.value.code) == (PollReason.AUTH, "NoCredentialsError")


async def test_an_account_that_changes_gets_new_clients_and_leaves_those_of_others_alone():
    async with raw_server() as old, raw_server() as new, raw_server() as other:
        for server in (old, new, other):
            server.answer = OK[PANORAMA]

        def account(server):
            return Account(endpoint_urls={"panorama": server.url})

        before = {"prod": account(old), "test": account(other)}
        async with Clients(before, models=MODELS) as clients:
            for name in before:
                await source(PANORAMA, clients, name).describe(job(PANORAMA, "ok"))
            kept = clients._open["test"]
            assert clients.replace({**before, "prod": account(new)}, {}) == {"prod"}
            await clients.close_idle()
            with anyio.fail_after(90):
                await asyncio.gather(*old.serving)
            for name in before:
                await source(PANORAMA, clients, name).describe(job(PANORAMA, "ok"))
            assert clients._open["test"] is kept

    assert [len(server.requests) for server in (old, new, other)] == [1, 1, 2]


async def test_a_request_under_way_ends_before_the_clients_of_its_old_account_close():
    began, answer = anyio.Event(), anyio.Event()

    async def answer_late(writer):
        began.set()
        await answer.wait()
        writer.write(OK[PANORAMA])
        await writer.drain()

    async with raw_server() as server, anyio.create_task_group() as group:
        server.answer = answer_late
        account = Account(endpoint_urls={"panorama": server.url})
        async with Clients({"prod": account}, models=MODELS) as clients:
            seen = []

            async def poll_once():
                seen.append(await source(PANORAMA, clients).describe(job(PANORAMA, "ok")))

            group.start_soon(poll_once)
            with anyio.fail_after(90):
                await began.wait()
                clients.replace({"prod": account}, {"prod": b"another file"})
                await clients.close_idle()
                assert clients._open == {}
                assert server.serving
                answer.set()
                while not seen:  # noqa: ASYNC110 -- the look is another task
                    await anyio.sleep(0.01)
                await asyncio.gather(*server.serving)
            assert not clients._replaced


async def test_an_assumed_role_signs_with_the_credentials_of_sts(moto, tmp_path):
    (tmp_path / "external-id").write_text("canary-external-id\n")
    async with raw_server() as server:
        server.answer = OK[PANORAMA]
        account = Account(
            role_arn=ROLE,
            external_id_file=str(tmp_path / "external-id"),
            endpoint_urls={"panorama": server.url, "sts": moto},
        )
        async with Clients({"prod": account}, models=MODELS) as clients:
            for region in ("us-east-1", "eu-west-1"):
                await source(PANORAMA, clients, region=region).describe(job(PANORAMA, "ok"))

    keys = {key for key, _ in server.scopes}
    assert len(keys) == 1
    assert keys.pop().startswith("ASIA")
    assert all(header(request, "x-amz-security-token") for request in server.requests)


STS = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<Credentials><AccessKeyId>ASIA{n}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
<SessionToken>t</SessionToken><Expiration>{until}</Expiration></Credentials>
</AssumeRoleResult></AssumeRoleResponse>"""


async def test_sts_is_told_external_id_and_session_name_and_asked_again_before_they_expire(
    tmp_path,
):
    (tmp_path / "external-id").write_text("canary-external-id\n")
    async with raw_server() as sts, raw_server() as server:
        server.answer = OK[PANORAMA]
        account = Account(
            role_arn=ROLE,
            session_name="my-monitor",
            external_id_file=str(tmp_path / "external-id"),
            endpoint_urls={"panorama": server.url, "sts": sts.url},
        )
        async with Clients({"prod": account}, models=MODELS) as clients:
            for number in (1, 2):
                soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 4))
                sts.answer = aws(STS.format(n=number, until=soon))
                await anyio.sleep(number - 0.9)
                await source(PANORAMA, clients).describe(job(PANORAMA, "ok"))

    asked = parse_qs(sts.requests[0].decode().partition("\r\n\r\n")[2])
    assert asked["RoleArn"] == [ROLE]
    assert asked["ExternalId"] == ["canary-external-id"]
    assert asked["RoleSessionName"] == ["my-monitor"]
    assert sts.scopes[0] == (EXAMPLE_KEY, "us-east-1/sts/aws4_request")
    assert server.scopes[-1][0] == "ASIA2"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (xml_error("AccessDenied", "403 Forbidden"), PollReason.AUTH),
        (xml_error("ValidationError"), PollReason.AUTH),
        (xml_error("Throttling"), PollReason.AUTH),
        (xml_error("Nobody", "503 Service Unavailable"), PollReason.AUTH),
    ],
)
async def test_a_role_that_cannot_be_assumed_is_no_matter_of_the_service(answer, reason):
    async with raw_server() as sts:
        sts.answer = answer
        account = Account(role_arn=ROLE, endpoint_urls={"sts": sts.url})

        found = await refusal(PANORAMA, account)

    assert found.reason is reason
    assert "AssumeRole" in found.hint


async def test_an_external_id_that_cannot_be_read_is_told_without_its_path(tmp_path):
    account = Account(role_arn=ROLE, external_id_file=str(tmp_path / "canary-none"))

    found = await refusal(PANORAMA, account)

    assert found.reason is PollReason.AUTH
    assert "canary" not in "".join(traceback.format_exception(found))


async def test_a_web_identity_signs_with_the_credentials_of_sts(monkeypatch, tmp_path, moto):
    (tmp_path / "token").write_text("canary-web-token")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    async with raw_server() as server:
        server.answer = OK[PANORAMA]
        urls = {"panorama": server.url}

        await describe(PANORAMA, Account(endpoint_urls={**urls, "sts": moto}))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto)
        await describe(PANORAMA, Account(endpoint_urls=urls))

    assert all(key.startswith("ASIA") for key, _ in server.scopes)
    assert len(server.scopes) == 2


async def test_the_sdk_itself_never_tries_twice():
    session = Session(Account(), MODELS, client_config(1.0, 2.0, 3), "us-east-1")

    config = session.get_default_client_config()

    assert config.retries == {"mode": "standard", "total_max_attempts": 1}
    assert (config.connect_timeout, config.read_timeout) == (1.0, 2.0)
    assert config.max_pool_connections == 3


async def test_what_came_back_is_noted_per_request():
    async with raw_server() as server:
        server.answer = OK[PANORAMA]
        account = Account(endpoint_urls={"panorama": server.url})
        async with Clients({"prod": account}, models=MODELS) as clients:
            exchange = ResponseMeta()
            key = SourceKey("panorama", "prod", "us-east-1")
            await clients.ask(key, "DescribePackageImportJob", {"JobId": "ok"}, exchange)

    assert exchange.status == 200
