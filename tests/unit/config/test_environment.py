import pytest

from monitor import config
from monitor.errors import ConfigurationError

FILE = """
watches:
  - {name: one, type: t, interval: 30s}
  - {name: two, type: t, labels: {team: a}}
accounts: {a: {role_arn: r}}
sinks:
  ops-team: {type: webhook, url: "https://example.com"}
log: {level: info}
"""


def load(tmp_path, text=FILE, **environ):
    path = tmp_path / "a.yaml"
    path.write_text(text, "utf-8")
    return config.load([path], {f"JOB_MONITOR_{key}": text for key, text in environ.items()})


def refused(tmp_path, **environ):
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, **environ)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("name", "text", "read", "expected"),
    [
        ("STORE", "sqlite:x.db", lambda s: s.store, "sqlite:x.db"),
        ("LOG__LEVEL", "debug", lambda s: s.log.level, "debug"),
        ("log__level", "debug", lambda s: s.log.level, "debug"),
        ("RETENTION", "1d", lambda s: s.retention, 86400),
        ("WATCHES__0__INTERVAL", "1m", lambda s: s.watches[0].interval, 60),
        ("WATCHES__1__NAME", "012", lambda s: s.watches[1].name, "012"),
        ("WATCHES__1__DISCOVER", "true", lambda s: s.watches[1].discover, True),
        (
            "WATCHES__1__DISCOVER",
            '{"include": ["a*"]}',
            lambda s: s.watches[1].discover.include,
            ["a*"],
        ),
        ("WATCHES__1__REGIONS", "[eu-west-1]", lambda s: s.watches[1].regions, ["eu-west-1"]),
        (
            "WATCHES__1__LABELS__COST",
            "5",
            lambda s: s.watches[1].labels,
            {"team": "a", "cost": "5"},
        ),
        (
            "WATCHES__2",
            "{name: three, type: t}",
            lambda s: [w.name for w in s.watches],
            ["one", "two", "three"],
        ),
        ("WATCHES", "[{name: x, type: t}]", lambda s: [w.name for w in s.watches], ["x"]),
        ("SINKS__OPS_TEAM__TIMEOUT", "3s", lambda s: s.sinks["ops-team"].timeout, 3),
        ("SINKS__OPS_TEAM__ALLOW_HTTP", "true", lambda s: s.sinks["ops-team"].allow_http, True),
        ("SINKS__OPS_TEAM__CONCURRENCY", "9", lambda s: s.sinks["ops-team"].concurrency, 9),
        ("SINKS__AUDIT", "{type: log}", lambda s: set(s.sinks), {"ops-team", "audit"}),
        ("SINKS__AUDIT__TYPE", "log", lambda s: set(s.sinks), {"ops-team", "audit"}),
        ("SINKS__auditLog__TYPE", "log", lambda s: set(s.sinks), {"ops-team", "auditLog"}),
        ("SINKS", "{audit: {type: log}}", lambda s: set(s.sinks), {"ops-team", "audit"}),
        (
            "ACCOUNTS",
            "{a: {profile: p}}",
            lambda s: (s.accounts["a"].role_arn, s.accounts["a"].profile),
            ("r", "p"),
        ),
        ("QUOTAS__PANORAMA__RATE", "1.5", lambda s: s.quotas["panorama"].rate, 1.5),
        ("ROUTES", "[{sinks: [a], continue: true}]", lambda s: s.routes[0].continue_, True),
        ("ROUTES__0__SINKS", "[a]", lambda s: s.routes[0].sinks, ["a"]),
        ("STORE", "", lambda s: s.store, "sqlite:///var/lib/job-monitor/state.db"),
        ("SINKS", "null", lambda s: s.sinks, {}),
        ("SINKS", "{}", lambda s: set(s.sinks), {"ops-team"}),
        (
            "WATCHES__0",
            "{interval: 5s}",
            lambda s: (s.watches[0].name, s.watches[0].interval),
            ("one", 5),
        ),
        ("WATCHES__0__JOBS__0", "a", lambda s: s.watches[0].jobs, ["a"]),
        (
            "SINKS__OPS_TEAM__SECRET_FILES__0",
            "f",
            lambda s: s.sinks["ops-team"].secret_files,
            ["f"],
        ),
        ("Store", "sqlite:x.db", lambda s: s.store, "sqlite:x.db"),
    ],
)
def test_a_variable_sets_a_key_and_wins_over_the_file(tmp_path, name, text, read, expected):
    assert read(load(tmp_path, **{name: text})) == expected


def test_variables_of_outer_keys_come_before_those_of_inner_ones(tmp_path):
    settings = load(
        tmp_path, WATCHES__0__INTERVAL="9s", WATCHES="[{name: x, type: t, interval: 1s}]"
    )
    assert settings.watches[0].interval == 9


def test_a_variable_may_name_what_another_variable_gives(tmp_path):
    settings = load(
        tmp_path,
        WATCHES="[{name: x, type: t}, {name: y, type: t}, {name: z, type: t}]",
        WATCHES__2__INTERVAL="9s",
        WATCHES__3="{name: a, type: t}",
        WATCHES__3__JOBS__0="b",
        SINKS="{Audit-Log: {type: log}}",
        SINKS__AUDIT_LOG__TIMEOUT="3s",
    )
    assert [watch.interval for watch in settings.watches] == [None, None, 9, None]
    assert settings.watches[3].jobs == ["b"]
    assert set(settings.sinks) == {"ops-team", "Audit-Log"}
    assert settings.sinks["Audit-Log"].timeout == 3


def test_an_item_of_a_list_may_replace_a_single_value(tmp_path):
    text = "routes: [{sinks: [], match: {phase: failed}}]"
    settings = load(tmp_path, text, ROUTES__0__MATCH__PHASE__0="expired")
    assert settings.routes[0].match.phase == ["expired"]


def test_a_value_that_is_replaced_is_not_looked_into(tmp_path):
    told = refused(tmp_path, ROUTES="{a: b}", WATCHES="{}", WATCHES__0__LABELS__A="b")
    assert [line.split(": ")[1] for line in told] == [
        "routes",
        "watches[0].name",
        "watches[0].type",
    ]


def test_a_value_of_several_layers_is_placed_where_it_was_begun(tmp_path):
    settings = load(
        tmp_path,
        SINKS__AUDIT__TYPE="log",
        SINKS__OPS_TEAM__TIMEOUT="3s",
        WATCHES__2="{name: three, type: t}",
        ACCOUNTS="{a: {profile: p}}",
        ROUTES="[]",
    )
    file = str(tmp_path / "a.yaml")
    places = {
        ("sinks",): f"{file}:6",
        ("sinks", "ops-team"): f"{file}:7",
        ("sinks", "ops-team", "url"): f"{file}:7",
        ("sinks", "ops-team", "timeout"): "environment JOB_MONITOR_SINKS__OPS_TEAM__TIMEOUT",
        ("sinks", "audit"): "environment JOB_MONITOR_SINKS__AUDIT__TYPE",
        ("sinks", "audit", "path"): "environment JOB_MONITOR_SINKS__AUDIT__TYPE",
        ("watches",): f"{file}:2",
        ("watches", 1): f"{file}:4",
        ("watches", 2, "name"): "environment JOB_MONITOR_WATCHES__2",
        ("accounts", "a", "role_arn"): f"{file}:5",
        ("accounts", "a", "profile"): "environment JOB_MONITOR_ACCOUNTS",
        ("routes", 0): "environment JOB_MONITOR_ROUTES",
    }
    assert {path: settings.place(*path) for path in places} == places


def test_what_a_variable_replaces_is_no_place_any_more(tmp_path):
    told = refused(tmp_path, WATCHES="[{name: x}]", LOG__FORMAT="x")
    assert told == [
        'environment JOB_MONITOR_LOG__FORMAT: log.format: unknown value "x" (known: console, json)',
        "environment JOB_MONITOR_WATCHES: watches[0].type: is missing (add `type: …`)",
    ]


def test_a_value_of_the_environment_is_placed_there(tmp_path):
    settings = load(tmp_path, WATCHES__0__INTERVAL="9s")
    assert (
        settings.place("watches", 0, "interval") == "environment JOB_MONITOR_WATCHES__0__INTERVAL"
    )
    assert settings.place("watches", 0, "name").endswith("a.yaml:3")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CONFIG", "/etc/x"),
        ("SERVICE_HOST", "10.0.0.1"),
        ("SERVICE_PORT", "9847"),
        ("SERVICE_PORT_METRICS", "9847"),
        ("PORT", "tcp://10.0.0.1:9847"),
        ("PORT_9847_TCP", "tcp://10.0.0.1:9847"),
        ("PORT_9847_TCP_PROTO", "tcp"),
        ("PORT_9847_TCP_PORT", "9847"),
        ("PORT_9847_TCP_ADDR", "fd00::1"),
        ("METRICS_SERVICE_HOST", "10.0.0.1"),
        ("METRICS_PORT_9847_TCP", "tcp://10.0.0.1:9847"),
    ],
)
def test_what_kubernetes_and_the_command_line_set_is_no_setting(tmp_path, name, text):
    assert load(tmp_path, **{name: text}) == load(tmp_path)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("LOG_LEVEL", 'names no setting (did you mean "JOB_MONITOR_LOG__LEVEL"?)'),
        ("STROE", 'names no setting (did you mean "JOB_MONITOR_STORE"?)'),
        (
            "WATCHES__0__INTERVALL",
            'names no setting (did you mean "JOB_MONITOR_WATCHES__0__INTERVAL"?)',
        ),
        (
            "SINKS__OPS_TEAM__TIMOUT",
            'names no setting (did you mean "JOB_MONITOR_SINKS__OPS_TEAM__TIMEOUT"?)',
        ),
        ("WATCHES__7__NAME", "names no setting (its index is beyond the end of the list)"),
        ("SERVER_PORT", "names no setting"),
        ("STORE__X", "names no setting"),
        ("WATCHES__", "names no setting"),
        ("", "names no setting"),
    ],
)
def test_an_unknown_variable_is_told_with_what_may_be_meant(tmp_path, name, line):
    told = refused(tmp_path, **{name: "secret-canary"})
    assert told[0].startswith(f"environment JOB_MONITOR_{name}: {line}")
    assert "canary" not in told[0]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("WATCHES", "[canary", "watches: is not YAML: did not find expected ',' or ']' (column 1)"),
        ("LOG__LEVEL", "inf", 'log.level: unknown value "inf" (did you mean "info"?)'),
        ("WATCHES__0__INTERVAL", "5", "watches[0].interval: is not a duration"),
        ("WATCHES__0__REGIONS", "a,b", "watches[0].regions: must be a list"),
        ("WATCHES__0__DISCOVER", "yes", "watches[0].discover: yes, no, on and off are"),
        ("STORE", "\udcff", "store: is not text in UTF-8"),
        ("WATCHES__0__LABELS", "{a: \udcff}", "watches[0].labels: is not text in UTF-8"),
        ("SINKS__OPS_TEAM__CONCURRENCY", "many", "sinks.ops-team.concurrency: must be a whole"),
    ],
)
def test_a_bad_value_is_told_with_its_variable(tmp_path, name, text, line):
    told = refused(tmp_path, **{name: text})
    assert told[0].startswith(f"environment JOB_MONITOR_{name}: {line}")
    assert "canary" not in told[0]
