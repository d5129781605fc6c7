"""Starts programs as forks of one process that has imported them: each import takes a second.

``tests/forks.py`` starts it, with one end of a socket as standard input. Each start comes as the
streams of the new process, the end of a pipe for its exit code, and the rest as JSON.
"""

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

PROGRAM = "monitor"
LAZY = (
    "alembic.command",
    "anyio._backends._asyncio",
    "asyncpg",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.pysqlite",
)
"""What the program imports only when it needs it."""
MOST = 1 << 20
"""Bytes of a start."""


def prepare():
    """Import the whole program."""
    for name in LAZY:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    for module in pkgutil.walk_packages(importlib.import_module(PROGRAM).__path__, f"{PROGRAM}."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def serve(orders):
    """Start what is ordered, until nobody is there to order; return the arguments, in a fork."""
    ended, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    living: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([orders, ended], [], [])
        if ended in ready:
            os.read(ended, MOST)
            _report_ends(living)
        if orders in ready:
            order, descriptors, _, _ = socket.recv_fds(orders, MOST, 4)
            if not order:
                break
            child = os.fork()
            if not child:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                orders.close()
                return _become(json.loads(order), descriptors)
            living[child] = report = descriptors.pop()
            os.write(report, f"{child}\n".encode())
            for descriptor in descriptors:
                os.close(descriptor)
    for child in living:
        os.kill(child, signal.SIGKILL)
    os._exit(0)


def _report_ends(living):
    while living:
        child, status = os.waitpid(-1, os.WNOHANG)
        if not child:
            return
        report = living.pop(child)
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


if __name__ == "__main__":
    with socket.socket(fileno=os.dup(0)) as asked:
        prepare()
        gc.collect()
        gc.freeze()  # no fork takes the time to forget, at its end, all that was imported
        sys.argv[1:] = serve(asked)
    runpy.run_module(PROGRAM, run_name="__main__", alter_sys=True)
