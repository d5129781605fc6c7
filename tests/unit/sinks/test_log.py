"""Lines on files and pipes."""

import json
import os
import stat
import subprocess
import sys
import threading
import time

import pytest

from monitor import config, sinks
from monitor.errors import ConfigurationError
from monitor.sinks.format import encode
from monitor.sinks.log import LogFile, LogStream
from tests.contracts.sink_kit import limited_files


def test_a_file_is_made_for_its_owner_and_group_alone(tmp_path):
    mask = os.umask(0)
    try:
        assert LogFile(str(tmp_path / "log")).write([b"a\n"]) == (1, None)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o640


def test_a_file_is_appended_to(tmp_path):
    (tmp_path / "log").write_bytes(b"old\n")
    assert LogFile(str(tmp_path / "log")).write([b"a\n", b"b\n"]) == (2, None)
    assert (tmp_path / "log").read_bytes() == b"old\na\nb\n"


def test_a_rotated_file_is_made_anew(tmp_path):
    file = LogFile(str(tmp_path / "log"))
    file.write([b"a\n"])
    (tmp_path / "log").rename(tmp_path / "log.1")
    file.write([b"b\n"])
    assert (tmp_path / "log.1").read_bytes() == b"a\n"
    assert (tmp_path / "log").read_bytes() == b"b\n"


def test_a_line_torn_by_a_crash_is_ended_first(tmp_path):
    (tmp_path / "log").write_bytes(b'{"half": ')
    LogFile(str(tmp_path / "log")).write([b"{}\n"])
    assert (tmp_path / "log").read_bytes() == b'{"half": \n{}\n'


@pytest.mark.parametrize("room", range(9))
def test_a_full_disk_leaves_parsable_lines(tmp_path, room):
    path = tmp_path / "log"
    path.write_bytes(b'"old"\n')
    file = LogFile(str(path))
    with limited_files(6 + room):
        written, error = file.write([b'"a"\n', b'"b"\n'])
    assert isinstance(error, OSError) == (room < 8)
    assert written == room // 4
    assert file.write([b'"c"\n']) == (1, None)
    lines = path.read_bytes().splitlines()
    # Of a line that lacked only its end, the next one made a whole line.
    whole = [b'"old"', *[b'"a"', b'"b"'][: (room + 1) // 4], b'"c"']
    assert [line for line in lines if line.count(b'"') == 2] == whole
    assert b"" not in lines


def test_a_device_without_room_is_an_error():
    written, error = LogFile("/dev/full").write([b"a\n"])
    assert (written, error and error.strerror) == (0, "No space left on device")


def test_a_pipe_that_another_made_non_blocking_takes_long_lines_whole():
    read, write = os.pipe()
    os.set_blocking(write, False)
    received = bytearray()

    def drain():
        while chunk := os.read(read, 1000):
            received.extend(chunk)
            time.sleep(0.0001)

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    lines = [b"x" * 200_000 + b"\n", b"y\n"]
    assert LogStream("pipe", write).write(lines) == (2, None)
    os.close(write)
    reader.join(30)
    os.close(read)
    assert bytes(received) == b"".join(lines)


WRITERS = """
import os, sys
sys.path.insert(0, sys.argv[2])
from monitor.sinks.log import LogFile
for _ in range(3):
    if not os.fork():
        for _ in range(50):
            LogFile(sys.argv[1]).write([b"x" * 3000 + b"\\n"])
        os._exit(0)
assert [os.wait()[1] for _ in range(3)] == [0, 0, 0]
"""


def test_each_line_is_one_write(tmp_path):
    (tmp_path / "script").write_text(WRITERS)
    command = [sys.executable, str(tmp_path / "script"), str(tmp_path / "log"), os.getcwd()]  # noqa: PTH109
    subprocess.run(command, check=True, timeout=200)
    # One may take what another is just writing for a torn line, and put an empty one after it.
    lines = [line for line in (tmp_path / "log").read_bytes().splitlines() if line]
    assert lines == [b"x" * 3000] * 150


def test_the_same_event_is_the_same_line_whatever_the_order_of_its_keys():
    assert (
        encode({"b": {"d": 1, "c": "ü\n"}, "a": None})
        == '{"a":null,"b":{"c":"ü\\n","d":1}}'.encode()
    )
    assert encode({"a": 1, "b": 2}) == encode({"b": 2, "a": 1})


async def test_standard_output_carries_one_line_per_event(capfd):
    async with sinks.open_sink("audit", config.LogSink(type="log")) as sink:
        await sink.send([{"id": "1"}, {"id": "2"}])
    assert [json.loads(line) for line in capfd.readouterr().out.splitlines()] == [
        {"id": "1"},
        {"id": "2"},
    ]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "is not a file"),
        ("/", "is not a file"),
        ("/dev/null/x", "/dev/null is not a directory"),
        ("/nowhere/x", "its directory is missing"),
        ("/x\0y", "is not a file"),
    ],
)
async def test_a_path_that_cannot_be_a_log_is_told(path, message):
    settings = config.LogSink(type="log", path=path)
    (problem,) = sinks.problems("audit", settings)
    assert (problem.path, problem.message) == ("sinks.audit.path", message)
    with pytest.raises(ConfigurationError, match=message):
        async with sinks.open_sink("audit", settings):
            pass


def test_a_stalled_reader_does_not_hold_up_the_end_of_the_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import asyncio, sys; sys.path.insert(0, sys.argv[1])\n"
        "from monitor import config, errors, sinks\n"
        "async def main():\n"
        "    settings = config.LogSink(type='log', timeout='300ms')\n"
        "    async with sinks.open_sink('x', settings) as sink:\n"
        "        try:\n"
        "            await sink.send([{'id': 'x' * 300000}])\n"
        "        except errors.SendError as error:\n"
        "            print(error, file=sys.stderr)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, str(script), os.getcwd()]  # noqa: PTH109
    complaint = tmp_path / "stderr"
    with (
        complaint.open("wb") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr) as process,
    ):
        assert process.wait(120) == 0
    assert complaint.read_text() == "standard output took no line within 0.3 s\n"
