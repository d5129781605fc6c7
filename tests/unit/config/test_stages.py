"""The two stages of reading a configuration: first all of its shape, then all of its meaning."""

import pytest

from monitor import config
from monitor.errors import ConfigurationError
from tests.config_kit import problems_of

DISKS = "{name: d, type: importexport.job, jobs: [A]}"


@pytest.fixture
def told(tmp_path):
    """Return a function from the text of files to the keys of what is told, warnings as ~."""

    def tell(*texts, **environ):
        for number, text in enumerate(texts):
            (tmp_path / f"{number}.yaml").write_text(text, "utf-8")
        variables = {f"JOB_MONITOR_{name}": text for name, text in environ.items()}
        found = problems_of([tmp_path], variables)
        return [f"{'~' if each.warning else ''}{each.path}" for each in found]

    return tell


SHAPE = {
    "an unknown key and a wrong value": (
        f"zzz: 1\nwatches: [{DISKS}]\nretention: soon\nserver: {{listen: x}}",
        ["zzz", "retention"],
    ),
    "values of one watch": (
        (
            "watches: [{type: importexport.job, jobs: [5, '?!'], interval: soon,"
            " stuck_after: {waiting: soon, default: 1d}, acount: b}]"
        ),
        [
            "watches[0].name",
            "watches[0].jobs[0]",
            "watches[0].interval",
            "watches[0].stuck_after.waiting",
            "watches[0].acount",
        ],
    ),
    "items that are no maps": (f"watches: [5, {DISKS}, x]", ["watches[0]", "watches[2]"]),
    "sinks and routes": (
        (
            f"watches: [{DISKS}]\n"
            "sinks: {a: {type: webhok}, b: {type: webhook, secret_files: [/nowhere/x]}, c: 5}\n"
            "routes: [{sink: [a], match: {phse: failed}}]"
        ),
        [
            "sinks.a.type",
            "sinks.b.url",
            "sinks.c",
            "routes[0].match.phse",
            "routes[0].sinks",
            "routes[0].sink",
        ],
    ),
    "a key given twice": (
        f"watches: [{DISKS}]\naccounts: {{a: {{}}}}\naccounts: {{b: {{role: x}}}}",
        ["accounts", "accounts.b.role"],
    ),
    "a whole section": (
        f"watches: [{DISKS}]\nsinks: 5\naccounts: 5\nroutes: [{{sinks: [a]}}]",
        ["sinks", "accounts"],
    ),
}


@pytest.mark.parametrize("name", SHAPE)
def test_all_problems_of_shape_are_told_at_once_and_none_of_meaning(told, name):
    text, paths = SHAPE[name]
    assert sorted(told(text)) == sorted(paths)


MEANING = {
    "a watch": (
        (
            "watches: [{name: '?', type: importexport.job, jobs: ['?!'], account: b,"
            " regions: [mars], interval: 10ms}]"
        ),
        [
            "watches[0].name",
            "watches[0].account",
            "watches[0].regions[0]",
            "watches[0].jobs[0]",
            "~watches[0].interval",
        ],
    ),
    "sinks and routes": (
        (
            f"watches: [{DISKS}]\nsinks: {{a: {{type: log, path: /nowhere/x}}}}\n"
            "routes: [{sinks: [b]}, {match: {account: c}, sinks: []}]"
        ),
        [
            "~sinks.a",
            "sinks.a.path",
            "routes[0].sinks[0]",
            "~routes[1]",
            "routes[1].match.account[0]",
        ],
    ),
    "the rest": (
        f"watches: [{DISKS}]\nstore: x\nserver: {{listen: x}}\nquotas: {{x: {{rate: 1}}}}",
        ["store", "server.listen", "quotas.x"],
    ),
}


@pytest.mark.parametrize("name", MEANING)
def test_what_has_the_right_shape_is_validated_with_all_problems_at_once(told, name):
    text, paths = MEANING[name]
    assert sorted(told(text)) == sorted(paths)


def test_beside_a_file_that_cannot_be_read_nothing_counts_as_missing(told):
    one = "watches: [{name: d, regins: []}]\n"
    two = "sinks: {a: {timeout: soon}}\n"
    assert told(one, two, "accounts: [", SINK__A__TYPE="log") == ["watches[0].regins", ""]


def test_a_variable_that_names_nothing_is_told_beside_the_shape(told):
    text = f"watches: [{DISKS}]\nstore: x\nretention: soon"
    assert told(text, SINK__A__TYPE="log", SINKS="{a: [") == ["retention", "sinks", ""]


def test_without_the_own_job_types_no_watch_is_judged_by_them(told, tmp_path):
    (tmp_path / "types").mkdir()
    (tmp_path / "types" / "mine.yaml").write_text("name: mine\n")
    text = "watches: [{name: d, type: mine, jobs: [A]}]\n"
    paths = told(f"{text}job_types_dir: {tmp_path}/types")
    assert "service" in paths
    assert not any(path.startswith("watches") for path in paths)


SERVER = "server: {listen: '127.0.0.1:1', token_files: [a]}\n"


@pytest.mark.parametrize(
    ("text", "listen", "tokens"),
    [
        (SERVER, "127.0.0.1:1", ["a"]),
        (f"{SERVER}watches: 5\nzzz: 1\n", "127.0.0.1:1", ["a"]),
        ("server: {listen: '127.0.0.1:1', token_files: 5, zzz: 1}", "127.0.0.1:1", []),
        ("server: 5", "127.0.0.1:9847", []),
        ("server: [", "127.0.0.1:9847", []),
    ],
)
def test_where_the_daemon_listens_is_read_whatever_is_wrong_elsewhere(
    tmp_path, text, listen, tokens
):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    server = config.load_server([path], {})
    assert (server.listen, server.token_files) == (listen, tokens)


def test_values_know_their_place(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(f"watches:\n- {DISKS}\nretention: 5d\n", "utf-8")
    settings = config.load([path], {})
    assert settings.place("watches", 0, "jobs") == f"{path}:2"
    path.write_text("watches:\n- 5\n", "utf-8")
    with pytest.raises(ConfigurationError, match=f"{path}:2: watches"):
        config.load([path], {})
