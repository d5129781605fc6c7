"""What a configuration comes to, and what of it may change while the monitor runs."""

import os

import pytest

from monitor import config, sinks
from monitor.config import file_digest
from monitor.runtime import loaded_config

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "key").write_text(SECRET)
    (tmp_path / "id").write_text("external")
    hook = {
        "type": "webhook",
        "url": "https://hooks.example.com/x",
        "secret_files": [str(tmp_path / "key")],
    }
    return config.Settings.model_validate(
        {
            "accounts": {
                "prod": {
                    "role_arn": "arn:aws:iam::123456789012:role/job-monitor",
                    "external_id_file": str(tmp_path / "id"),
                },
                "test": {},
            },
            "watches": [{"name": "w", "type": "importexport.job", "jobs": ["EX1ID"]}],
            "sinks": {"hook": hook, "audit": {"type": "log", "path": str(tmp_path / "log")}},
            "store": f"sqlite://{tmp_path}/state.db",
        }
    )


def test_what_was_prepared_twice_is_the_same(settings):
    assert loaded_config.prepare(settings) == loaded_config.prepare(settings)


def test_a_secret_of_another_content_makes_its_sink_another_and_no_other(settings, tmp_path):
    before = loaded_config.prepare(settings)
    (tmp_path / "key").write_text(SECRET[:-4] + "MTEx")
    (tmp_path / "log").write_text("what a sink writes is none of its settings")
    after = loaded_config.prepare(settings)
    assert before.sinks["hook"] != after.sinks["hook"]
    assert before.sinks["audit"] == after.sinks["audit"]
    assert SECRET.encode() not in before.sinks["hook"].contents


def test_another_external_id_makes_its_account_another_and_no_other(settings, tmp_path):
    before = loaded_config.prepare(settings)
    (tmp_path / "id").write_text("another")
    after = loaded_config.prepare(settings)
    changed = {name for name in after.accounts if after.accounts[name] != before.accounts[name]}
    assert changed == {"prod"}


def test_other_credentials_of_the_aws_files_make_every_account_another(
    settings, tmp_path, monkeypatch
):
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    before = loaded_config.prepare(settings).accounts
    (tmp_path / "credentials").write_text("[default]")
    after = loaded_config.prepare(settings).accounts
    assert all(before[name] != after[name] for name in ("default", "prod", "test"))


@pytest.mark.parametrize("key", ["store", "server"])
def test_what_needs_a_restart_is_told_by_its_key(settings, key):
    other = {"store": "sqlite:///other.db", "server": config.ServerSettings(listen="127.0.0.1:1")}
    found = list(loaded_config.lasting(settings, settings.model_copy(update={key: other[key]})))
    (problem,) = found
    assert problem.path == {"store": "store", "server": "server.listen"}[key]
    assert problem.remedy == "restart to change it"
    assert list(loaded_config.lasting(settings, settings.model_copy())) == []


def test_every_file_that_a_webhook_reads_counts():
    hook = config.WebhookSink.model_validate(
        {
            "type": "webhook",
            "url": "https://hooks.example.com/x",
            "secret_files": ["1"],
            "header_files": {"X": "2"},
            "template": "3",
            "template_secrets": {"a": "4"},
            "tls": {"ca_file": "5", "cert_file": "6", "key_file": "7"},
            "proxy_auth_file": "8",
        }
    )
    assert sorted(sinks.files(hook)) == list("12345678")


def test_files_of_a_plug_in_are_known_by_their_keys():
    plugin = config.PluginSink.model_validate(
        {"type": "x", "key_file": "1", "more_files": ["2", "3"], "name": "4", "n_file": 5}
    )
    assert sorted(sinks.files(plugin)) == ["1", "2", "3"]


def test_a_digest_changes_with_content_coming_and_going_and_no_pipe_is_waited_for(tmp_path):
    file, pipe = tmp_path / "a", tmp_path / "pipe"
    os.mkfifo(pipe)
    found = []
    for change in (lambda: None, lambda: file.write_text(""), lambda: file.write_text("x")):
        change()
        found += [file_digest.digest([file, pipe])] * 2
    file.unlink()
    assert len(set(found)) == 3
    assert file_digest.digest([file, pipe]) == found[0]
    assert file_digest.digest(["a\0b"]) == file_digest.digest(["a\0b"])
