"""Ports that are chosen before another process binds them."""

import random
import socket

_CHANCE = random.SystemRandom()


def free_port(host="127.0.0.1"):
    """Return a port on which nobody listens.

    It is below those that the system gives to connections and to whoever binds port 0: in between,
    no other test can get it by accident, but for one of 20,000 in each other call.
    """
    for _ in range(1000):
        port = _CHANCE.randrange(12_000, 32_000)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
            try:
                tried.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")
