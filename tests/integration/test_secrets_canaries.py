"""Canaries: whatever must be dropped is planted everywhere, and then looked for everywhere."""

import base64
import json
from contextlib import asynccontextmanager
from itertools import product
from signal import SIGTERM
from typing import Any

import pytest
from aiohttp import web

from monitor import simulator
from monitor.simulator import servers
from tests.acceptance import ledger
from tests.acceptance.program import PATIENCE, configure, fetch, run, running, until, webhook

pytestmark = pytest.mark.timeout(600)

PACKAGE, DISK = "panorama.package-import", "importexport.job"
MANIFEST = "CanaryManifest4711"
SIGNATURE = "CanarySignature4712"
SIGNATURE_FILE = "CanarySignatureFile4713"
ARTIFACT = "CanaryArtifactQuery4714"
CLIENT_TOKEN = "CanaryClientToken4715"
TRACKING = "1ZCANARYTRACKING4716"
MESSAGE = "CanaryMessageQuery4717"
FAULT = "CanaryFaultText4718"
WRONG_ID = "CanaryWrongId4719"
SERVED = (MANIFEST, SIGNATURE, SIGNATURE_FILE, ARTIFACT, CLIENT_TOKEN, TRACKING, MESSAGE, FAULT)
"""Held by answers of AWS."""

HOOK_KEY = "CanaryWebhookKeyOf32Characters42"
HOOK_SECRET = "whsec_" + base64.b64encode(HOOK_KEY.encode()).decode()
HOOK_PATH = "CanaryWebhookPath4720"
HEADER = "CanaryHeaderValue4721"
EXTERNAL_ID = "CanaryExternalId4722"
SECRET_KEY = "CanarySecretKey4723"
SESSION_TOKEN = "CanarySessionToken4724"
ROLE_SECRET_KEY = "CanaryRoleSecretKey4725"
ROLE_TOKEN = "CanaryRoleToken4726"
HELD = (
    *(HOOK_KEY, HOOK_KEY[-14:], HOOK_SECRET, HOOK_SECRET.removeprefix("whsec_"), HOOK_PATH, HEADER),
    *(EXTERNAL_ID, SECRET_KEY, SESSION_TOKEN, ROLE_SECRET_KEY, ROLE_TOKEN),
)
"""Known to the daemon alone, and to those it proves itself to."""

CANARIES = (*SERVED, WRONG_ID, *HELD)
ECHO = f"no: {HOOK_PATH} {HEADER} {HOOK_SECRET} {HOOK_KEY} and some more"

DISK_MEMBERS: dict[str, Any] = {
    "CurrentManifest": f"manifestVersion:2.0\ntrueCryptPassword:{MANIFEST}\n",
    "Signature": SIGNATURE,
    "SignatureFileContents": f"version:2.0\nsignature:{SIGNATURE_FILE}\n",
    "ArtifactList": [
        {"Description": "Label", "URL": f"https://s3.amazonaws.com/x?Signature={ARTIFACT}"}
    ],
    "LocationMessage": f"See https://s3.amazonaws.com/log?X-Amz-Signature={MESSAGE} please.",
    "TrackingNumber": TRACKING,
    "Carrier": "UPS",
}
PACKAGE_MEMBERS: dict[str, Any] = {
    "ClientToken": CLIENT_TOKEN,
    "StatusMessage": f"See https://s3.amazonaws.com/log?X-Amz-Signature={MESSAGE} please.",
}
BROKEN_HTML = f"<html><body>{FAULT} {MANIFEST} {CLIENT_TOKEN}</body></html>"
FAULTS = {
    "malformed": {"kind": "malformed"},
    "cut": {"kind": "cut"},
    "wrong-id": {"kind": "wrong_id", "id": WRONG_ID},
    "bad-time": {"kind": "bad_timestamp", "value": FAULT},
    "page": {"kind": "html", "body": BROKEN_HTML},
    "page-503": {"kind": "html", "status": 503, "body": BROKEN_HTML},
    "page-403": {"kind": "html", "status": 403, "body": BROKEN_HTML},
    "error-500": {"kind": "error", "status": 500, "code": "InternalServerException"},
    "error-400": {"kind": "error", "status": 400, "code": "ValidationException"},
    "error-403": {"kind": "error", "status": 403, "code": "AccessDeniedException"},
    "error-404": {"kind": "error", "status": 404, "code": "ResourceNotFoundException"},
    "error-in-body": {"kind": "error", "status": 500, "code": "Odd", "code_in": "body"},
    "throttled": {"kind": "throttle", "rate": 0.01, "retry_after": 1},
    "hollow": {"kind": "empty_object"},
}


def _scenario():
    return {
        "credentials": {
            "AKIACANARY": {"secret": SECRET_KEY, "session_token": SESSION_TOKEN},
            "ASIACANARY": {"secret": ROLE_SECRET_KEY, "session_token": ROLE_TOKEN},
        },
        "defaults": {"importexport": DISK_MEMBERS, "panorama": PACKAGE_MEMBERS},
        "jobs": [
            {"id": job, "service": service, "extra": {"Newer": FAULT}}
            for service in ("panorama", "importexport")
            for job in ("good", *FAULTS)
        ],
        "faults": [_fault(name, rule) for name, rule in FAULTS.items()],
        "receivers": {
            HOOK_PATH: {
                "secrets": [HOOK_SECRET],
                "faults": [
                    {"kind": "status", "status": 500, "body": ECHO, "times": 1},
                    {"kind": "reset", "times": 1},
                ],
            },
            f"dead/{HOOK_PATH}": {"faults": [{"kind": "status", "status": 400, "body": ECHO}]},
            f"moved/{HOOK_PATH}": {
                "faults": [{"kind": "redirect", "location": f"http://127.0.0.1:1/{HOOK_PATH}"}]
            },
        },
    }


def _fault(name, rule):
    text = {"message": f"{FAULT} {MANIFEST} {CLIENT_TOKEN}"} if rule["kind"] == "error" else {}
    return {"name": name, "match": {"job": name}, **rule, **text}


@asynccontextmanager
async def _sts():
    """Where a role is assumed: the first time it fails, and says too much; yields its requests."""
    asked = []

    async def answer(request):
        asked.append(await request.text())
        if len(asked) == 1:
            error = f"<Code>InternalFailure</Code><Message>{EXTERNAL_ID} {FAULT}</Message>"
            text = f"<ErrorResponse><Error>{error}</Error></ErrorResponse>"
            return web.Response(status=500, text=text, content_type="text/xml")
        return web.Response(text=_ROLE, content_type="text/xml")

    async with servers.serving(servers.application(answer), "127.0.0.1", 0) as url:
        yield url, asked


_ROLE = f"""
<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/r/s</Arn>
<AssumedRoleId>AROAEXAMPLE:s</AssumedRoleId></AssumedRoleUser>
<Credentials><AccessKeyId>ASIACANARY</AccessKeyId><SecretAccessKey>{ROLE_SECRET_KEY}</SecretAccessKey>
<SessionToken>{ROLE_TOKEN}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleResult></AssumeRoleResponse>
"""


def _configure(directory, sim, sts_url):
    secrets = {"hook": HOOK_SECRET, "header": HEADER, "external-id": EXTERNAL_ID}
    for name, secret in secrets.items():
        (directory / f"{name}.secret").write_text(secret + "\n")
    endpoints = {"panorama": sim.url, "importexport": sim.url, "sts": sts_url}
    role = {
        "role_arn": "arn:aws:iam::123456789012:role/job-monitor",
        "external_id_file": f"{directory}/external-id.secret",
    }
    ids = ["good", *FAULTS]
    common = {"jobs": ids, "discover": True, "interval": "500ms"}
    return configure(
        directory,
        sim,
        accounts={
            "sim": {"endpoint_urls": endpoints},
            "assumed": {"endpoint_urls": endpoints, **role},
        },
        watches=[
            {"name": "p", "type": PACKAGE, "account": "assumed", "regions": ["us-east-1"]} | common,
            {"name": "d", "type": DISK, "account": "sim"} | common,
        ],
        sinks={
            "hook": _hook(directory, sim, HOOK_PATH),
            "dead": _hook(directory, sim, f"dead/{HOOK_PATH}"),
            "moved": _hook(directory, sim, f"moved/{HOOK_PATH}"),
            "audit": {"type": "log", "path": f"{directory}/audit.jsonl"},
        },
        routes=[
            {"match": {"kind": kind}, "sinks": ["hook", "dead", "moved", "audit"]}
            for kind in ("job.discovered", "*")
        ],
        log={"level": "debug"},
    )


def _hook(directory, sim, name):
    file = directory / f"{len(name)}.url"
    file.write_text(webhook(sim, name)["url"])
    return webhook(
        sim,
        name,
        url=None,
        url_file=str(file),
        secret_files=[f"{directory}/hook.secret"],
        headers={"X-Plain": HEADER},
        header_files={"Authorization": f"{directory}/header.secret"},
    )


CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIACANARY",
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_SESSION_TOKEN": SESSION_TOKEN,
}


async def test_no_secret_comes_out_anywhere(tmp_path):
    async with simulator.running(_scenario()) as sim, _sts() as (sts_url, assumed):
        config = _configure(tmp_path, sim, sts_url)
        seen = {}
        async with running("run", "-c", config, directory=tmp_path, **CREDENTIALS) as program:
            url = await program.started()
            await until(lambda: _all_faults_struck(sim) and _known(tmp_path), 2 * PATIENCE)
            sim.change("good", service="panorama", Status="FAILED", **PACKAGE_MEMBERS)
            sim.change("good", service="importexport", LocationCode="Returned", **DISK_MEMBERS)
            await until(lambda: _told(tmp_path) and _refused(program))
            for path in ("/metrics", "/", "/-/ready", "/-/healthy", f"/{HOOK_PATH[:4]}"):
                seen[path] = (await fetch(url + path))[2]
            while_running = _files_of(tmp_path)
            assert (await program.stop(SIGTERM))[0] == 0
        seen |= {"stdout": program.out, "stderr": program.err}
        seen |= {f"while running: {name}": text for name, text in while_running.items()}
        seen |= _files_of(tmp_path)
        seen |= await _commands(tmp_path, config)
        seen |= {f"event {n}": r.body for n, r in enumerate(sim.truth.received)}
        _assert_planted(sim, assumed, program)
        assert _found(seen) == []


def _all_faults_struck(sim):
    """Whether every fault befell both services."""
    struck = {(request.service, *request.fault) for request in sim.truth.requests}
    wanted = product(("panorama", "importexport"), FAULTS)
    return struck >= {pair for pair in wanted if pair[1] != "throttled"}


def _known(directory):
    """Whether both good jobs were seen."""
    rows = ledger.transitions(directory / "state.db")
    return sum(row.data["job"]["id"] == "good" for row in rows) == 2


def _told(directory):
    """Whether both good jobs' changes came through."""
    rows = ledger.transitions(directory / "state.db")
    found = ledger.deliveries(directory / "state.db")
    changes = [
        (row.key, row.sequence)
        for row in rows
        if (row.data["job"]["id"], row.data["kind"]) == ("good", "job.state_changed")
    ]
    ends = [found[*change, sink][0] for change in changes for sink in ("hook", "audit")]
    return ends == ["delivered"] * 4


def _refused(program):
    """Whether what must be refused was; a sink that refuses job after job is parked for it."""
    return {line["sink"] for line in program.logged("delivery.dead")} == {"dead", "moved"}


def _files_of(directory):
    """The store with what lies beside it, and the sink's file."""
    names = ("state.db", "state.db-wal", "state.db-shm", "audit.jsonl")
    return {name: (directory / name).read_bytes() for name in names if (directory / name).exists()}


async def _commands(directory, config):
    """What the other commands print, of this configuration."""
    show = ("show", "-c", config, "--account")
    package = (*show, "assumed", PACKAGE, "--region", "us-east-1")
    asked = [
        ("check", "-c", config),
        ("check", "-c", config, "--output", "json"),
        *((*package, "good", "-o", form) for form in ("table", "json")),
        *((*show, "sim", DISK, "good", "-o", form) for form in ("table", "json")),
        *((*package, job) for job in ("malformed", "page-503", "wrong-id")),
        *((*show, "sim", DISK, job) for job in ("malformed", "page-503", "bad-time")),
    ]
    said = {}
    for arguments in asked:
        code, out, err = await run(*arguments, directory=directory, **CREDENTIALS)
        assert code == (0 if {"check", "good", "bad-time"} & set(arguments) else 69), err
        said[" ".join(map(str, arguments))] = out + err
    return said


def _found(seen):
    """(place, canary) of every canary that came out, whatever its case or encoding."""
    return [
        (place, canary)
        for place, content in seen.items()
        for canary in CANARIES
        for form in (canary.encode(), base64.b64encode(canary.encode()).rstrip(b"="))
        if form.lower() in _bytes(content).lower()
    ]


def _bytes(content):
    return content if isinstance(content, bytes) else content.encode()


def _assert_planted(sim, assumed, program):
    """The test cannot pass empty: everything was served, used and told."""
    served = [request for request in sim.truth.requests if request.status == 200]
    shown = {(request.service, request.job) for request in served if request.state is not None}
    assert shown >= {("panorama", "good"), ("importexport", "good")}
    assert {request.access_key for request in served} == {"AKIACANARY", "ASIACANARY"}
    assert all(EXTERNAL_ID in text for text in assumed)
    assert len(assumed) >= 2
    received = list(sim.truth.received)
    assert {record.name for record in received} >= {HOOK_PATH, f"dead/{HOOK_PATH}"}
    assert all(record.headers["Authorization"] == HEADER for record in received)
    assert {record.signature for record in received if record.name == HOOK_PATH} == {"valid"}
    events = {line["event"] for line in program.log}
    assert events >= {"poll.failing", "job.failing", "delivery.failing", "delivery.dead"}
    assert any(TRACKING[-4:].encode() in record.body for record in received)


def test_the_search_finds_what_is_there():
    assert _found({"a": f"x{MANIFEST.upper()}x", "b": "nothing"}) == [("a", MANIFEST)]
    assert _found({"a": base64.b64encode(SIGNATURE.encode())}) == [("a", SIGNATURE)]


BROKEN = {
    "a plain URL": {"sinks": {"ops": {"type": "webhook", "url": f"http://h.example/{HOOK_PATH}"}}},
    "a URL that is none": {"sinks": {"ops": {"type": "webhook", "url": f"//{HOOK_PATH}"}}},
    "a password in a URL": {
        "sinks": {"ops": {"type": "webhook", "url": f"https://me:{HOOK_PATH}@h.example/x"}}
    },
    "a sink without type": {"sinks": {"ops": {"url": f"https://h.example/{HOOK_PATH}"}}},
    "a sink of a wrong type": {
        "sinks": {"ops": {"type": "webhok", "url": f"https://h.example/{HOOK_PATH}"}}
    },
    "a secret in its place's stead": {
        "sinks": {"ops": {"type": "webhook", "url": "https://h.example/", "secret": HOOK_SECRET}}
    },
    "a secret as a file": {
        "sinks": {
            "ops": {"type": "webhook", "url": "https://h.example/", "secret_files": HOOK_SECRET}
        }
    },
    "a header with two lines": {
        "sinks": {
            "ops": {
                "type": "webhook",
                "url": "https://h.example/",
                "headers": {"Authorization": f"{HEADER}\nX: 1"},
            }
        }
    },
    "headers as text": {
        "sinks": {"ops": {"type": "webhook", "url": "https://h.example/", "headers": HEADER}}
    },
    "a password in the store": {"store": f"postgres://me:{SECRET_KEY}@db/x"},
    "a password in an endpoint": {
        "accounts": {"a": {"endpoint_urls": {"panorama": f"https://me:{SECRET_KEY}@h.example"}}}
    },
    "a key that does not exist": {"accounts": {"a": {"secret_access_key": SECRET_KEY}}},
}


@pytest.mark.parametrize(
    ("command", "name"),
    [*(("check", name) for name in BROKEN), ("run", "a plain URL"), ("run", "headers as text")],
)
async def test_a_broken_configuration_is_refused_without_its_secrets(tmp_path, command, name):
    file = tmp_path / "monitor.yaml"
    file.write_text(json.dumps(BROKEN[name], indent=1))
    code, out, err = await run(command, "-c", file, directory=tmp_path)
    assert code == 2, out + err
    assert _found({"out": out, "err": err}) == []
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "text", [f"sinks: {{ops: {{url: {HOOK_PATH}", f"a: b: {HEADER}\n", f"\t{SECRET_KEY}: 1\n"]
)
async def test_what_is_no_yaml_is_refused_without_its_text(tmp_path, text):
    file = tmp_path / "monitor.yaml"
    file.write_text(text)
    code, out, err = await run("check", "-c", file, directory=tmp_path)
    assert code == 2
    assert _found({"out": out, "err": err}) == []


async def test_secret_files_that_are_none_are_refused_without_their_content(tmp_path):
    (tmp_path / "no-key").write_text(f"!!{HOOK_KEY}!!")
    (tmp_path / "two-lines").write_text(f"{HEADER}\n{HEADER}\n")
    sink = {
        "type": "webhook",
        "url": "https://h.example/",
        "secret_files": [f"{tmp_path}/no-key"],
        "header_files": {"Authorization": f"{tmp_path}/two-lines"},
    }
    file = tmp_path / "monitor.yaml"
    file.write_text(json.dumps({"sinks": {"ops": sink}}))
    code, out, err = await run("check", "-c", file, directory=tmp_path)
    assert code == 2
    assert err.count("error: ") == 2
    assert _found({"out": out, "err": err}) == []


async def test_the_environment_is_refused_without_its_values(tmp_path):
    values = {
        "JOB_MONITOR_SINKS__OPS__URL": f"http://h.example/{HOOK_PATH}",
        "JOB_MONITOR_SINKS__OPS__TYPE": "webhook",
        "JOB_MONITOR_SINKS__OPS__HEADERS": f"{{Authorization: [{HEADER}",
        "JOB_MONITOR_STORE": f"mysql://me:{SECRET_KEY}@db/x",
    }
    code, out, err = await run("check", directory=tmp_path, **values)
    assert code == 2
    assert _found({"out": out, "err": err}) == []
