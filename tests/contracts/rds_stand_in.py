"""A stand-in for Amazon RDS with IAM authentication, in front of a real server.

It shares no code with the monitor: it computes the signature of a token by itself, from the
definition of Signature Version 4.
"""

import asyncio
import hashlib
import hmac
import struct
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote

_SSL_REQUEST = 80877103
_CLEAR_TEXT = 3


class StandIn:
    """What it lets in, and the tokens that it was given; ``keys`` are access keys and secrets."""

    def __init__(self, socket_path, region, keys):
        self.socket_path = socket_path
        self.region = region
        self.keys = keys
        self.port = 0
        self.tokens = []
        self.refused = []

    def fault(self, token, user):
        """Return what is wrong with a token, or an empty text."""
        host, _, text = token.partition("/?")
        query = dict(parse_qsl(text, strict_parsing=True))
        signature = query.pop("X-Amz-Signature")
        access_key, date, *scope = query["X-Amz-Credential"].split("/")
        stamp = query["X-Amz-Date"]
        made = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        expected = {
            "host": (host, f"localhost:{self.port}"),
            "action": (query["Action"], "connect"),
            "user": (query["DBUser"], user),
            "algorithm": (query["X-Amz-Algorithm"], "AWS4-HMAC-SHA256"),
            "validity": (query["X-Amz-Expires"], "900"),
            "headers": (query["X-Amz-SignedHeaders"], "host"),
            "scope": (scope, [self.region, "rds-db", "aws4_request"]),
            "date": (date, stamp[:8]),
            "fresh": (abs(datetime.now(UTC) - made) < timedelta(minutes=1), True),
            "session": (query.get("X-Amz-Security-Token"), self.keys.get(access_key, (0, 0))[1]),
        }
        for what, (given, right) in expected.items():
            if given != right:
                return what
        pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in query.items())
        listed = "&".join(f"{key}={value}" for key, value in pairs)
        nothing = hashlib.sha256(b"").hexdigest()
        request = f"GET\n/\n{listed}\nhost:{host}\n\nhost\n{nothing}"
        digest = hashlib.sha256(request.encode()).hexdigest()
        signed = f"AWS4-HMAC-SHA256\n{stamp}\n{'/'.join([date, *scope])}\n{digest}"
        key = f"AWS4{self.keys[access_key][0]}".encode()
        for part in (date, *scope, signed):
            key = hmac.digest(key, part.encode(), "sha256")
        return "" if hmac.compare_digest(key.hex(), signature) else "signature"

    async def serve(self, reader, writer, context):
        """Take one connection: TLS, then the token, then on to the real server."""
        _, code = struct.unpack("!ii", await reader.readexactly(8))
        if code != _SSL_REQUEST:
            writer.close()
            return
        writer.write(b"S")
        await writer.start_tls(context)
        (length,) = struct.unpack("!i", head := await reader.readexactly(4))
        startup = await reader.readexactly(length - 4)
        words = startup[4:].split(b"\0")
        user = dict(zip(words[::2], words[1::2], strict=False))[b"user"].decode()
        writer.write(b"R" + struct.pack("!ii", 8, _CLEAR_TEXT))
        kind, length = struct.unpack("!ci", await reader.readexactly(5))
        assert kind == b"p"
        token = (await reader.readexactly(length - 4)).rstrip(b"\0").decode()
        fault = self.fault(token, user)
        if fault:
            self.refused.append(fault)
            text = f'PAM authentication failed for user "{user}"'.encode()
            fields = b"SFATAL\0VFATAL\0C28000\0M" + text + b"\0\0"
            writer.write(b"E" + struct.pack("!i", 4 + len(fields)) + fields)
            await writer.drain()
            writer.close()
            return
        self.tokens.append(token)
        to_server = await asyncio.open_unix_connection(self.socket_path)
        to_server[1].write(head + startup)
        await asyncio.gather(_pass(reader, to_server[1]), _pass(to_server[0], writer))


async def _pass(reader, writer):
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def running(socket_path, context, region, keys):
    """Listen on loopback; ``keys`` maps access keys to their secret and session token."""
    stand_in = StandIn(socket_path, region, keys)

    async def take(reader, writer):
        with suppress(asyncio.IncompleteReadError, OSError):
            await stand_in.serve(reader, writer, context)

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    stand_in.port = server.sockets[0].getsockname()[1]
    try:
        yield stand_in
    finally:
        server.close()
