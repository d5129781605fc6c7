"""Messages about the configuration, the store, and output."""

import os
import re
import sqlite3
from pathlib import Path

import pytest

from monitor import config
from monitor.cli import arguments, streams
from monitor.cli.commands import jobs
from monitor.cli.commands.jobs import read_query
from monitor.config import unforeseen, yaml_files
from monitor.errors import MonitorError
from monitor.sources import loader
from monitor.stores.store import open_store
from monitor.validation import everything
from tests.config_kit import problems_of
from tests.contracts.store_examples import SettableClock, entry
from tests.golden.registry import message

WATCH = "watches: [{name: w, type: importexport.job, discover: true}]\n"
HOOK = "sinks:\n  ops:\n    type: webhook\n    url: https://hooks.example.com/x\n"
SECRET = "whsec_" + "c2VjcmV0" * 6


def told(directory, text):
    """Return what ``check`` and a refused reload say of a file."""
    file = directory / "monitor.yaml"
    file.write_text(WATCH + text, "utf-8")
    found = problems_of([file])
    return [f"{'warning: ' if problem.warning else 'error: '}{problem}" for problem in found]


async def refusal(path, **options):
    with pytest.raises(MonitorError) as caught:
        async with open_store(f"sqlite://{path}", SettableClock(), **options):
            pass
    return f"error: {caught.value}"


def foreign(path, *statements):
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


# 9, 11, 13, 15


@message("9 jobs from the store, not from the daemon")
def as_of(_directory):
    return jobs.AS_STORED


@message("11 output that cannot be written")
def full(_directory):
    return f"error: {streams.OutputError('standard output', OSError(28, os.strerror(28)))}"


@message("13 nothing is watched (check; with --strict exit code 1)")
def nothing_watched(directory):
    file = directory / "monitor.yaml"
    file.write_text("retention: 30d\n")
    found = problems_of([file])
    return [f"warning: {problem}" for problem in found]


@message("13 a store in a directory that does not exist (check)")
def absent_directory(directory):
    file = directory / "monitor.yaml"
    file.write_text(f"{WATCH}store: sqlite://{directory}/none/state.db\n")
    return [f"warning: {one}" for one in everything.check_store(config.load([file], {}))]


@message("13 a damaged page of the store")
async def damaged(directory):
    path = directory / "state.db"
    async with open_store(f"sqlite://{path}", SettableClock()) as store:
        for number in range(30):
            await store.record(entry(number))
    data = bytearray(path.read_bytes())
    data[8192:12288] = b"\xa5" * 4096
    path.write_bytes(data)
    # The details are SQLite's, and differ from one of its versions to the next.
    return re.sub(r"damaged: .*? \(restore", "damaged: DETAILS (restore", await refusal(path))


@message("13 garbage in the write-ahead log")
async def garbage_in_the_log(directory):
    path = directory / "state.db"
    async with open_store(f"sqlite://{path}", SettableClock()) as store:
        await store.record(entry())
    path.with_name("state.db-wal").write_bytes(b"garbage!" * 1000)
    return await refusal(path)


@message("15 a label filter without a value")
def bad_label(_directory):
    with pytest.raises(MonitorError) as caught:
        read_query({"label": ["team"]})
    return f"error: {caught.value}"


@message("15 a name that is unknown")
def unknown_label(_directory):
    return f"error: {arguments.unknown('--label', 'label', 'taem', ['team', 'stage'])}"


# 21

STORES = {
    "a link to nothing": lambda path: path.symlink_to("absent"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a FIFO": os.mkfifo,
    "a directory": Path.mkdir,
    "a text file": lambda path: path.write_text("watches: []\n" * 9),
}


def _register(name, make):
    @message(f"21 the store is {name}")
    async def produce(directory):
        path = directory / "state.db"
        make(path)
        return await refusal(path)


for _name, _make in STORES.items():
    _register(_name, _make)


@message("21 the store belongs to another program")
async def another_program(directory):
    path = directory / "state.db"
    foreign(path, "CREATE TABLE jobs (id)", "CREATE TABLE users (id)")
    return await refusal(path)


@message("21 the store was written by a newer version")
async def newer(directory):
    path = directory / "state.db"
    async with open_store(f"sqlite://{path}", SettableClock()):
        pass
    foreign(path, "UPDATE alembic_version SET version_num = '9999'")
    return await refusal(path)


@message("21 the store was written by an older version (beside the daemon)")
async def older(directory):
    path = directory / "state.db"
    async with open_store(f"sqlite://{path}", SettableClock()):
        pass
    foreign(path, "UPDATE alembic_version SET version_num = '0001'")
    return await refusal(path, exclusive=False, migrate=False)


@message("21 there is no store yet (beside the daemon)")
async def none_yet(directory):
    return await refusal(directory / "state.db", exclusive=False, migrate=False)


@message("21 another process uses the store")
async def in_use(directory):
    path = directory / "state.db"
    async with open_store(f"sqlite://{path}", SettableClock()):
        return await refusal(path)


# 22


@message("22 a list or a map where a word belongs (web configuration)")
def unhashable(directory):
    web = directory / "web.yml"
    web.write_text("tls_server_config:\n  client_auth_type: [x]\n  min_version: {a: 1}\n")
    return told(directory, f"server: {{web_config_file: {web}}}\n")


@message("22 a web configuration that is not there")
def no_web_config(directory):
    return told(directory, "server: {web_config_file: /nowhere/web.yml}\n")


@message("22 a log whose name is too long")
def long_log(directory):
    return told(directory, f"sinks: {{audit: {{type: log, path: /tmp/{'x' * 300}}}}}\n")


@message("22 a job_types_dir whose name is too long")
def long_directory(directory):
    return told(directory, f"job_types_dir: /tmp/{'x' * 300}\n")


@message("22 a job type file that is a link to itself")
def looping_type(directory):
    (directory / "types").mkdir()
    (directory / "types" / "a.yaml").symlink_to("a.yaml")
    return told(directory, f"job_types_dir: {directory}/types\n")


@message("22 a configuration file that is a link to itself")
def looping_file(directory):
    (directory / "a.yaml").symlink_to("a.yaml")
    return [f"error: {one}" for one in problems_of([directory / "a.yaml"])]


@message("22 a configuration file that is a FIFO, to which nobody writes")
def fifo(directory):
    os.mkfifo(directory / "a.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml_files, "PIPE_WITHIN", 0.1)
        return [f"error: {one}" for one in problems_of([directory / "a.yaml"])]


@message("22 a job type file that is a FIFO")
def fifo_type(directory):
    (directory / "types").mkdir()
    os.mkfifo(directory / "types" / "a.yaml")
    return told(directory, f"job_types_dir: {directory}/types\n")


@message("22 a fault of the program itself")
def own_fault(_directory):
    try:
        next(iter(()))
    except StopIteration as error:
        error.__traceback__ = None
        return f"error: {unforeseen.problem(error, 'monitor.yaml:7', 'sinks.ops.type', 'the sink')}"


# 23

KEYS = {
    "secret_files": "    secret_files: [{0}]\n",
    "header_files": "    header_files: {{X-Key: {0}}}\n",
    "template_secrets": "    template: slack\n    template_secrets: {{key: {0}}}\n",
    "proxy_auth_file": "    proxy: http://proxy.example.com:3128\n    proxy_auth_file: {0}\n",
    "ca_file": "    tls: {{ca_file: {0}}}\n",
    "template": "    template: {0}\n",
}


def _register_secret(key, text):
    @message(f"23 a secret in the place of a file name ({key})")
    def produce(directory):
        lines = told(directory, HOOK + text.format(SECRET))
        assert SECRET not in "".join(lines)
        return lines


for _key, _text in KEYS.items():
    _register_secret(_key, _text)


@message("23 a secret in the place of a file name (token_files)")
def pasted_token(directory):
    return told(directory, f"server: {{token_files: [{SECRET}]}}\n")


@message("23 a secret in the place of a file name (external_id_file)")
def pasted_external_id(directory):
    role = "arn:aws:iam::123456789012:role/r"
    return told(directory, f"accounts: {{a: {{role_arn: '{role}', external_id_file: {SECRET}}}}}\n")


@message("23 a file of a secret that does not exist")
def no_secret_file(directory):
    return told(directory, f"{HOOK}    secret_files: [/run/secrets/hok]\n")


# 30


def _refused_type(directory, text):
    (directory / "own.yaml").write_text(text)
    with pytest.raises(MonitorError) as caught:
        loader.load_job_type(directory / "own.yaml")
    return f"error: {caught.value}"


@message("30 a job type file with half of a surrogate pair")
def surrogate(directory):
    return _refused_type(directory, 'name: my.type\nservice: "\\ud800"\n')


@message("30 a job type file that grows without end")
def bomb(directory):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for number in range(1, 9):
        items = ", ".join([f"*a{number - 1}"] * 10)
        lines.append(f"a{number}: &a{number} [{items}]")
    return _refused_type(directory, "\n".join(lines))
