"""URLs that mean to lead the monitor astray: refused by default, whatever form they have."""

import anyio
import pytest

from monitor.errors import ConfigurationError, SendError, SendReason
from monitor.sinks.webhook.sink import open_webhook
from monitor.sinks.webhook.target import load
from tests.contracts.sink_kit import SEEN, event, receiving, webhook
from tests.integration.test_webhook_addresses import Names

LOOPBACK, HERE6 = "127.0.0.0/8", "::1/128"
OPENED = {
    # The host as it stands in the URL → the network that must be opened for it.
    "127.0.0.1": LOOPBACK,
    "127.255.255.254": LOOPBACK,
    "localhost": LOOPBACK,
    "LOCALHOST": LOOPBACK,
    "0.0.0.0": "0.0.0.0/8",
    "[::1]": HERE6,
    "[0:0:0:0:0:0:0:1]": HERE6,
    "[::]": "::/128",
    "[::ffff:127.0.0.1]": LOOPBACK,
    "[::ffff:7f00:1]": LOOPBACK,
    "[::127.0.0.1]": "::/96",
    "[::ffff:0:127.0.0.1]": "::ffff:0:0:0/96",
    "[64:ff9b::127.0.0.1]": LOOPBACK,
    "[64:ff9b::a00:1]": "10.0.0.0/8",
    "[64:ff9b:1::7f00:1]": "64:ff9b:1::/48",
    "[2002:7f00:1::1]": "2002::/16",
    "[2001:0:7f00:1::1]": "2001::/32",
    "[2606:4700::5efe:10.0.0.1]": "2606:4700::/32",
    "[fe80::1]": "fe80::/10",
    "[fc00::1]": "fc00::/7",
    "[fd12:3456::1]": "fc00::/7",
    "[ff02::1]": "ff00::/8",
    "10.0.0.1": "10.0.0.0/8",
    "172.16.0.1": "172.16.0.0/12",
    "192.168.0.1": "192.168.0.0/16",
    "100.64.0.1": "100.64.0.0/10",
    "169.254.0.1": "169.254.0.0/16",
    "198.18.0.1": "198.18.0.0/15",
    "224.0.0.1": "224.0.0.0/4",
    "255.255.255.255": "240.0.0.0/4",
}
ODD = [
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7F.0x0.0x0.0x1",
    "0x7f.1",
    "017700000001",
    "0177.0.0.1",
    "0177.1",
    "0x7f.0.0.01",
    "0",
    "0x0",
    "0xa000001",
    "012.0.0.1",
    "167772161",
    "10.1",
    "0300.0250.0.1",
    "3232235521",
]
"""IPv4 addresses as a C library reads them; no option permits these forms."""
METADATA = [
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "0xa9.254.0xa9fe",
    "169.16689662",
    "169.254.170.2",
    "169.254.170.23",
    "100.100.100.200",
    "[fd00:ec2::254]",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[::169.254.169.254]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::1]",
    "user@169.254.169.254",
    "hooks.example.com@169.254.169.254",
]
TRICKS = [
    "user@127.0.0.1",
    "user:word@127.0.0.1",
    "hooks.example.com@127.0.0.1",
    "hooks.example.com:80@127.0.0.1",
    "127.0.0.1\\@hooks.example.com",
    "hooks.example.com\\@127.0.0.1",
    "127.0.0.1 .hooks.example.com",
    "127.0.0.1\t",
    "127.0.0.1\r\nHost: hooks.example.com",
    "%31%32%37.0.0.1",
    "127.0.0.1%00.hooks.example.com",
    "\u2460\u2461\u2466.0.0.1",
    "127\u30020\u30020\u30021",
    "[::1",
    "[::1]x",
]
"""Two readers may take them for two hosts; the names among them lead to this machine."""
EVERYWHERE = ["0.0.0.0/0", "::/0"]


async def refused(url, opened, names=None):
    """Whether a URL is refused, with the configuration or when its address is known."""
    try:
        target = load("ops", webhook(url, allow_networks=opened, timeout="400ms"))
    except (ConfigurationError, ValueError):
        return True
    async with open_webhook(target, lambda: SEEN, names) as sink:
        try:
            with anyio.fail_after(90):
                await sink.send([event()])
        except SendError as error:
            return error.reason is SendReason.FORBIDDEN_ADDRESS
    return False


def others(network):
    """Open everything that is asked for, but not ``network``."""
    wide = {"10.0.0.0/8", "172.16.0.0/12", LOOPBACK, "fc00::/7", HERE6} - {network}
    return sorted(wide if network != "::/128" else wide - {HERE6})


@pytest.mark.parametrize(("host", "network"), OPENED.items(), ids=OPENED.keys())
async def test_a_host_that_is_not_public_is_reached_only_where_its_network_is_opened(host, network):
    async with receiving() as receiver:
        url = f"http://{host}:{receiver.port}/"
        assert await refused(url, [])
        assert await refused(url, others(network))
        assert receiver.connections == 0
        # Whether anybody is there is another question.
        assert not await refused(url, [network, *([HERE6] if "local" in host.lower() else [])])


@pytest.mark.parametrize("host", ODD)
async def test_an_address_in_an_odd_form_is_refused_whatever_is_opened(host):
    async with receiving() as receiver:
        url = f"http://{host}:{receiver.port}/"
        assert await refused(url, [])
        assert await refused(url, EVERYWHERE)
        assert receiver.connections == 0


@pytest.mark.parametrize("host", METADATA)
async def test_a_metadata_service_is_refused_in_every_form_whatever_is_opened(host):
    assert await refused(f"http://{host}/latest/meta-data/", [])
    assert await refused(f"http://{host}/latest/meta-data/", EVERYWHERE)


@pytest.mark.parametrize("host", TRICKS)
async def test_a_host_that_is_written_to_deceive_reaches_nothing(host):
    async with receiving() as receiver:
        names = Names(["127.0.0.1"])
        assert await refused(f"http://{host}:{receiver.port}/", [], names)
        assert receiver.connections == 0


def test_there_are_enough_vectors():
    assert len(OPENED) + len(ODD) >= 40
    assert not OPENED.keys() & {*ODD, *METADATA}
