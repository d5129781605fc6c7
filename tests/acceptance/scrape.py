"""What a daemon's metrics say, as values."""

import aiohttp
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.program import fetch


async def samples(url, wanted):
    """The samples of one metric: labels without the constant ones → value."""
    status, _, text = await fetch(f"{url}/metrics")
    assert status == 200
    families = text_string_to_metric_families(text)
    found = (sample for family in families for sample in family.samples)
    return [(sample.labels, sample.value) for sample in found if sample.name == wanted]


async def table(url, wanted, *labels):
    """The samples of one metric that are not 0, by the values of some labels; they add up."""
    found: dict[tuple[str, ...], float] = {}
    for told, value in await samples(url, f"job_monitor_{wanted}"):
        key = tuple(told[label] for label in labels)
        found[key] = found.get(key, 0) + value
    return {key: value for key, value in found.items() if value}


async def exemplars(url):
    """The exemplars of every histogram that has some, in OpenMetrics."""
    headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{url}/metrics") as response,
    ):
        text = await response.text()
    found = {}
    for family in parse_openmetrics(text):
        told = [sample.exemplar for sample in family.samples if sample.exemplar]
        if told:
            found[family.name] = told
    return found
