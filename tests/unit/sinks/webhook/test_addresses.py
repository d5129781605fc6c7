"""Which addresses may be connected to."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.sinks.webhook.addresses import literal, refusal

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "52.95.110.1",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a05:d018::1",
    "2600:1f18::1",
    "2001:4860:4860::8888",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",  # how pods without IPv4 reach the internet
]
RESERVED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",  # compatible
    "::808:808",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1",  # translated
    "64:ff9b::10.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b:1::8.8.8.8",
    "100::1",  # discard
    "2001::1",  # Teredo
    "2001:2::1",  # benchmarks
    "2001:10::1",  # ORCHID
    "2001:db8::1",
    "2002:7f00:1::1",  # 6to4 of 127.0.0.1
    "2002:808:808::1",
    "2606:4700::5efe:10.0.0.1",  # ISATAP
    "2606:4700::200:5efe:192.168.0.1",
    "3ffe::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fe80::a9fe:a9fe%eth0",
    "::169.254.169.254",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:aa02",
    "::ffff:0:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "2001:0:a9fe:a9fe::1",  # Teredo, the server
    "2001:0:808:808:0:0:5601:5601",  # Teredo, the client
    "2606:4700::5efe:a9fe:a9fe",
    "fd00::200:5efe:169.254.169.254",
    "169.254.0.23",
    "64:ff9b:1:a9fe:a9:fe00::",  # NAT64 of a site, as /48
    "64:ff9b:1:12a9:fe:a9fe::",  # as /56
    "64:ff9b:1:1234:a9:fea9:fe00:0",  # as /64
    "2001:db8:a9fe:a9fe::",  # of an operator, as /32, and 6rd
    "2a05:d018:a9:fea9:fe::",  # as /40
    "2a05:d018:1::6464:64c8",  # as /96
]
EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_reached(address):
    assert refusal(address) is None


@pytest.mark.parametrize("address", RESERVED)
def test_a_reserved_address_may_be_reached_only_where_it_is_opened(address):
    assert refusal(address) == "an address that is not public"
    assert refusal(address, [ip_network("11.0.0.0/8"), ip_network("2600::/16")])
    assert refusal(address, EVERYWHERE) is None


@pytest.mark.parametrize("address", METADATA)
def test_a_metadata_service_is_never_reached(address):
    assert refusal(address) == "a metadata service, which is never permitted"
    assert refusal(address, EVERYWHERE) == "a metadata service, which is never permitted"


@given(st.sampled_from([m for m in METADATA if ":" not in m]), st.integers(0, 2**128 - 1))
def test_no_translation_reaches_a_metadata_service(metadata, around):
    """Embed the address after each prefix length of RFC 6052, whatever stands around it."""
    bits = f"{int(ip_address(metadata)):032b}"
    for length in (32, 40, 48, 56, 64, 96):
        text = list(f"{around:0128b}")
        places = [n for n in range(length, 128) if length == 96 or not 64 <= n < 72][:32]
        for place, bit in zip(places, bits, strict=True):
            text[place] = bit
        address = str(IPv6Address(int("".join(text), 2)))
        assert "metadata" in (refusal(address, EVERYWHERE) or "")


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3"])
def test_an_open_network_holds_its_addresses_in_their_plain_wrappings(address):
    assert refusal(address, [ip_network("10.0.0.0/8")]) is None


@pytest.mark.parametrize(
    "address", ["2002:a01:203::1", "2001:0:a01:203::1", "fd00::5efe:10.1.2.3", "::10.1.2.3"]
)
def test_an_open_network_does_not_open_tunnels_to_it(address):
    assert refusal(address, [ip_network("10.0.0.0/8")])


@given(st.ip_addresses(v=4))
def test_whatever_the_standard_library_calls_private_is_refused(address):
    if not address.is_global or address.is_multicast:
        assert refusal(str(address))
        assert refusal(f"::ffff:{address}")


@given(st.ip_addresses(v=6))
def test_whatever_the_standard_library_calls_a_private_ipv6_is_refused(address):
    if not address.is_global and address.ipv4_mapped is None:
        assert refusal(str(address))


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0x7f.0x1", "127.0.0.1"),
        ("0xA9FEA9FE", "169.254.169.254"),
        ("0", "0.0.0.0"),
        ("::1", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("localhost", None),
        ("127.0.0.1.example.com", None),
        ("0xzz", None),
        ("256.256.256.256", None),
    ],
)
def test_an_address_is_known_in_every_form_a_c_library_reads(host, address):
    assert literal(host) == address


def test_a_name_is_no_address():
    with pytest.raises(ValueError, match="does not appear"):
        refusal("example.com")


def test_the_vectors_are_addresses():
    vectors = PUBLIC + RESERVED + METADATA
    assert len(set(vectors)) == len(vectors)
    assert {type(ip_address(vector)) for vector in vectors} == {IPv4Address, IPv6Address}
