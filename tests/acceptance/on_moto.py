"""The settings of a daemon that follows jobs on moto, and what their tests wait for."""

import anyio
import orjson

from tests import moto_kit
from tests.acceptance.program import FAST, PATIENCE, fetch
from tests.moto_jobs import NO_PARENT

DISCOVERED = [{"match": {"kind": ["*", "job.discovered"]}, "sinks": ["hook"]}]
"""Routes that send the discovery of open jobs as well."""


def services(kinds):
    return sorted({kind.partition(".")[0] for kind in kinds})


def following(moto, kinds, interval):
    """Return the settings that follow every job of some types, whatever its parent."""
    return {
        "accounts": {"moto": {"endpoint_urls": dict.fromkeys(services(kinds), moto)}},
        "watches": [
            {
                "name": kind.replace(".", "-"),
                "type": kind,
                "account": "moto",
                "regions": [moto_kit.REGION],
                "discover": True if kind in NO_PARENT else {"of": "all"},
                "interval": f"{interval:g}s",
            }
            for kind in kinds
        ],
        "quotas": dict.fromkeys(services(kinds), FAST),
    }


async def recorded(url, count):
    """Wait until the daemon knows so many jobs."""
    with anyio.fail_after(5 * PATIENCE):
        while True:
            _, _, text = await fetch(f"{url}/api/v1/jobs?limit=1")
            if orjson.loads(text)["total"] >= count:
                return
            await anyio.sleep(0.1)
