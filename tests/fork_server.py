"""Starts programs as forks of one process that has imported them: each import takes a second.

``tests/forks.py`` starts it, with a socket that listens as standard input, for all processes that
run tests. Each start comes as the streams of the new process, the end of a pipe for its exit code,
and the rest as JSON. It ends with those who order, and ends what they have left.
"""

import atexit
import fcntl
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

PROGRAM = "monitor"
LAZY = (
    "_strptime",
    "alembic.command",
    "anyio._backends._asyncio",
    "asyncpg",
    "concurrent.futures.thread",
    "encodings.idna",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "typer._adapters",
    "typer._click.decorators",
    "typer.rich_utils",
    "uvloop",
)
"""What the program imports only when it needs it."""
MOST = 1 << 20
"""Bytes of a start."""


def prepare():
    """Import the whole program, and build the models whose schemas it builds when they are used."""
    for name in LAZY:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    for module in pkgutil.walk_packages(importlib.import_module(PROGRAM).__path__, f"{PROGRAM}."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    models = [*sys.modules["pydantic"].BaseModel.__subclasses__()]
    for model in models:
        models += model.__subclasses__()
        model.model_rebuild()


def serve(place):
    """Start what is ordered, until nobody is there to order; return the arguments, in a fork."""
    listener = socket.socket(fileno=os.dup(0))
    ended, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    clients = {listener.accept()[0]}
    living: dict[int, tuple[int, socket.socket]] = {}
    while clients or _wanted(place, listener, clients):
        heard: list[Any] = [listener, ended, *clients]
        ready, _, _ = select.select(heard, [], [])
        if ended in ready:
            os.read(ended, MOST)
            _report_ends(living)
        if listener in ready:
            clients.add(listener.accept()[0])
        for client in clients & {*ready}:
            order, descriptors, _, _ = socket.recv_fds(client, MOST, 4)
            if not order:
                clients.remove(client)
                client.close()
                for child in [each for each, (_, its) in living.items() if its is client]:
                    os.kill(child, signal.SIGKILL)
                continue
            child = os.fork()
            if not child:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for each in (listener, *clients):
                    each.close()
                return _become(json.loads(order), descriptors)
            report = descriptors.pop()
            living[child] = report, client
            os.write(report, f"{child}\n".encode())
            for descriptor in descriptors:
                os.close(descriptor)
    os._exit(0)


def _wanted(place, listener, clients):
    """Whether somebody came just now; if not, there is no way to this server any more."""
    # The directory may be gone with the only process that knew it.
    with suppress(FileNotFoundError), Path(place, "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if select.select([listener], [], [], 0)[0]:
            clients.add(listener.accept()[0])
            return True
        Path(place, "socket").unlink()
    return False


def _report_ends(living):
    while living:
        child, status = os.waitpid(-1, os.WNOHANG)
        if not child:
            return
        report, _ = living.pop(child)
        with suppress(BrokenPipeError):  # the test that started it has ended
            os.write(report, f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os.close(report)


def _become(order, descriptors):
    """Take over what a new process would have got from the system."""
    for stream, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, stream)
    os.closerange(3, 4096)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.path[0] = order["cwd"]  # as with python -m
    sys.modules["sitecustomize"].keep_now()
    return order["arguments"]


def leave(codes):
    """End at once with the exit code of the program, if it has ended by itself.

    Else Python would take apart all that was imported. It is shared with the server until then,
    and to copy all that memory is more work than most commands are. What goes wrong while that is
    done, is found by the few tests that start the program anew.
    """
    with suppress(OSError, ValueError):  # a stream that cannot be flushed ends it as usual
        for code in codes:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


if __name__ == "__main__":
    exit_codes: list[int] = []
    atexit.register(leave, exit_codes)  # the first one: it runs after all others
    prepare()
    gc.collect()
    gc.freeze()  # no fork takes the time to forget, at its end, all that was imported
    sys.argv[1:] = serve(sys.argv[1])
    try:
        runpy.run_module(PROGRAM, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if isinstance(ended.code, int):
            exit_codes.append(ended.code)
        raise
