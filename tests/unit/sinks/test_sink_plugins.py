"""Plug-ins that do not keep to the contract are one readable mistake each."""

import sys

import pytest

from monitor import config, sinks
from monitor.errors import ConfigurationError
from monitor.interfaces import SinkContext
from monitor.validation import everything
from tests.config_kit import problems_of

GOOD = """
from contextlib import asynccontextmanager
from pydantic import BaseModel, Field

class Settings(BaseModel):
    size: int = Field(default=1, alias="Size")
    nested: dict[str, int] = {}

class Sink:
    batch_size = 1
    async def send(self, events):
        pass

@asynccontextmanager
async def open_sink(context, settings):
    sink = Sink()
    sink.context = context
    yield sink
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Install a plug-in named ``odd``; return a function from its code to its settings."""

    def install(code, settings="", entries="odd = odd_plugin\n"):
        info = tmp_path / "odd_plugin-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-plugin\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[job_monitor.sinks]\n{entries}")
        (tmp_path / "odd_plugin.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "odd_plugin", raising=False)
        file = tmp_path / "a.yaml"
        file.write_text(f"sinks:\n  x:\n    type: odd\n{settings}")
        return config.load([file], {})

    yield install
    sys.modules.pop("odd_plugin", None)


def errors(paths, environ):
    return [str(each) for each in problems_of(paths, environ) if not each.warning]


def told(settings):
    _, found = everything.validate(settings)
    return [str(each).partition("a.yaml:")[2] for each in found if "sinks.x" in each.path]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nowhere", "No module named 'nowhere'"),
        ("1 / 0", "ZeroDivisionError"),
        ("def x(:", "SyntaxError"),
        ("", "its Settings are no pydantic model"),
        (GOOD.replace("(BaseModel)", ""), "its Settings are no pydantic model"),
        (GOOD.replace("open_sink", "opens"), "it has no function open_sink"),
    ],
)
def test_a_package_that_is_no_plug_in_is_told(plugin, code, message):
    remedy = "mend or replace the package that offers it"
    expected = f'3: sinks.x.type: the plug-in "odd" cannot be used: {message} ({remedy})'
    assert told(plugin(code)) == [expected]


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ("    Size: 3\n    timeout: 3s\n", []),
        ("    Size: big\n", ["4: sinks.x.Size: Input should be a valid integer"]),
        ("    sise: 3\n", ["4: sinks.x.sise: unknown key (known: Size, nested, size)"]),
        ("    nested:\n      a: b\n", ["4: sinks.x.nested: Input should be a valid integer"]),
    ],
)
def test_what_is_set_for_a_plug_in_is_checked_by_it(plugin, settings, lines):
    found = told(plugin(GOOD, settings))
    assert [line.partition(", unable")[0] for line in found] == lines


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size = 1", "batch_size = 0", "the batch_size of its sink is no number above 0"),
        ("async def send", "async def sent", "its sink has no method send"),
        ("yield sink", "raise OSError('planted'); yield", "OSError"),
    ],
)
async def test_a_sink_that_is_none_is_told_when_it_is_opened(plugin, old, new, message):
    settings = plugin(GOOD.replace(old, new))
    assert told(settings) == []
    with pytest.raises(ConfigurationError) as caught:
        async with sinks.open_sink("x", settings.sinks["x"]):
            pass
    (problem,) = caught.value.problems
    assert str(problem) == f"sinks.x.type: the plug-in cannot open the sink: {message}"


async def test_a_good_plug_in_is_opened_and_told_what_it_needs(plugin):
    settings = plugin(GOOD, "    timeout: 3s\n    concurrency: 7\n").sinks["x"]
    async with sinks.open_sink("x", settings) as sink:
        await sink.send([{}])
        assert vars(sink)["context"] == SinkContext(name="x", timeout=3.0, concurrency=7)


def test_a_variable_sets_one_key_of_a_plug_in(plugin, tmp_path):
    plugin(GOOD, "    nested: {a: 1, b-c: 2}\n")
    variables = {
        "X__Size": "7",
        "X__NESTED__B_C": "3",
        "X__nested__New": "4",
        "X__TIMEOUT": "3s",
        "MINE__TYPE": "odd",
        "MINE__NESTED": "{z: 5}",
    }
    environ = {f"JOB_MONITOR_SINKS__{name}": text for name, text in variables.items()}
    assert errors([tmp_path / "a.yaml"], environ) == []
    settings = config.load([tmp_path / "a.yaml"], environ)
    mine, given = settings.sinks["mine"], settings.sinks["x"]
    assert mine.model_extra == {"nested": {"z": 5}}
    assert given.model_extra == {"Size": "7", "nested": {"a": 1, "b-c": "3", "New": "4"}}
    assert given.timeout == 3


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("X__SISE", "1", "sinks.x.sise: unknown key (known: Size, nested, size)"),
        ("X__SIZE", "big", "sinks.x.size: "),
        ("X__NESTED", "[", "sinks.x.nested: "),
        ("Y__SIZE", "1", "names no setting"),
    ],
)
def test_a_mistake_in_a_variable_of_a_plug_in_names_the_variable(
    plugin, tmp_path, variable, text, message
):
    plugin(GOOD.replace(', alias="Size"', "") if text == "big" else GOOD)
    (tmp_path / "a.yaml").write_text("sinks: {x: {type: odd}, y: {type: log}}")
    name = f"JOB_MONITOR_SINKS__{variable}"
    (line,) = errors([tmp_path / "a.yaml"], {name: text})
    assert line.startswith(f"environment {name}: {message}")
    assert "big" not in line


def test_two_packages_may_not_offer_one_name(plugin, tmp_path):
    settings = plugin(GOOD)
    other = tmp_path / "other-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[job_monitor.sinks]\nodd = odd_plugin\n")
    assert "2 packages offer it" in told(settings)[0]


def test_a_plug_in_does_not_take_the_place_of_a_sink_of_the_program(plugin, tmp_path):
    plugin(GOOD, entries="log = odd_plugin\nodd = odd_plugin\n")
    (tmp_path / "a.yaml").write_text("sinks: {x: {type: log}}")
    settings = config.load([tmp_path / "a.yaml"], {})
    assert type(settings.sinks["x"]).__name__ == "LogSink"


def test_nothing_that_a_plug_in_is_told_is_ever_shown(plugin):
    settings = plugin(GOOD, "    Size: 77\n    nested: {planted: 1}\n")
    shown = f"{settings!r} {settings.redacted()} {settings.sinks['x']}"
    assert "planted" not in shown
    assert "77" not in shown
    assert settings.redacted()["sinks"]["x"]["Size"] == "***"
