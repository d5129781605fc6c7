"""No forbidden address is ever connected to, however the URL leads there."""

import asyncio
import itertools
import socket

import aiohttp
import anyio
import pytest
from aiohttp.abc import AbstractResolver

from monitor.errors import SendError, SendReason
from monitor.sinks.webhook.sink import open_webhook
from monitor.sinks.webhook.target import load
from tests.contracts.sink_kit import SEEN, event, receiving, replying, webhook


class Names(AbstractResolver):
    """A name server of one name that gives its answers in turn."""

    def __init__(self, *answers, delay=0.0):
        self._answers = itertools.cycle(answers)
        self._delay = delay

    async def resolve(self, host, port=0, family=socket.AF_UNSPEC):
        await asyncio.sleep(self._delay)
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
            for address in next(self._answers)
        ]

    async def close(self):
        pass


async def outcome(url, names=None, **more):
    """Send one event to ``url``; return the error, if any."""
    target = load("ops", webhook(url, **more))
    async with open_webhook(target, lambda: SEEN, names) as sink:
        try:
            with anyio.fail_after(90):
                await sink.send([event()])
        except SendError as error:
            return error
    return None


async def test_a_name_of_this_machine_is_refused_before_connecting():
    async with receiving() as receiver:
        url = f"http://localhost:{receiver.port}/secret-path"
        error = await outcome(url, allow_networks=[])
        assert error.reason is SendReason.FORBIDDEN_ADDRESS
        assert error.message == "http://localhost leads to an address that is not public"
        assert receiver.connections == 0


async def test_an_open_network_is_reached():
    async with receiving() as receiver:
        assert await outcome(f"http://localhost:{receiver.port}/") is None
        assert receiver.connections == 1


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.1.2.3",
        "0.0.0.0",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "fe80::1%lo",
        "::7f00:1",
    ],
)
async def test_a_name_may_not_lead_to_this_machine_in_any_form(address):
    async with receiving() as receiver:
        url = f"http://hook.example:{receiver.port}/"
        error = await outcome(url, Names([address]), allow_networks=["10.0.0.0/8"])
        assert error.reason is SendReason.FORBIDDEN_ADDRESS
        assert receiver.connections == 0


@pytest.mark.parametrize("address", ["169.254.169.254", "::ffff:169.254.170.2", "fd00:ec2::254"])
async def test_a_metadata_service_stays_closed_whatever_is_open(address):
    error = await outcome(
        "http://hook.example/", Names([address]), allow_networks=["0.0.0.0/0", "::/0"]
    )
    assert error.reason is SendReason.FORBIDDEN_ADDRESS
    assert error.message.endswith("a metadata service, which is never permitted")


async def test_of_several_addresses_only_a_permitted_one_is_used():
    async with receiving() as receiver:
        url = f"http://hook.example:{receiver.port}/"
        names = Names(["169.254.169.254", "127.0.0.1", "10.0.0.1"])
        assert await outcome(url, names, allow_networks=["127.0.0.1/32"]) is None
        assert receiver.connections == 1


async def test_several_forbidden_addresses_are_forbidden():
    names = Names(["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254"])
    error = await outcome("http://hook.example/", names, allow_networks=[])
    assert error.reason is SendReason.FORBIDDEN_ADDRESS


async def test_a_name_that_changes_its_answer_is_checked_each_time():
    async with receiving(replying(200, b"", "Connection: close")) as receiver:
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        target = load(
            "ops",
            webhook(f"http://hook.example:{receiver.port}/", allow_networks=["127.0.0.1/32"]),
        )
        async with open_webhook(target, lambda: SEEN, names) as sink:
            await sink.send([event()])
            connector = sink._session.connector
            assert isinstance(connector, aiohttp.TCPConnector)
            connector.clear_dns_cache()
            with pytest.raises(SendError) as caught:
                await sink.send([event()])
        assert caught.value.reason is SendReason.FORBIDDEN_ADDRESS
        assert receiver.connections == 1


async def test_a_slow_name_server_counts_into_the_deadline():
    names = Names(["127.0.0.1"], delay=30)
    with anyio.fail_after(25):
        error = await outcome("http://hook.example/", names, timeout="300ms")
    assert error.reason is SendReason.TIMEOUT
