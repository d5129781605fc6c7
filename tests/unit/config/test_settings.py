import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor import config

CANARY = "canary-5ecret"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("3d", 259200), ("1.5h", 5400)],
)
def test_a_duration_is_read_in_seconds(text, seconds):
    assert config.parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "s", "30 s", "-5m", "5M", "1h 30m", "0s", "4000d", "9" * 400 + "d", "1e3s"]
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match=r"duration|0s"):
        config.parse_duration(text)


@given(st.integers(1, 10**11))
def test_a_duration_is_written_as_it_is_read(milliseconds):
    seconds = milliseconds / 1000
    assert config.parse_duration(config.format_duration(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9847", ("127.0.0.1", 9847)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:65535", ("localhost", 65535)),
        (":9847", ("", 9847)),
        ("*:9847", ("", 9847)),
        ("[::]:9847", ("::", 9847)),
    ],
)
def test_an_address_to_listen_on_is_split(text, address):
    assert config.parse_listen(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9847",
        ":",
        "*",
        "**:1",
        ":x",
        ":65536",
        "[]:1",
        "::1:9847",
        "[::1]",
        "[a]:1",
        "h:65536",
        "h:",
        "h:x",
        "a b:1",
        "h:-1",
    ],
)
def test_what_is_no_address_to_listen_on_is_refused(text):
    with pytest.raises(ValueError, match=r"address|65535"):
        config.parse_listen(text)


def secretive() -> config.Settings:
    return config.Settings.model_validate(
        {
            "accounts": {"a": {"endpoint_urls": {"sts": f"http://u:{CANARY}@h:1/{CANARY}"}}},
            "sinks": {
                "ops": {
                    "type": "webhook",
                    "url": f"https://hooks.example.com/{CANARY}?k={CANARY}",
                    "headers": {"X-Key": CANARY},
                }
            },
            "store": f"postgresql://user:{CANARY}@db.example.com/jobs?password={CANARY}",
        }
    )


def test_neither_repr_nor_the_redacted_dump_shows_a_secret():
    settings = secretive()
    assert CANARY not in repr(settings)
    assert CANARY not in str(settings)
    assert CANARY not in json.dumps(settings.redacted())


def test_the_redacted_dump_still_tells_hosts_and_header_names():
    dump = secretive().redacted()
    assert dump["sinks"]["ops"]["url"].startswith("https://hooks.example.com")
    assert dump["store"].startswith("postgresql://db.example.com")
    assert list(dump["sinks"]["ops"]["headers"]) == ["X-Key"]


def test_the_redacted_dump_uses_the_words_of_the_file():
    route = {"sinks": [], "continue": True}
    dump = config.Settings.model_validate({"routes": [route], "retention": "36h"}).redacted()
    assert dump["routes"][0]["continue"] is True
    assert dump["retention"] == "1d12h"
    assert dump["store"] == "sqlite:///var/lib/job-monitor/state.db"


def test_a_key_without_a_value_counts_as_not_given():
    settings = config.Settings.model_validate(
        {"watches": None, "accounts": {"a": None}, "log": {"level": None}}
    )
    assert settings == config.Settings(accounts={"a": config.Account()})


def test_settings_are_equal_wherever_they_were_written():
    here = config.Settings().placed(config.Origin(lambda _path: "here"))
    assert here == config.Settings()
    assert here.place("store") == "here"
    assert not config.Settings().place("store")


def test_settings_do_not_read_the_environment_by_themselves(monkeypatch):
    for name in ("JOB_MONITOR_STORE", "JOB_MONITOR_store", "STORE", "store"):
        monkeypatch.setenv(name, "sqlite:other.db")
    monkeypatch.setenv("JOB_MONITOR_log__level", "debug")
    assert config.Settings() == config.Settings.model_validate({})
    assert config.Settings().store == "sqlite:///var/lib/job-monitor/state.db"
    assert config.Settings.model_validate({"log": {"format": "console"}}).log.level == "info"


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        config.Settings().store = "x"


@pytest.mark.parametrize("discover", [True, False, {"max_age": "3d"}])
def test_discovery_is_a_flag_or_rules(discover):
    watch = config.Watch.model_validate({"name": "a", "type": "t", "discover": discover})
    assert bool(watch.discover) is bool(discover)


@pytest.mark.parametrize(
    ("written", "limits", "shown"),
    [
        ("2h", 7200.0, "2h"),
        ("never", None, "never"),
        (None, None, "never"),
        (
            {"PENDING": "30m", "AtAWS/*": None, "default": "never"},
            {"PENDING": 1800.0, "AtAWS/*": None, "default": None},
            {"PENDING": "30m", "AtAWS/*": "never", "default": "never"},
        ),
    ],
)
def test_when_a_job_is_stuck_is_one_limit_or_one_for_each_state(written, limits, shown):
    watch = config.Watch.model_validate({"name": "w", "type": "t", "stuck_after": written})
    assert watch.stuck_after == limits
    assert watch.model_dump(mode="json")["stuck_after"] == shown


def test_limits_keep_the_order_in_which_they_are_written():
    keys = ["z*", "a*", "m*"]
    limits = dict.fromkeys(keys, "1h")
    watch = config.Watch.model_validate({"name": "w", "type": "t", "stuck_after": limits})
    assert isinstance(watch.stuck_after, dict)
    assert list(watch.stuck_after) == keys
