"""Runs a command where the only network is a loopback: ``python alone.py [--address A] COMMAND…``.

So a documented port is free, whatever else this machine runs, and nothing outside is reached. To be
run in a new network namespace, whose loopback is still down. With an address the loopback has that
as well, for those to ask who have a loopback of their own.
"""

import fcntl
import os
import socket
import struct
import sys

_SET_FLAGS, _SET_ADDRESS = 0x8914, 0x8916
_UP = 0x1
_FLAGS, _ADDRESS = struct.Struct("16sh14x"), struct.Struct("16sHH4s8x")

if __name__ == "__main__":
    command = sys.argv[1:]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, _FLAGS.pack(b"lo", _UP))
        if command[0] == "--address":
            packed = socket.inet_aton(command[1])
            fcntl.ioctl(any_socket, _SET_ADDRESS, _ADDRESS.pack(b"lo:1", socket.AF_INET, 0, packed))
            command = command[2:]
    os.execvp(command[0], command)
