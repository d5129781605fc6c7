"""The last net under what reads a configuration."""

import os

import anyio
import pytest

from monitor import sinks
from monitor.config import unforeseen, yaml_document
from monitor.errors import ConfigurationError, StoreError
from monitor.web import web_config
from monitor.web.web_config import WebConfigFile
from tests.config_kit import problems_of

CANARY = "canary5ecret"
WATCH = "watches: [{name: w, type: importexport.job, discover: true}]\n"


def _fail(*_args, **_keys):
    raise KeyError(CANARY)


def _exit(*_args, **_keys):
    raise SystemExit(CANARY)


@pytest.mark.parametrize("raised", [KeyError(CANARY), RecursionError(), SystemExit(CANARY)])
async def test_what_nobody_foresaw_is_a_refusal_without_its_words(raised):
    with pytest.raises(ConfigurationError) as caught, unforeseen.refused():
        raise raised
    [problem] = caught.value.problems
    assert type(raised).__name__ in str(problem)
    assert "please report it" in str(problem)
    assert "test_unforeseen.py" in problem.trace
    assert CANARY not in str(problem) + problem.trace + repr(problem)


async def test_what_ends_the_daemon_for_good_reason_still_does():
    with pytest.raises(StoreError), unforeseen.refused():
        raise StoreError("lost")
    with anyio.CancelScope() as scope:
        with unforeseen.refused():
            scope.cancel()
            await anyio.sleep(1)
    assert scope.cancelled_caught


@pytest.mark.parametrize("fail", [_fail, _exit])
@pytest.mark.parametrize(
    ("module", "name", "key"),
    [
        (sinks, "problems", "sinks.a.type"),
        (web_config, "read", "server.web_config_file"),
    ],
)
def test_a_fault_in_a_part_names_file_line_and_key(tmp_path, monkeypatch, module, name, key, fail):
    if fail is _exit and module is not sinks:
        return  # only a plug-in is another's code
    (tmp_path / "web.yml").write_text("basic_auth_users: {}\n")
    file = tmp_path / "a.yaml"
    file.write_text(
        f"{WATCH}sinks: {{a: {{type: log}}}}\nserver: {{web_config_file: {tmp_path}/web.yml}}\n"
    )
    monkeypatch.setattr(module, name, fail)
    [problem] = problems_of([file])
    assert problem.path == key
    assert "please report it" in problem.remedy
    assert CANARY not in str(problem)


async def test_a_changed_web_configuration_never_ends_the_daemon(tmp_path, monkeypatch):
    file = tmp_path / "web.yml"
    file.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
    served = WebConfigFile(file)
    for text in (
        "tls_server_config: {client_auth_type: [x]}",
        "tls_server_config: {min_version: {a: 1}, max_version: [1]}",
        '"\\ud800": 1',
    ):
        file.write_text(text)
        assert not await served.refresh()
        assert served.loaded.headers == {"X-Frame-Options": "deny"}
    file.unlink()
    file.symlink_to(file.name)
    assert not await served.refresh()
    file.unlink()
    os.mkfifo(file)
    with anyio.fail_after(60):
        assert not await served.refresh()
    file.unlink()
    file.write_text("http_server_config: {}\n")
    monkeypatch.setattr(web_config, "Loaded", _fail)
    assert not await served.refresh()
    monkeypatch.undo()
    file.write_text("http_server_config: {headers: {}}\n")
    assert await served.refresh()


async def test_a_web_configuration_is_read_again_after_a_fault_before_the_first_read(
    tmp_path, monkeypatch
):
    file = tmp_path / "web.yml"
    file.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
    served = WebConfigFile(file)
    file.write_text("http_server_config: {}\n")
    monkeypatch.setattr(yaml_document, "read_file", _fail)
    assert not await served.refresh()
    monkeypatch.undo()
    assert not await served.refresh()  # the same content is not tried again
    file.write_text("http_server_config: {headers: {}}\n")
    assert await served.refresh()
    assert served.loaded.headers == {}


def test_the_place_of_a_fault_is_told():
    words = r"F:1: store: checking it failed with KeyError"
    with pytest.raises(ConfigurationError, match=words), unforeseen.refused("F:1", "store", "it"):
        _fail()
