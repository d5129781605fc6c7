"""Several replicas of the daemon as real processes, over one PostgreSQL."""

import json
import time
from contextlib import AsyncExitStack, asynccontextmanager
from signal import SIGCONT, SIGSTOP

import aiohttp
import anyio
import asyncpg  # type: ignore[import-untyped]

from tests.acceptance import ledger
from tests.acceptance.program import PATIENCE, configure, disks, fetch, packages, running, webhook
from tests.acceptance.world import World

TOKEN = "token-of-the-fleet"
REGIONS = ("us-east-1", "us-west-2", "eu-west-1", "ap-southeast-2")
SINKS = ("hook", "second", "third")
SOURCES = {f"panorama/sim/{region}" for region in REGIONS} | {"importexport/sim/us-east-1"}


class RegionsWorld(World):
    """Jobs of several regions, each of which is a source."""

    def _begin(self, service, job_id, length):
        region = REGIONS[self._born % len(REGIONS)] if service == "panorama" else "us-east-1"
        self._sim.add_job(id=job_id, service=service, region=region)
        self._plans[service, job_id] = self.steps(service, length)


class Replica:
    """One place among the replicas, and the process that fills it."""

    def __init__(self, program, key):
        self.program = program
        self.key = key
        """The access key with which this process signs: it tells whose a request is."""
        self.url = ""

    async def get(self, path):
        status, _, text = await fetch(f"{self.url}{path}")
        assert status == 200, text
        return json.loads(text)

    async def send(self, method, path, body=None):
        """Send a request that may write; return the status and the JSON of the answer."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method, f"{self.url}{path}", json=body, headers={"Authorization": f"Bearer {TOKEN}"}
            ) as response,
        ):
            return response.status, await response.json(content_type=None)

    async def replicas(self):
        return (await self.get("/api/v1/replicas"))["items"]

    async def own(self):
        """Return what it owns, as it says itself."""
        return next(each for each in await self.replicas() if each["own"])


class Fleet:
    """The replicas, the simulator, and what has been done to them."""

    def __init__(self, sim, server, directory, **changes):
        self.sim = sim
        self.server = server
        self.store = server.create("jobs")
        self.directory = directory
        self.replicas = []
        self.disturbed = []
        """Times at which something was killed, stopped or cut."""
        self.lives = 0
        self._stack = AsyncExitStack()
        # Discoveries are sent only where a route names them.
        routes = [{"match": {"kind": "job.discovered"}, "sinks": [*SINKS]}, {"sinks": [*SINKS]}]
        token = directory / "token"
        token.write_text(TOKEN)
        server_settings = {"listen": "127.0.0.1:0", "token_files": [str(token)]}
        fast = {
            "server": server_settings,
            "watches": [packages(regions=REGIONS), disks()],
            "routes": routes,
        }
        sinks = {name: webhook(sim, name, **self._secret()) for name in SINKS}
        self.config = configure(directory, sim, store=self.store, sinks=sinks, **fast | changes)

    def _secret(self):
        return {"secret_files": [str(self.directory / "hook-secret")]}

    @asynccontextmanager
    async def running(self, many=3, *, alone=False):
        """Run so many; ``alone`` does not wait until they share all that is usual."""
        async with self._stack:
            for _ in range(many):
                await self.add()
            if not alone:
                await self.shared()
            yield self

    async def start(self, **env):
        """Start a process, and wait until it runs."""
        self.lives += 1
        key = f"AKIALIFE{self.lives:04d}"
        arguments = ("run", "--config", self.config)
        run = running(*arguments, directory=self.directory, AWS_ACCESS_KEY_ID=key, **env)
        replica = Replica(await self._stack.enter_async_context(run), key)
        replica.url = await replica.program.started()
        return replica

    async def add(self, **env):
        self.replicas.append(await self.start(**env))

    def note(self):
        self.disturbed.append(self.sim.clock.now())

    async def shared(self, alive=None):
        """Wait until all replicas live, and everything is owned as all of them say."""
        wanted = len(self.replicas) if alive is None else alive
        with anyio.fail_after(PATIENCE):
            while not all([await self._is_shared(each, wanted) for each in self.replicas]):  # noqa: ASYNC110 -- over HTTP
                await anyio.sleep(0.2)

    async def _is_shared(self, replica, wanted):
        assert replica.program.alive, replica.program.err[-3000:]
        try:
            alive = [each for each in await replica.replicas() if each["alive"]]
        except (OSError, AssertionError):
            return False
        sources = [name for each in alive for name in each["owned_sources"]]
        sinks = [name for each in alive for name in each["owned_sinks"]]
        counts = [len(each["owned_sources"]) for each in alive]
        return (
            len(alive) == wanted
            and sorted(sources) == sorted(SOURCES)
            and sorted(sinks) == sorted(SINKS)
            and max(counts) - min(counts) <= 1
            and sum(each["upkeep"] for each in alive) == 1
        )

    async def kill(self, replica):
        """Kill a replica; return how long its sources stayed without another that polls them."""
        owned = (await replica.own())["owned_sources"]
        began = time.monotonic()
        self.note()
        assert await replica.program.kill()
        return await self.taken(replica, owned, began)

    async def freeze(self, replica):
        """Stop a replica until others have its sources; return how long that took."""
        owned = (await replica.own())["owned_sources"]
        began = time.monotonic()
        replica.program.process.send_signal(SIGSTOP)
        self.note()
        took = await self.taken(replica, owned, began)
        replica.program.process.send_signal(SIGCONT)
        self.note()
        return took

    async def taken(self, replica, owned, began):
        """Wait until another replica polls what one owned; return the seconds since it began."""
        requests, since = self.sim.truth.requests, self.sim.clock.now()
        for source in owned:
            service, _, region = source.split("/")
            with anyio.fail_after(PATIENCE):
                await requests.wait_for(
                    lambda one, service=service, region=region: (
                        (one.service, one.region) == (service, region)
                        and one.time > since
                        and one.access_key != replica.key
                    )
                )
        return time.monotonic() - began

    async def rows(self):
        """Every transition, in the order of the commits."""
        connection = await asyncpg.connect(self.store)
        found = await connection.fetch(
            "SELECT position, key, sequence, event FROM transitions ORDER BY position"
        )
        await connection.close()
        return [ledger.Row(at, key, number, json.loads(text)) for at, key, number, text in found]

    async def undelivered(self):
        connection = await asyncpg.connect(self.store)
        query = "SELECT count(*) FROM deliveries WHERE status <> 'delivered'"
        found = await connection.fetchval(query)
        await connection.close()
        return found

    async def settled(self):
        """Wait until every job's last state is known, and everything was delivered."""
        ends = {state.job: state.state for state in self.sim.truth.states}
        with anyio.fail_after(2 * PATIENCE):
            while True:
                rows = [row for row in await self.rows() if "job" in row.data]
                last = {row.data["job"]["id"]: row.data["current"]["state"] for row in rows}
                if last == ends and not await self.undelivered():
                    return
                await anyio.sleep(0.3)

    def received(self, sink):
        return [each for each in self.sim.truth.received if each.name == sink]
