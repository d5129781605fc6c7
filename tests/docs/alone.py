"""Runs a command where the only network is a loopback of its own: ``python alone.py COMMAND…``.

So a documented port is free, whatever else this machine runs, and nothing outside is reached. To be
run in a new network namespace, whose loopback is still down.
"""

import fcntl
import os
import socket
import struct
import sys

_SET_FLAGS = 0x8914
_UP = 0x1
_REQUEST = struct.Struct("16sh14x")

if __name__ == "__main__":
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, _REQUEST.pack(b"lo", _UP))
    os.execvp(sys.argv[1], sys.argv[1:])
