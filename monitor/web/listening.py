"""The sockets that the server listens on: one address, a name, or both families at once."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import ExitStack

EVERYWHERE = ("", "::")
"""Hosts that stand for every address of the machine, IPv4 and IPv6."""
BACKLOG = 128

_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


async def bind(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen on ``host``: an address, a name, or one of EVERYWHERE.

    EVERYWHERE is one socket for both families, and one for IPv4 where the kernel has no IPv6.

    Raises:
        OSError: the address cannot be listened on.
    """
    if host in EVERYWHERE:
        try:
            return [_listen(socket.AF_INET6, ("::", port), both=True)]
        except OSError as error:
            # Any other failure would be the same with IPv4, or leave half of the clients out.
            if error.errno not in _NO_IPV6:
                raise
        return [_listen(socket.AF_INET, ("0.0.0.0", port))]  # noqa: S104 -- what ":PORT" asks for
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
    )
    with ExitStack() as undo:
        bound = []
        for family, _, _, _, address in dict.fromkeys(found):
            listening = _listen(socket.AddressFamily(family), address)
            undo.callback(listening.close)
            bound.append(listening)
        undo.pop_all()
    return bound


def _listen(
    family: socket.AddressFamily, address: tuple[object, ...], *, both: bool = False
) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.settimeout(0)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Said either way: the kernel's default is a setting of the machine.
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not both))
        listening.bind(address)
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening
