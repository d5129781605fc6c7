import os
from pathlib import Path

import pytest

from monitor import config
from monitor.config import yaml_files
from monitor.errors import ConfigurationError


def write(directory, **texts):
    directory.mkdir(exist_ok=True)
    for name, text in texts.items():
        (directory / f"{name}.yaml").write_text(text, "utf-8")
    return directory


def lines(path, environ=None):
    with pytest.raises(ConfigurationError) as caught:
        config.load([path], environ or {})
    return [str(problem).replace(f"{path}", "PATH") for problem in caught.value.problems]


def test_a_file_is_read(tmp_path):
    path = write(tmp_path, a="watches: [{name: w, type: t, interval: 5m}]") / "a.yaml"
    settings = config.load([path], {})
    assert settings.watches[0].interval == 300
    assert settings.place("watches", 0, "interval") == f"{path}:1"


def test_without_files_the_environment_is_all():
    assert config.load(None, {"JOB_MONITOR_RETENTION": "1d"}).retention == 86400


def test_maps_of_several_files_are_merged_and_lists_joined(tmp_path):
    write(
        tmp_path,
        b="watches: [{name: two, type: t}]\nlog: {level: debug}\nsinks: {x: {type: log}}",
        a="watches: [{name: one, type: t}]\nlog: {format: console}\nsinks: {y: {type: log}}",
    )
    settings = config.load([tmp_path], {})
    assert [watch.name for watch in settings.watches] == ["one", "two"]
    assert (settings.log.level, settings.log.format) == ("debug", "console")
    assert set(settings.sinks) == {"x", "y"}
    assert settings.place("watches", 1, "name") == f"{tmp_path / 'b.yaml'}:1"


def test_one_value_in_two_files_is_refused_naming_both(tmp_path):
    write(tmp_path, a="log:\n  level: info", b="log: {level: info}")
    words = "is given in two files (it is also given at PATH/a.yaml:2; keep one)"
    assert lines(tmp_path) == [f"PATH/b.yaml:1: log.level: {words}"]


def test_a_key_without_a_value_in_one_file_leaves_the_other_files_value(tmp_path):
    write(tmp_path, a="store: sqlite:a.db\nlog:", b="store:\nlog: {level: debug}")
    settings = config.load([tmp_path], {})
    assert (settings.store, settings.log.level) == ("sqlite:a.db", "debug")


def test_hidden_files_and_other_endings_are_skipped(tmp_path):
    write(tmp_path, a="retention: 1d")
    for name in (".hidden.yaml", "note.txt", "old.yaml.bak"):
        (tmp_path / name).write_text("{{{", "utf-8")
    (tmp_path / "directory.yaml").mkdir()
    assert config.load([tmp_path], {}).retention == 86400


def test_a_mounted_config_map_is_read_through_its_links(tmp_path):
    write(tmp_path / "..2026_11_22", a="retention: 1d")
    (tmp_path / "..data").symlink_to("..2026_11_22")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    assert config.files([tmp_path]) == [tmp_path / "a.yaml"]
    assert config.load([tmp_path], {}).retention == 86400


def test_a_yml_file_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "a.yml").write_bytes(b"\xef\xbb\xbfretention: 1d")
    assert config.load([tmp_path], {}).retention == 86400


def test_what_the_shell_pipes_in_is_read():
    reading, writing = os.pipe()
    os.write(writing, b"retention: 1d")
    os.close(writing)
    assert config.load([Path(f"/dev/fd/{reading}")], {}).retention == 86400
    os.close(reading)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "PATH:1: the file is empty (begin with a key such as `watches:`)"),
        (b"# only this\n", "PATH:1: the file is empty (begin with a key such as `watches:`)"),
        (b"- a\n", "PATH:1: must be a map of keys to values (begin with a key such as `watches:`)"),
        (b"text", "PATH:1: must be a map of keys to values (begin with a key such as `watches:`)"),
        (b"a: 1\nb: \xff", "PATH:2: is not text in UTF-8 (save it as UTF-8)"),
        (
            b"a: b: c",
            "PATH:1: is not YAML: mapping values are not allowed in this context (column 5)",
        ),
        (b"\x00", "PATH:1: holds a character that YAML does not allow (save it as plain text)"),
    ],
)
def test_a_file_that_is_no_configuration_is_told_in_one_line(tmp_path, content, line):
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    assert lines(path) == [line]


def test_a_missing_file_is_told(tmp_path):
    assert lines(tmp_path / "none.yaml") == [
        "PATH: cannot be read: no such file or directory (check the path and its permissions)"
    ]


def test_a_directory_without_files_is_told(tmp_path):
    assert lines(tmp_path) == ["PATH: holds no *.yaml or *.yml file (add one)"]


def test_what_may_follow_from_an_unread_file_is_not_told(tmp_path):
    environ = {"JOB_MONITOR_WATCHES__1__NAME": "x"}
    assert lines(tmp_path, environ) == ["PATH: holds no *.yaml or *.yml file (add one)"]


def test_a_huge_file_is_not_read_whole(tmp_path):
    huge = tmp_path / "huge.yaml"
    with huge.open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    assert "is larger than 16 MiB" in lines(huge)[0]


def test_a_device_is_not_read():
    assert "cannot be read: not a regular file" in lines(Path("/dev/zero"))[0]


def test_a_pipe_that_nobody_writes_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(yaml_files, "PIPE_WITHIN", 0.05)
    pipe = tmp_path / "settings.yaml"
    os.mkfifo(pipe)
    assert "cannot be read: nobody writes to this pipe" in lines(pipe)[0]


def test_the_mistakes_of_all_files_are_told_at_once(tmp_path):
    write(tmp_path, a="x: 1\nlog: {level: yes}", b="watches: [{}]", c="y: [")
    told = lines(tmp_path)
    assert [line.split(": ")[0] for line in told] == [
        "PATH/a.yaml:1",
        "PATH/a.yaml:2",
        "PATH/c.yaml:2",
    ]
    (tmp_path / "c.yaml").unlink()
    told = lines(tmp_path)
    assert [line.split(": ")[1] for line in told] == [
        "x",
        "log.level",
        "watches[0].name",
        "watches[0].type",
    ]


def test_no_text_of_a_broken_file_is_repeated(tmp_path):
    path = tmp_path / "a.yaml"
    for text in (
        "url: canary: x",
        "url: 'canary",
        "&canary a: *canary2",
        "%canary\n---",
        "!canary<",
    ):
        path.write_text(text, "utf-8")
        assert "canary" not in "".join(lines(path))


@pytest.mark.parametrize("key", ["Store", "_env_file", "_build_sources", "self", "origin"])
def test_no_key_means_anything_to_the_settings_library(tmp_path, key):
    write(tmp_path, a=f"{key}: x")
    (line,) = lines(tmp_path)
    assert f"{key}: unknown key" in line
