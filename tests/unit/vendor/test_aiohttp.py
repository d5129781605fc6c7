"""What monitor/sinks/webhook/sink.py relies on inside aiohttp; an upgrade may change any of it."""

import asyncio
import inspect
import socket

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

from tests.contracts.sink_kit import receiving, replying


async def posted(receiver, **session):
    """Post once and return the status."""
    async with (
        aiohttp.ClientSession(**session) as opened,
        opened.post(receiver.url, data=aiohttp.BytesPayload(b"{}")) as response,
    ):
        return response.status


async def test_send_of_the_request_class_gets_the_connection_of_each_request():
    """`_Request.send` refuses a connection on which something lies already."""
    seen = []

    class Request(aiohttp.ClientRequest):
        async def send(self, conn):
            seen.append(conn.protocol)
            return await super().send(conn)

    async with receiving() as receiver:
        assert await posted(receiver, request_class=Request) == 200
    assert list(inspect.signature(aiohttp.ClientRequest.send).parameters) == ["self", "conn"]
    assert [type(protocol) for protocol in seen] == [ResponseHandler]


async def test_a_protocol_should_close_once_data_came_before_a_request():
    protocol = ResponseHandler(asyncio.get_running_loop())
    assert protocol.should_close is False
    protocol.data_received(b"HTTP/1.1 200 OK\r\n")
    assert protocol.should_close is True


async def test_write_with_length_of_a_payload_sends_the_whole_body():
    """`_Body.write_with_length` notes that all of it has gone out."""
    calls = []

    class Body(aiohttp.BytesPayload):
        async def write_with_length(self, writer, content_length):
            await super().write_with_length(writer, content_length)
            calls.append(content_length)

    async with (
        receiving() as receiver,
        aiohttp.ClientSession() as session,
        session.post(receiver.url, data=Body(b"{}")) as response,
    ):
        assert response.status == 200
    assert len(calls) == 1
    assert receiver.requests[0].body == b"{}"


async def test_socket_factory_of_the_connector_sees_each_address_before_it_is_connected():
    """`open_webhook` refuses forbidden addresses there, also those of a second lookup."""
    seen = []

    def factory(info):
        family, kind, protocol, _, address = info
        seen.append(address[0])
        return socket.socket(family, kind, protocol)

    async with receiving() as receiver:
        connector = aiohttp.TCPConnector(socket_factory=factory)
        assert await posted(receiver, connector=connector) == 200
    assert seen == ["127.0.0.1"]


async def test_os_error_of_a_connector_error_is_what_the_socket_factory_raised():
    """`_unreachable` tells a forbidden address from others by it."""
    refused = OSError("refused here")

    def factory(_info):
        raise refused

    async with receiving() as receiver:
        connector = aiohttp.TCPConnector(socket_factory=factory)
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await posted(receiver, connector=connector)
    assert caught.value.os_error is refused


async def test_authorization_in_proxy_headers_goes_to_the_proxy_under_its_own_name():
    """The credentials of a proxy must never reach the receiver."""
    async with (
        receiving(replying(200)) as proxy,
        aiohttp.ClientSession() as session,
        session.post(
            "http://hook.example/",
            data=b"{}",
            proxy=f"http://127.0.0.1:{proxy.port}",
            proxy_headers={"Authorization": "Basic eA=="},
        ) as response,
    ):
        assert response.status == 200
    (request,) = proxy.requests
    assert request.headers["proxy-authorization"] == "Basic eA=="
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError),
        (aiohttp.ClientConnectorDNSError, aiohttp.ClientConnectorError),
        (aiohttp.ClientHttpProxyError, aiohttp.ClientResponseError),
        (aiohttp.ClientProxyConnectionError, aiohttp.ClientConnectorError),
        (aiohttp.ClientPayloadError, aiohttp.ClientError),
    ],
)
def test_the_errors_of_aiohttp_are_known_by_their_classes(narrow, wide):
    """`_CAUSES` takes the first that fits, so the narrow ones stand first."""
    assert issubclass(narrow, wide)
