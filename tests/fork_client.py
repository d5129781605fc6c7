"""The program as a command: ``fork_client.py ADDRESS ARGUMENT...`` has it forked, and waits.

The address, of a socket or a descriptor of one, leads to ``tests/fork_server.py``. Streams,
directory, environment, signals and the exit code are as if this process were the program.
"""

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path


def _server(address):
    if address.isdecimal():
        return socket.socket(fileno=int(address))
    found = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    found.connect(address)
    return found


def main():
    """Have the program forked; return its exit code as a shell knows it."""
    own, theirs = socket.socketpair()
    order = {"arguments": sys.argv[2:], "cwd": str(Path.cwd()), "env": dict(os.environ)}
    # Whose connection ends is taken to have ended, and so is the fork.
    with _server(sys.argv[1]) as orders:
        with theirs:
            socket.send_fds(orders, [json.dumps(order).encode()], [0, 1, 2, theirs.fileno()])
        report = own.makefile()
        child = int(report.readline())

        def pass_on(number, _frame):
            with suppress(ProcessLookupError):
                os.kill(child, number)

        for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(each, pass_on)
        code = int(report.readline())
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
