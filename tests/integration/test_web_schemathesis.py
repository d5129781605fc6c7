"""The API holds to its own description, whatever it is asked."""

from collections import Counter
from contextlib import suppress

import anyio
import anyio.to_thread
import hypothesis
import pytest

from monitor.config import Settings
from monitor.model import Parking, RuntimeWatch
from monitor.runtime.runtime_watches import RuntimeWatches
from monitor.web.api import jobs as web_jobs
from monitor.web.api import stream as web_events
from monitor.web.auth import Guard
from tests.contracts.store_examples import T0, SettableClock, dead
from tests.web_kit import KEY, open_site

TOKEN = "a-token-of-some-length"
PLAIN = {"name", "type", "account", "regions", "labels"}
"""Keys of a watch whose values have no form of their own."""
pytestmark = pytest.mark.timeout(600)


async def take(_settings, keep):
    """Let other watches take effect."""
    await keep()


def watches(site):
    """What is watched over a site's store, of which any that has the right shape is taken."""
    lock = anyio.Lock()
    return RuntimeWatches(
        site.store, SettableClock(), Settings, take, lambda: lock, lambda _name: ()
    )


async def reload():
    """Take the configuration anew."""


async def filled(site):
    for number in (1, 2, 3):
        for sequence in (1, 2):
            await site.record(number, sequence)
    await site.record_source()
    due = await site.store.due("ops", T0, 10)
    await site.store.settle(dead(due[0]))
    await site.store.add_watch(RuntimeWatch("ops", {"name": "ops", "type": "importexport.job"}, T0))
    await site.store.park(Parking("ops", T0, "410 Gone"))


def ask_everything(url, examples):
    """Put generated questions to every operation; return how often each status was answered."""
    import schemathesis  # noqa: PLC0415 -- it is slow, and needed by nobody who collects this
    from schemathesis.core.result import Ok  # noqa: PLC0415

    positive, negative = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
    schema = schemathesis.openapi.from_url(f"{url}/api/v1/openapi.json")
    asked: Counter[tuple[str, int]] = Counter()
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        admitted = {"Authorization": f"Bearer {TOKEN}"}
        ask_one(url, operation, positive, admitted, examples, asked)
        ask_one(url, operation, positive, {}, 3, asked)
        with suppress(hypothesis.errors.Unsatisfiable):  # there is nothing to be wrong about
            ask_one(url, operation, negative, admitted, examples, asked)
    return asked


def ask_one(url, operation, mode, headers, examples, asked):
    from schemathesis import checks  # noqa: PLC0415

    @hypothesis.seed(7)
    @hypothesis.settings(
        max_examples=examples,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case):
        aim(case, sum(asked.values()))

        response = case.call(base_url=url, headers=headers, timeout=60)
        asked[operation.label, response.status_code] += 1
        case.validate_response(
            response,
            checks=[
                checks.not_a_server_error,
                checks.status_code_conformance,
                checks.content_type_conformance,
                checks.response_schema_conformance,
            ],
        )

    ask()


def aim(case, number):
    """Let every second question be about something that is there."""
    if number % 2:
        return
    for name, value in {"key": KEY.format(2), "name": "ops"}.items():
        if name in case.path_parameters:
            case.path_parameters[name] = value
    if isinstance(case.body, dict) and "sink" in case.body:
        case.body["sink"] = "ops"
    if isinstance(case.body, dict) and "type" in case.body:
        case.body = {key: case.body[key] for key in PLAIN & case.body.keys()}


@pytest.mark.parametrize("examples", [10, pytest.param(100, marks=pytest.mark.soak)])
async def test_every_answer_is_one_that_the_description_allows(tmp_path, monkeypatch, examples):
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setattr(web_jobs, "LONGEST_WAIT", 0.1)
    monkeypatch.setattr(web_events, "LONGEST", 0.1)
    guard = Guard(None, [tmp_path / "token"])
    parts = {"reload": reload, "watches": watches}
    async with open_site(tmp_path, within=280, guard=guard, parts=parts) as site:
        await filled(site)
        asked = await anyio.to_thread.run_sync(ask_everything, site.url, examples)
        described = (await site.get("/api/v1/openapi.json"))["paths"]
    described.pop("/api/v1/openapi.json")  # left out by the library, as it comes from there
    operations = {
        f"{method.upper()} {path}" for path, methods in described.items() for method in methods
    }
    assert {label for label, _ in asked} == operations
    answered = {label for label, status in asked if status in {200, 201}}
    assert answered == operations
    assert sum(asked.values()) > 5 * len(operations)


async def test_every_route_is_described_and_the_reverse(tmp_path):
    async with open_site(tmp_path, parts={"reload": reload, "watches": watches}) as site:
        described = (await site.get("/api/v1/openapi.json"))["paths"]
        routes = {
            (route.method, route.resource.canonical.replace("{key:.+}", "{key}"))
            for route in site.app.router.routes()
            if route.method != "HEAD" and route.resource
        }
    offered = {(one, path) for one, path in routes if path.startswith(("/api/", "/-/reload"))}
    assert len(offered) > 10
    assert offered == {
        (method.upper(), path) for path, methods in described.items() for method in methods
    }


async def test_the_description_is_one_of_openapi(tmp_path):
    async with open_site(tmp_path) as site:
        document = await site.get("/api/v1/openapi.json")
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["summary"].endswith((".", ":")), path
            assert all(parameter["description"] for parameter in operation["parameters"]), path
