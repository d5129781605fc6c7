"""Credentials: fetched apart from polls, once per account, and every failure is told as theirs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import time
from pathlib import Path

import anyio
import pytest
from botocore.credentials import SSOProvider

from monitor.aws import credentials
from monitor.aws.clients import Clients
from monitor.config import Account
from monitor.errors import PollError, PollReason
from monitor.sources.aws_source import AwsSource
from tests.integration.sources_server import (
    JOB_TYPES,
    MODELS,
    OK_PANORAMA,
    PANORAMA,
    FixedClock,
    aws,
    clean_environment,
    job,
    json_error,
    raw_server,
    xml_error,
)
from tests.integration.test_aws_bounds import Endless

ROLE = "arn:aws:iam::123456789012:role/job-monitor"
KEY = {"Version": 1, "AccessKeyId": "ASIAHELPER", "SecretAccessKey": "canary-secret"}
OK = aws(OK_PANORAMA)


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch, tmp_path):
    clean_environment(monkeypatch, tmp_path)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


class Setting:
    """A server of the watched service, and clients of it with a profile."""

    def __init__(self, directory, server):
        self.directory = directory
        self.server = server
        server.answer = OK

    @property
    def account(self):
        return Account(profile="p", endpoint_urls={"panorama": self.server.url})

    def helper(self, script, name="p"):
        """Have a profile's credentials come from a script that notes its process id."""
        file = self.directory / f"{name}.sh"
        file.write_text(f"#!/bin/sh\necho $$ >> {self.directory}/{name}.pids\n{script}\n")
        file.chmod(0o755)
        with (self.directory / "config").open("a") as config:
            config.write(f"[profile {name}]\ncredential_process = {file}\n")

    def pids(self, name="p"):
        file = self.directory / f"{name}.pids"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def clients(self, accounts=None, **options):
        return Clients(accounts or {"prod": self.account}, models=MODELS, **options)


@pytest.fixture
async def setting(tmp_path):
    async with raw_server() as server:
        yield Setting(tmp_path, server)


def describe(clients, account="prod"):
    source = AwsSource(JOB_TYPES[PANORAMA], account, "us-east-1", clients, FixedClock())
    return source.describe(job(PANORAMA, "ok"))


async def refusal(clients, account="prod") -> PollError:
    with pytest.raises(PollError) as caught, anyio.fail_after(90):
        await describe(clients, account)
    found = caught.value
    assert (found.reason, found.of_credentials) == (PollReason.AUTH, True)
    assert "canary" not in str(found)
    assert "\n" not in str(found)
    return found


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def ended(pid):
    """Whether it has ended; init, whose child it is by then, may not have noticed yet."""
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def printed(**changes):
    kept = {name: value for name, value in {**KEY, **changes}.items() if value is not None}
    return f"echo '{json.dumps(kept)}'"


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("echo 'Please log in first'", "JSONDecodeError", "not JSON"),
        ("true", "JSONDecodeError", "not JSON"),
        ("echo '[]'", "AttributeError", "not the JSON object"),
        ("printf '\\377\\376'", "UnicodeDecodeError", "not UTF-8"),
        ("echo canary >&2; exit 3", "CredentialRetrievalError", "it failed"),
        ("printf '\\377' >&2; exit 3", "UnicodeDecodeError", "not UTF-8"),
        (printed(Version=2), "CredentialRetrievalError", "Version 1"),
        (printed(SecretAccessKey=None), "CredentialRetrievalError", "lacks a key"),
        (printed(AccessKeyId=None), "CredentialRetrievalError", "lacks a key"),
        (printed(SecretAccessKey=7), "MissingKey", "secret access key is missing"),
        (printed(AccessKeyId=""), "MissingKey", "access key id is missing"),
        (printed(AccessKeyId="AKIA\\n"), "BadKey", "line break"),
        (printed(SessionToken="canary canary"), "BadKey", "blanks"),
        (printed(Expiration="2099-12-04 00:07:02 +0000 UTC"), "ParserError", "ISO 8601"),
        (printed(Expiration=""), "ParserError", "ISO 8601"),
        (printed(Expiration=4102444800), "TypeError", "run the command by hand"),
        (printed(Expiration="2099-01-01T00:00:00"), "TypeError", "run the command by hand"),
        (printed(Expiration="2020-01-01T00:00:00Z"), "Expired", "clock"),
        ("yes canary", "CredentialRetrievalError", "prints too much"),
    ],
)
async def test_odd_output_of_a_helper_is_told_in_one_line(setting, script, code, said, capfd):
    setting.helper(script)
    async with setting.clients() as clients:
        found = await refusal(clients)

    assert found.code == code
    assert 'credential process of profile "p"' in found.hint
    assert said in found.hint
    assert setting.server.requests == []
    assert capfd.readouterr() == ("", "")


async def test_a_helper_that_is_not_there_is_told(setting, tmp_path):
    (tmp_path / "config").write_text("[profile p]\ncredential_process = /nowhere/helper\n")
    async with setting.clients() as clients:
        found = await refusal(clients)

    assert "cannot be started" in found.hint


async def test_a_helper_runs_once_for_all_who_wait_and_again_before_its_keys_expire(setting):
    setting.helper(f"sleep 0.5; {printed()}")
    async with setting.clients() as clients, anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(describe, clients)

    assert len(setting.server.requests) == 20
    assert len(setting.pids()) == 1


async def test_a_helper_that_hangs_is_told_killed_and_not_started_at_each_poll(setting):
    setting.helper("sleep 1000 & echo $! >> $0.child; wait")
    async with setting.clients(credentials_timeout=4.0, patience=0.3) as clients:
        first = await refusal(clients)
        with anyio.fail_after(60):
            while not setting.pids():  # noqa: ASYNC110 -- another process
                await anyio.sleep(0.01)
        (pid,) = setting.pids()
        assert alive(pid)
        with anyio.fail_after(60):
            while alive(pid):  # noqa: ASYNC110 -- another process
                await anyio.sleep(0.05)
            while (second := await refusal(clients)).code == "CredentialsPending":  # noqa: ASYNC110
                await anyio.sleep(0.05)
        third = await refusal(clients)

    child = int((setting.directory / "p.sh.child").read_text())
    assert first.code == "CredentialsPending"
    assert (second.code, third.code) == ("Timeout", "Timeout")
    assert 'credential process of profile "p": timed out after 4 s' in second.hint
    assert setting.pids() == [pid]
    assert not alive(pid)
    assert ended(child)


async def test_who_gives_up_waiting_does_not_cut_the_helper_short(setting):
    setting.helper(f"sleep 1; {printed()}")
    async with setting.clients() as clients:
        with anyio.move_on_after(0.3):
            await describe(clients)
        await describe(clients)

    assert len(setting.pids()) == 1
    assert [key for key, _ in setting.server.scopes] == ["ASIAHELPER"]


async def test_a_helper_that_hangs_disturbs_no_other_account_and_ends_with_the_clients(setting):
    setting.helper("sleep 1000")
    setting.helper(printed(), "q")
    accounts = {"a": setting.account, "b": setting.account.model_copy(update={"profile": "q"})}
    async with setting.clients(accounts) as clients:
        async with anyio.create_task_group() as group:
            group.start_soon(refusal_of_stopped, clients)
            for _ in range(50):
                await describe(clients, "b")
            (pid,) = setting.pids()
            assert alive(pid)
            group.cancel_scope.cancel()
        assert alive(pid)
        began = time.monotonic()

    assert not alive(pid)
    assert time.monotonic() - began < 30
    assert len(setting.server.requests) == 50


async def refusal_of_stopped(clients):
    await describe(clients, "a")


async def test_the_event_loop_goes_on_while_a_token_file_never_answers(setting, tmp_path):
    os.mkfifo(tmp_path / "token")
    (tmp_path / "config").write_text(
        f"[profile p]\nrole_arn = {ROLE}\nweb_identity_token_file = {tmp_path}/token\n"
    )
    async with setting.clients(credentials_timeout=8.0, patience=3.0) as clients:
        worst = 0.0

        async def watch():
            nonlocal worst
            while True:
                before = time.monotonic()
                await anyio.sleep(0.01)
                worst = max(worst, time.monotonic() - before)

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            found = await refusal(clients)
            group.cancel_scope.cancel()

    assert found.code == "CredentialsPending"
    assert worst < 2.0
    assert "AssumeRoleWithWebIdentity: no credentials after" in found.hint
    # Let the stuck thread go.
    with (tmp_path / "token").open("w"):
        pass


async def test_a_profile_that_wants_an_mfa_code_is_refused_before_anything_is_asked(
    setting, tmp_path, monkeypatch
):
    setting.helper(printed(), "base")
    with (tmp_path / "config").open("a") as config:
        config.write(
            f"[profile inner]\nrole_arn = {ROLE}\nsource_profile = base\n"
            "mfa_serial = arn:aws:iam::123456789012:mfa/someone\n"
            f"[profile p]\nrole_arn = {ROLE}\nsource_profile = inner\n"
        )
    monkeypatch.setattr("getpass.getpass", lambda *_: pytest.fail("asked a person"))
    async with setting.clients() as clients:
        found = await refusal(clients)

    assert found.code == "MfaRequired"
    assert 'profile "inner" asks for an MFA code' in found.hint
    assert "remove mfa_serial" in found.hint
    assert setting.pids("base") == []


STS = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<Credentials><AccessKeyId>ASIASTS</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
<SessionToken>t</SessionToken><Expiration>{until}</Expiration></Credentials>
</AssumeRoleResult></AssumeRoleResponse>"""


@pytest.fixture
def own_keys(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOWN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (aws("<html>canary sign in</html>", content_type="text/html"), None, "STS"),
        (aws(STS.format(until="2020-01-01T00:00:00Z")), "Expired", "clock"),
        (aws(STS.format(until="soon")), "UnreadableAnswerError", "Expiration in the answer of STS"),
        (aws(STS.format(until="9" * 80)), "UnreadableAnswerError", "Expiration in the answer"),
        (aws(STS.format(until="<a/>")), None, "STS"),
        (aws("<a>" * 100_000), None, "the answer of STS cannot be read"),
        (aws("<a>" * 20_000 + "</a>" * 20_000), None, "STS"),
        (aws(f"<a>{'<b/>' * 200_000}</a>"), "AnswerTooLarge", "too many values"),
        (Endless("200 OK"), "AnswerTooLarge", "STS: the response is longer than 8 MiB"),
        (Endless("403 Forbidden"), "AnswerTooLarge", "STS: the response is longer than 8 MiB"),
        (xml_error("AccessDenied", "403 Forbidden"), "AccessDenied", "from AssumeRole"),
        (xml_error("RequestExpired", "400 Bad Request"), "RequestExpired", "clock"),
        (xml_error("Throttling", "400 Bad Request"), "Throttling", "from AssumeRole"),
    ],
)
@pytest.mark.usefixtures("own_keys")
async def test_whatever_sts_says_is_no_word_on_the_service(setting, answer, code, said, capfd):
    async with raw_server() as sts:
        sts.answer = answer
        urls = {"panorama": setting.server.url, "sts": sts.url}
        accounts = {"prod": Account(role_arn=ROLE, endpoint_urls=urls)}
        async with setting.clients(accounts) as clients:
            found = await refusal(clients)

    assert code in {None, found.code}
    assert "AssumeRole of the account's role_arn" in found.hint
    assert said in found.hint
    assert setting.server.requests == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("url", ["http://sts.no-such-name.invalid", "http://127.0.0.1:1"])
@pytest.mark.usefixtures("own_keys")
async def test_sts_that_cannot_be_reached_is_told_as_such(setting, url):
    urls = {"panorama": setting.server.url, "sts": url}
    accounts = {"prod": Account(role_arn=ROLE, endpoint_urls=urls)}
    async with setting.clients(accounts) as clients:
        found = await refusal(clients)

    assert "AssumeRole of the account's role_arn: STS:" in found.hint


@pytest.mark.usefixtures("own_keys")
async def test_sts_that_does_not_answer_has_the_deadline_of_credentials(setting):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        urls = {"sts": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        accounts = {"prod": Account(role_arn=ROLE, endpoint_urls=urls)}
        async with setting.clients(accounts, credentials_timeout=0.5) as clients:
            found = await refusal(clients)

    assert "STS did not answer within 0.5 s" in found.hint


@pytest.mark.parametrize("end", ["\n", "\r\n", " "])
async def test_a_key_that_ends_in_a_line_break_is_refused(setting, monkeypatch, end):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"AKIAOWN{end}")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    accounts = {"prod": setting.account.model_copy(update={"profile": None})}
    async with setting.clients(accounts) as clients:
        found = await refusal(clients)

    assert found.code == "BadKey"
    assert "the environment: the access key id holds" in found.hint


async def test_a_line_break_at_the_end_of_a_web_identity_token_is_none_of_it(
    setting, monkeypatch, tmp_path
):
    (tmp_path / "token").write_text("a.web.token\n")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    async with raw_server() as sts:
        sts.answer = xml_error("InvalidIdentityToken", "400 Bad Request")
        urls = {"panorama": setting.server.url, "sts": sts.url}
        async with setting.clients({"prod": Account(endpoint_urls=urls)}) as clients:
            found = await refusal(clients)
        assert b"WebIdentityToken=a.web.token" in sts.requests[0]
        assert b"a.web.token%0A" not in sts.requests[0]

    assert "AssumeRoleWithWebIdentity: from AssumeRoleWithWebIdentity: refused" in found.hint


async def test_a_line_break_at_the_end_of_a_pod_s_token_file_is_none_of_it(
    setting, monkeypatch, tmp_path
):
    (tmp_path / "token").write_text("pod-token\n")
    async with raw_server() as pod:
        pod.answer = aws(json.dumps({
            "AccessKeyId": "ASIAPOD", "SecretAccessKey": "x", "Token": "t",
            "Expiration": "2099-01-01T00:00:00Z",
        }))  # fmt: skip
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{pod.url}/v1/credentials")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
        accounts = {"prod": setting.account.model_copy(update={"profile": None})}
        async with setting.clients(accounts) as clients:
            await describe(clients)
        assert b"pod-token\r\n" in pod.requests[0]

    assert [key for key, _ in setting.server.scopes] == ["ASIAPOD"]


async def test_a_pod_s_endpoint_that_answers_nonsense_is_told(setting, monkeypatch):
    async with raw_server() as pod:
        pod.answer = aws("canary")
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{pod.url}/v1/credentials")
        accounts = {"prod": setting.account.model_copy(update={"profile": None})}
        async with setting.clients(accounts) as clients:
            found = await refusal(clients)

    assert "container credentials endpoint" in found.hint


async def test_without_credentials_all_that_was_tried_is_told(setting):
    async with setting.clients({"prod": Account()}) as clients:
        found = await refusal(clients)

    assert found.hint == (
        'no AWS credentials were found in the environment, profile "default", container '
        "credentials, IMDS (switched off), region us-east-1; set AWS_PROFILE, run "
        "`aws sso login`, or give this machine or pod a role"
    )


def write_keys(directory, key):
    (directory / "new").write_text(f"[p]\naws_access_key_id = {key}\naws_secret_access_key = x\n")
    (directory / "new").replace(directory / "credentials")


async def test_keys_that_aws_refuses_are_read_again_from_a_changed_file_in_the_same_poll(
    setting, tmp_path
):
    expired = json_error("ExpiredTokenException", "403 Forbidden", '{"message": "canary"}')

    async def refuse_the_old(writer):
        key = setting.server.scopes[-1][0]
        writer.write(expired if key == "AKIAONE" else OK)
        await writer.drain()

    write_keys(tmp_path, "AKIAONE")
    async with setting.clients() as clients:
        await describe(clients)
        setting.server.answer = expired
        with pytest.raises(PollError):
            await describe(clients)
        assert len(setting.server.requests) == 2, "unchanged files are not tried again"
        write_keys(tmp_path, "AKIATWO")
        setting.server.answer = refuse_the_old
        await describe(clients)

    assert [key for key, _ in setting.server.scopes] == ["AKIAONE", "AKIAONE", "AKIAONE", "AKIATWO"]


async def test_a_changed_file_is_noticed_although_the_old_keys_are_still_taken(
    setting, tmp_path, monkeypatch
):
    monkeypatch.setattr(credentials, "RECHECKED", 0.05)
    write_keys(tmp_path, "AKIAONE")
    async with setting.clients() as clients:
        await describe(clients)
        write_keys(tmp_path, "AKIATWO")
        with anyio.fail_after(60):
            while setting.server.scopes[-1][0] != "AKIATWO":
                await anyio.sleep(0.06)
                await describe(clients)


async def test_a_refresh_that_fails_leaves_valid_credentials_in_use(setting, monkeypatch):
    monkeypatch.setattr(credentials, "_EARLY", 1e12)
    monkeypatch.setattr(credentials, "_SHARE", 1.0)
    monkeypatch.setattr(credentials, "LONGEST_PAUSE", 0.1)
    once = printed(Expiration="2099-01-01T00:00:00Z")
    setting.helper(f"[ -e $0.done ] && exit 1; touch $0.done; {once}")
    async with setting.clients() as clients:
        with anyio.fail_after(60):
            while len(setting.pids()) < 3:
                await describe(clients)
                await anyio.sleep(0.05)
        await describe(clients)

    assert {key for key, _ in setting.server.scopes} == {"ASIAHELPER"}


async def test_valid_credentials_cost_a_poll_nothing(setting, tmp_path):
    write_keys(tmp_path, "AKIAONE")
    async with setting.clients() as clients:
        await describe(clients)
        held = clients._open["prod"].keys
        tasks = len(asyncio.all_tasks())
        began = time.process_time()
        for _ in range(10_000):
            await held.get_frozen_credentials()
        took = time.process_time() - began

    assert took / 10_000 < 50e-6
    assert len(asyncio.all_tasks()) <= tasks


@pytest.fixture
def sso(setting, tmp_path, monkeypatch):
    """Return how to make a profile with a valid token of SSO whose endpoint is the given one."""

    def make(url):
        (tmp_path / "config").write_text(
            "[profile p]\nsso_start_url = https://example.com/start\nsso_region = us-east-1\n"
            "sso_account_id = 123456789012\nsso_role_name = r\nregion = us-east-1\n"
        )
        name = hashlib.sha1(b"https://example.com/start", usedforsecurity=False).hexdigest()
        cache = tmp_path / "cache"
        cache.mkdir()
        # The SDK looks up the home directory only once.
        monkeypatch.setattr(SSOProvider, "_SSO_TOKEN_CACHE_DIR", str(cache))
        token = {"accessToken": "canary", "expiresAt": "2099-01-01T00:00:00Z"}
        (cache / f"{name}.json").write_text(json.dumps(token))
        urls = {"panorama": setting.server.url, "sso": url}
        return {"prod": Account(profile="p", endpoint_urls=urls)}

    return make


SSO_KEYS = {"accessKeyId": "ASIASSO", "secretAccessKey": "x", "sessionToken": "t"}
DEEP = f'{{"roleCredentials": {"[" * 100_000}{"]" * 100_000}}}'


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (aws("canary"), None, "what came cannot be read"),
        (aws(DEEP), None, "the answer of SSO cannot be read"),
        (
            aws(json.dumps({"roleCredentials": {**SSO_KEYS, "expiration": "soon"}})),
            "UnreadableAnswerError",
            "expiration in the answer of SSO cannot be read",
        ),
        (aws(json.dumps({"roleCredentials": 7})), None, "SSO"),
        (aws(json.dumps({"roleCredentials": None})), None, "SSO session"),
        (Endless("200 OK"), "AnswerTooLarge", "SSO: the response is longer than 8 MiB"),
        (json_error("ForbiddenException", "403 Forbidden"), "ForbiddenException", "refused"),
    ],
)
async def test_whatever_sso_says_is_no_word_on_the_service(setting, sso, answer, code, said):
    async with raw_server() as server:
        server.answer = answer
        async with setting.clients(sso(server.url)) as clients:
            found = await refusal(clients)
        assert server.requests

    assert code in {None, found.code}
    assert 'the SSO session of profile "p"' in found.hint
    assert "aws sso login --profile p" in found.hint
    assert said in found.hint
    assert setting.server.requests == []


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (aws(STS.format(until="soon").replace("AssumeRole", "AssumeRoleWithWebIdentity")),
         "UnreadableAnswerError", "Expiration in the answer of STS cannot be read"),
        (Endless("200 OK"), "AnswerTooLarge", "STS: the response is longer than 8 MiB"),
        (aws("<a>" * 100_000), None, "the answer of STS cannot be read"),
    ],
)  # fmt: skip
async def test_whatever_sts_says_of_a_web_identity_is_no_word_on_the_service(
    setting, monkeypatch, tmp_path, answer, code, said
):
    (tmp_path / "token").write_text("a.web.token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    async with raw_server() as sts:
        sts.answer = answer
        urls = {"panorama": setting.server.url, "sts": sts.url}
        async with setting.clients({"prod": Account(endpoint_urls=urls)}) as clients:
            found = await refusal(clients)

    assert code in {None, found.code}
    assert "AssumeRoleWithWebIdentity: " in found.hint
    assert said in found.hint


@pytest.fixture(params=["container", "imds"])
def metadata(request, setting, monkeypatch):
    """Return how to have credentials come from a metadata service at the given URL."""

    def use(url):
        if request.param == "container":
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/v1/credentials")
        else:
            monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
            monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        return {"prod": setting.account.model_copy(update={"profile": None})}

    return use


async def test_a_metadata_service_without_end_is_read_no_further_than_a_bound(setting, metadata):
    endless = Endless("200 OK")
    async with raw_server() as server:
        server.answer = endless
        async with setting.clients(metadata(server.url)) as clients:
            found = await refusal(clients)
        with anyio.fail_after(60):
            await endless.closed.wait()

    assert found.code == "AnswerTooLarge"
    assert ": the response is longer than 8 MiB; check " in found.hint
    assert endless.sent < 40 * 1024**2


async def test_a_metadata_service_that_trickles_has_the_deadline_of_credentials(setting, metadata):
    async def trickle(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1\r\n \r\n")
            await writer.drain()
            await anyio.sleep(0.05)

    async with raw_server() as server:
        server.answer = trickle
        async with setting.clients(metadata(server.url), credentials_timeout=0.5) as clients:
            found = await refusal(clients)

    assert found.code == "Timeout"
    assert "timed out after 0.5 s" in found.hint


async def test_a_metadata_service_that_redirects_is_not_followed(setting, metadata):
    async with raw_server() as elsewhere, raw_server() as server:
        elsewhere.answer = aws("{}")
        server.answer = aws("", "302 Found", location=f"{elsewhere.url}/")
        async with setting.clients(metadata(server.url)) as clients:
            await refusal(clients)
        assert server.requests
        assert elsewhere.requests == []


def _pipe(path):
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_pipe, "is not a regular file; name a file that holds the external id"),
        (Path.mkdir, "is not a regular file; name a file that holds the external id"),
        (lambda path: path.write_bytes(b"\xff"), "is not UTF-8; write the external id as text"),
        (lambda _: None, "does not name an existing file"),
    ],
)
@pytest.mark.usefixtures("own_keys")
async def test_an_external_id_that_cannot_be_read_is_told_at_once(setting, tmp_path, make, said):
    file = tmp_path / "external.id"
    make(file)
    urls = {"panorama": setting.server.url}
    account = Account(role_arn=ROLE, external_id_file=str(file), endpoint_urls=urls)
    began = time.monotonic()
    async with setting.clients({"prod": account}) as clients:
        found = await refusal(clients)

    assert time.monotonic() - began < 30
    assert "AssumeRole of the account's role_arn: external_id_file: " in found.hint
    assert said in found.hint
