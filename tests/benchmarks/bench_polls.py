"""Polls per CPU-second on unchanged answers: prepared requests against a naive loop of the SDK.

Both poll the same server, in a process of its own on another core, sixteen at once, in rounds that
alternate. The naive loop calls one aiobotocore client and throws the answer away; a prepared poll
is signed, sent, and compared by its digest. Neither has a schedule, a store or metrics. Ends with
1 where a ratio is below its limit.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession

from monitor.aws import service_models
from monitor.aws.clients import Clients
from monitor.clock import SystemClock
from monitor.config import Account
from monitor.model import Job
from monitor.sources.aws_source import AwsSource
from monitor.sources.loader import load_job_types
from tests.certificates import certificate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

ROUNDS, TOGETHER = 5, 16
NAIVE, PREPARED = 200, 4000
"""Polls in a round."""
MODELS = service_models.loader({})
TYPES = load_job_types(None, MODELS)
REGION = "us-east-1"
IDS = [f"job-{number}" for number in range(200)]
LIMITS = {
    ("describe", "http"): 20.0, ("GetStatus", "http"): 20.0, ("list page", "http"): 25.0,
    ("describe", "https"): 15.0, ("GetStatus", "https"): 12.0, ("list page", "https"): 15.0,
}  # fmt: skip


@contextmanager
def server(directory: Path, *, tls: bool, pages: int = 1) -> Iterator[str]:
    """Run a server on the last core, whose listing has so many pages; yield its URL."""
    file = directory / "server.pem"
    certificate(file, "localhost", 9)
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.steady_server",
        "0",
        str(pages),
        *([str(file)] if tls else []),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(process.pid, {cores[-1]})
    try:
        assert process.stdout is not None
        yield f"{'https' if tls else 'http'}://localhost:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait()


@asynccontextmanager
async def naive(account: Account, operation: str) -> AsyncIterator[Callable[[int], Any]]:
    """Yield a poll of a client that is as the SDK makes it."""
    service = "importexport" if operation == "GetStatus" else "panorama"
    session = AioSession()
    session.register_component("data_loader", MODELS)
    async with session.create_client(
        service,
        region_name=REGION,
        endpoint_url=account.endpoint_urls[service],
        config=AioConfig(max_pool_connections=TOGETHER),
    ) as client:
        yield _calls(client)[operation]


def _calls(client: Any) -> dict[str, Callable[[int], Any]]:
    return {
        "describe": lambda n: client.describe_package_import_job(JobId=IDS[n % len(IDS)]),
        "GetStatus": lambda n: client.get_status(JobId=IDS[n % len(IDS)]),
        "list page": lambda n: client.list_package_import_jobs(MaxResults=25),
    }


async def naive_rate(poll: Callable[[int], Any]) -> float:
    """Return polls per second of CPU."""
    numbers = iter(range(NAIVE))

    async def some() -> None:
        for number in numbers:
            await poll(number)

    began = time.process_time()
    await asyncio.gather(*(some() for _ in range(TOGETHER)))
    return NAIVE / (time.process_time() - began)


async def prepared_rate(polls: list[Any], digests: dict[Any, bytes]) -> float:
    """Return polls per second of CPU; every answer must be the last one's like."""
    left, done = [PREPARED, 0], asyncio.get_running_loop().create_future()

    def send() -> None:
        left[0] -= 1
        poll = polls[left[0] % len(polls)]

        def take(response: Any) -> None:
            digest = response.digest
            if digest is None or digests.setdefault(poll, digest) != digest:
                done.set_exception(AssertionError("an answer is not the last one's like"))
                return
            left[1] += 1
            if left[0] > 0:
                send()
            elif left[1] == PREPARED:
                done.set_result(None)

        assert poll(take)

    began = time.process_time()
    for _ in range(TOGETHER):
        send()
    await done
    return PREPARED / (time.process_time() - began)


async def prepared(source: AwsSource, operation: str, job_id: str) -> Callable[[Any], bool]:
    """Return what sends a page, or the describe of a job."""
    if operation == "list page":
        page = await source.prepare_page(None)
        assert page is not None
        return page.send
    jobs = [Job(source.job_type.name, "default", REGION, job_id)]
    poll = await source.prepare(jobs)
    assert poll is not None
    return partial(poll.send, jobs)


async def measure(url: str) -> dict[str, tuple[float, float]]:
    """Return both rates by operation, as medians."""
    account = Account(endpoint_urls={"panorama": url, "importexport": url})
    found: dict[str, tuple[float, float]] = {}
    async with Clients({"default": account}, models=MODELS) as clients:
        for operation in ("describe", "GetStatus", "list page"):
            kind = TYPES[
                "importexport.job" if operation == "GetStatus" else "panorama.package-import"
            ]
            source = AwsSource(kind, "default", REGION, clients, SystemClock())
            polls = [await prepared(source, operation, name) for name in IDS]
            digests: dict[Any, bytes] = {}
            async with naive(account, operation) as poll:
                rates = [
                    (await naive_rate(poll), await prepared_rate(polls, digests))
                    for _ in range(1 + ROUNDS)
                ]
            del rates[0]  # what is slow once
            one, other = zip(*rates, strict=True)
            found[operation] = statistics.median(one), statistics.median(other)
    return found


def main() -> None:
    os.environ.update(AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE", AWS_SECRET_ACCESS_KEY="bench")
    loop = "uvloop" if util.find_spec("uvloop") else "asyncio"
    factory = __import__(loop).new_event_loop
    missed = []
    lines = ["| poll | over | naive loop /CPU-s | prepared /CPU-s | ratio | at least |"]
    lines.append("|---|---|---:|---:|---:|---:|")
    for scheme in ("http", "https"):
        with (
            tempfile.TemporaryDirectory() as directory,
            server(Path(directory), tls=scheme == "https") as url,
        ):
            os.environ["AWS_CA_BUNDLE"] = f"{directory}/server.pem"
            cores = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {min(cores)})
            with asyncio.Runner(loop_factory=factory) as runner:
                found = runner.run(measure(url))
            os.sched_setaffinity(0, cores)
        for operation, (one, other) in found.items():
            limit = LIMITS[operation, scheme]
            rates = f"{one:,.0f} | {other:,.0f} | {other / one:.1f} | {limit:.0f}"
            lines.append(f"| {operation} | {scheme} | {rates} |")
            if other / one < limit:
                missed.append(f"{operation} over {scheme}")
    sys.stdout.write(f"On {loop}:\n\n" + "\n".join(lines) + "\n")
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
