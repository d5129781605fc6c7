import os

import pytest

from monitor import config
from monitor.errors import ConfigurationError
from monitor.sources import loader
from monitor.tools import describe_once
from tests.config_kit import problems_of

WATCH = "watches: [{name: w, type: importexport.job, jobs: [A]}]\n"
HOOK = "type: webhook, url: 'https://hooks.example.com/x'"


@pytest.fixture
def told(tmp_path):
    """Return a function from the text of a file to what is told of it."""

    def tell(text):
        path = tmp_path / "a.yaml"
        path.write_text(WATCH + text, "utf-8")
        return [str(problem).replace(str(path), "F") for problem in problems_of([path])]

    return tell


def test_a_web_config_file_that_is_not_there_is_told_where_it_is_named(told):
    (line,) = told("server:\n  web_config_file: /nowhere/web.yml")
    start = "F:3: server.web_config_file: the value (16 characters) cannot be read: no such file"
    assert line.startswith(start)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("sinks:\n  a: {type: log, path: /nowhere/x}", "F:3: sinks.a.path: its directory is"),
        ("sinks:\n  a: {type: log, path: /tmp}", "F:3: sinks.a.path: is not a file"),
        ("sinks:\n  a.b:\n    type: webhook\n    url: http://h", 'F:5: sinks["a.b"].url: is'),
        (f"sinks:\n  7:\n    {{{HOOK},\n    allow_networks: [x]}}", "F:5: sinks.7.allow_net"),
        (f"sinks:\n  a:\n    {{{HOOK},\n    headers: {{X.Y: é}}}}", 'F:5: sinks.a.headers["X.Y"]'),
    ],
)  # fmt: skip
def test_what_a_sink_finds_is_told_with_its_line(told, text, start):
    (line,) = told(text)
    assert line.startswith(start)


def test_the_mistakes_of_settings_and_sinks_are_told_at_once_and_none_twice(told, tmp_path):
    missing = tmp_path / "missing"
    lines = told(
        f"retention: 1d\nserver: {{listen: x}}\nsinks:\n"
        f"  a: {{type: webhook, url: 'http://10.0.0.1', secret_files: [{missing}]}}\n"
        f"  b: {{type: log, path: /nowhere/x}}"
    )
    assert [": ".join(line.split(": ")[:2]) for line in lines] == [
        "F:3: server.listen",
        "F:5: sinks.a.secret_files[0]",
        "F:5: sinks.a.url",
        "F:6: sinks.b.path",
    ]


def test_a_job_type_that_is_wrong_is_told_beside_the_sinks_and_nothing_that_comes_of_it(
    told, tmp_path
):
    own = tmp_path / "types"
    own.mkdir()
    (own / "x.yaml").write_text("name: mine.job\n", "utf-8")
    lines = told(
        f"job_types_dir: {own}\nquotas: {{mine: {{rate: 1}}}}\n"
        "routes: [{match: {type: [mine.*, importexport.*]}, sinks: []}]\n"
        "sinks: {a: {type: log, path: /nowhere/x}}"
    )
    others = [line for line in lines if str(own) not in line]
    assert len(others) < len(lines)
    assert [line.split(": ")[1] for line in others] == ["sinks.a.path"]


def test_a_mistake_in_a_header_is_told_beside_a_warning_of_it(told):
    lines = told(f"sinks: {{a: {{{HOOK}, headers: {{Authorization: é}}}}}}")
    assert ["holds a secret" in line for line in lines] == [True, False]


def test_a_pipe_in_the_place_of_a_secret_is_refused_without_waiting_for_a_writer(told, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (line,) = told(f"sinks: {{a: {{{HOOK}, header_files: {{X: {tmp_path / 'pipe'}}}}}}}")
    assert "is not a regular file" in line


def test_what_is_right_is_not_complained_of(told, tmp_path):
    key = tmp_path / "key"
    key.write_text("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz", "utf-8")
    text = (
        f"sinks: {{a: {{{HOOK}, secret_files: [{key}]}}, b: {{type: log, path: {tmp_path}/log}}}}"
    )
    assert told(text) == []


def look(tmp_path, text, *arguments):
    path = tmp_path / "a.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError) as caught:
        describe_once.DescribeOnce(config.load([path], {}), *arguments)
    return [str(problem).replace(str(path), "F") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (("importexport.job", "default", None, "a b"), 'ID: "a b" is not a valid import'),
        (("importexport.job", "prod", None, "A"), '--account: unknown account "prod"'),
        (("importexport.job", "default", "mars", "A"), "--region: importexport.job has one"),
        (("panorama.package-import", "default", None, "a"), "--region: "),
        (("nothing", "default", None, "a"), 'TYPE: unknown job type "nothing"'),
    ],
)
def test_a_mistake_in_an_argument_of_one_look_is_told_as_such(tmp_path, arguments, start):
    (line,) = look(tmp_path, WATCH, *arguments)
    assert line.startswith(start)


def test_a_mistake_of_the_file_that_matters_to_one_look_keeps_its_line(tmp_path):
    text = WATCH + "accounts: {a: {session_name: x}}"
    (line,) = look(tmp_path, text, "importexport.job", "a", None, "A")
    assert line.startswith("F:2: accounts.a.session_name: ")


def test_a_job_of_a_type_that_cannot_be_listed_can_be_looked_at(tmp_path):
    declaration = loader.BUILT_IN.joinpath("panorama.package-import.yaml").read_text("utf-8")
    text = declaration.partition("list:")[0].replace("name: panorama.", "name: unlisted.", 1)
    (tmp_path / "unlisted.yaml").write_text(text, "utf-8")
    settings = config.Settings(job_types_dir=str(tmp_path))
    describe_once.DescribeOnce(settings, "unlisted.package-import", "default", "us-east-1", "a")
