"""A proxy before a PostgreSQL server, which cuts connections where a test wants it."""

import asyncio
from contextlib import asynccontextmanager, suppress


class Proxy:
    """Passes bytes on; ``directory`` is what a URL names as its host.

    ``cut_at`` is a part of what a client sends. The next connection that sends it is cut: before it
    is passed on, or after the server has answered, and never passed back. With ``half_open``, the
    server does not learn of it. While ``closed``, nobody can connect. What is sent
    on the first connection, and its end, is passed on after ``delay`` seconds. While ``stalled``,
    nothing is passed on either way, as by a network that drops all packets.
    """

    def __init__(self, directory, path):
        self.directory = directory
        self.path = path
        self.cut_at = b""
        self.before = False
        self.half_open = False
        self.closed = False
        self.stalled = False
        self.delay = 0.0
        self.cuts = 0
        self.connections = []

    def cut_all(self):
        """Cut every connection towards the clients."""
        for client, server in self.connections:
            client.transport.abort()
            if not self.half_open:
                server.transport.abort()
        self.connections.clear()

    async def take(self, reader, writer):
        """Pass one connection on until it ends or is cut."""
        try:
            if self.closed:
                return
            from_server, to_server = await asyncio.open_unix_connection(self.path)
        except OSError:
            return
        finally:
            if self.closed:
                writer.transport.abort()
        self.connections.append((writer, to_server))
        quiet, answered = asyncio.Event(), asyncio.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                back = tasks.create_task(self._back(from_server, writer, quiet, answered))
                await self._forward(reader, writer, to_server, quiet, answered)
                back.cancel()
        except* OSError:
            pass
        finally:
            writer.transport.abort()
            to_server.transport.abort()

    async def _forward(self, reader, writer, to_server, quiet, answered):
        while data := await _read(reader):
            await self._pass()
            cut = bool(self.cut_at) and self.cut_at in data
            if cut:
                self.cut_at = b""
                self.cuts += 1
                quiet.set()
            if not (cut and self.before):
                await self._linger(writer)
                to_server.write(data)
                await to_server.drain()
            if cut:
                if not self.before:
                    async with asyncio.timeout(60):
                        await answered.wait()
                writer.transport.abort()
                break
        await self._linger(writer)
        if self.half_open:
            await asyncio.sleep(60)  # until the server ends it, or the test does

    async def _pass(self):
        while self.stalled:  # noqa: ASYNC110 -- a test sets it
            await asyncio.sleep(0.05)

    async def _back(self, from_server, writer, quiet, answered):
        while data := await from_server.read(65536):
            await self._pass()
            if quiet.is_set():
                answered.set()
            else:
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _linger(self, writer):
        if self.connections and self.connections[0][0] is writer:
            await asyncio.sleep(self.delay)


async def _read(reader):
    """Read some; an abrupt end is an end."""
    try:
        return await reader.read(65536)
    except OSError:
        return b""


@asynccontextmanager
async def running(server, directory):
    """Run a proxy before a server of the kit."""
    proxy = Proxy(directory, f"{server.home}/.s.PGSQL.{server.port}")
    tasks: set[asyncio.Task[None]] = set()

    async def pass_on(reader, writer):
        with suppress(asyncio.CancelledError):
            await proxy.take(reader, writer)
        writer.transport.abort()

    def take(reader, writer):
        tasks.add(asyncio.ensure_future(pass_on(reader, writer)))

    listener = await asyncio.start_unix_server(take, f"{directory}/.s.PGSQL.5432")
    try:
        yield proxy
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # an aborted transport closes its socket in the next round
