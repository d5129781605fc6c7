"""Which addresses a webhook may connect to.

Facts: the special-purpose address registries of IANA (RFC 6890 and its updates), written out
because what ``ipaddress`` calls global differs between patch releases of Python; RFC 4291
(mapped), RFC 6052 and 8215 (NAT64), RFC 3056 (6to4), RFC 5969 (6rd), RFC 4380 (Teredo),
RFC 5214 (ISATAP).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import inet_aton
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_METADATA = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # AWS and most others: the credentials of the machine
            "169.254.170.2",  # AWS ECS: the credentials of the task
            "169.254.170.23",  # AWS EKS: the credentials of the pod
            "fd00:ec2::254",
            "fd00:ec2::23",
            "100.100.100.200",  # Alibaba Cloud
            "168.63.129.16",  # Azure
            "192.0.0.192",  # Oracle Cloud
            "169.254.42.42",  # Scaleway
            "169.254.0.23",  # Tencent Cloud
            "fd00:42::42",
            "fd20:ce::254",  # Google Cloud
            "fe80::a9fe:a9fe",  # OpenStack
        ),
    )
)

_RESERVED = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this network: connects to this machine
            "10.0.0.0/8",
            "100.64.0.0/10",  # shared: carriers, and pods on some clusters
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
            "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "3ffe::/16",  # returned
            "3fff::/20",  # documentation
        ),
    )
)
_GLOBAL_UNICAST = ip_network("2000::/3")

# Where an IPv6 address carries an IPv4 one: the network, and the bits to its right.
_CARRIERS = (
    (IPv6Network("::/96"), 0),  # compatible
    (IPv6Network("::ffff:0:0/96"), 0),  # mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # translated
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("64:ff9b:1::/48"), 0),  # NAT64 of a site, as /96
    (IPv6Network("2002::/16"), 80),  # 6to4
    (IPv6Network("2001::/32"), 64),  # Teredo: its server
)
# The only two forms that stand for nothing but the IPv4 address that they carry.
_TRANSPARENT = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
_WHOLE = (96, 80, 64, 0)
"""Bits to the right of an IPv4 address that is in one piece: after a prefix of 0, 16, 32 or 96."""
_SPLIT = (24, 16, 8, 0)
"""Bits of it that stand before bit 64: after a prefix of 40, 48, 56 or 64."""
_ISATAP = (0x00005EFE, 0x02005EFE)
_LOW_32 = 0xFFFFFFFF


def refusal(address: str, allowed: Iterable[Network] = ()) -> str | None:
    """Say what ``address`` (numeric, maybe with a scope) is that forbids connecting to it.

    ``allowed`` opens private and reserved networks, never a metadata service.

    Raises:
        ValueError: it is no numeric address.
    """
    given = ip_address(address)
    if not _METADATA.isdisjoint((_unscoped(given), *_carried(given), *_embedded(given))):
        return "a metadata service, which is never permitted"
    plain = _plain(given)
    if _is_public(plain) or any(form in net for form in (given, plain) for net in allowed):
        return None
    return "an address that is not public"


def literal(host: str) -> str | None:
    """Return the address that ``host`` is, in any form a C library reads; ``None`` for a name."""
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    try:
        return str(IPv4Address(inet_aton(host)))
    except OSError:
        return None


def _unscoped(address: Address) -> Address:
    return type(address)(int(address))


def _plain(address: Address) -> Address:
    """Take the wrapping off an address that stands for nothing but the one inside."""
    if any(address in network for network in _TRANSPARENT):
        return IPv4Address(int(address) & _LOW_32)
    return address


def _carried(address: Address) -> Iterator[IPv4Address]:
    """Yield every IPv4 address that an IPv6 address may be delivered to."""
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    for network, shift in _CARRIERS:
        if address in network:
            yield IPv4Address(number >> shift & _LOW_32)
    if address in _CARRIERS[-1][0]:
        yield IPv4Address(~number & _LOW_32)
    if number >> 32 & _LOW_32 in _ISATAP:
        yield IPv4Address(number & _LOW_32)


def _embedded(address: Address) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses that any translator or tunnel could read from an IPv6 one.

    A network may have a NAT64 or 6rd prefix of its own, of any length that RFC 6052 names, and
    nothing tells which. So all places are read. That an address which carries none looks like
    a metadata service at one of them by chance has odds of one to tens of millions.
    """
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    for shift in _WHOLE:
        yield IPv4Address(number >> shift & _LOW_32)
    for above in _SPLIT:
        # Bits 64 to 71 are no part of the address, and split it.
        high = number >> 64 & ((1 << above) - 1)
        low = number >> (24 + above) & ((1 << (32 - above)) - 1)
        yield IPv4Address(high << (32 - above) | low)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return not any(map(_is_reserved, (address, *_carried(address))))


def _is_reserved(address: Address) -> bool:
    return any(address in network for network in _RESERVED)
