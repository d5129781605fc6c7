"""``job-monitor simulate``: run the simulated AWS services and webhook receiver alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from monitor.cli import signals
from monitor.cli.exception_groups import leaves
from monitor.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from monitor import simulator


def simulate(
    scenario: Annotated[
        str, typer.Option(help="A scenario file, or a built-in one: demo, steady, chaos.")
    ] = "demo",
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The address of the simulated AWS services.")
    ] = "127.0.0.1:4566",
    receiver: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The address of the webhook receiver.")
    ] = "127.0.0.1:4567",
    directory: Annotated[
        Path | None, typer.Option(help="Append the ground truth to files in this directory.")
    ] = None,
) -> None:
    """Simulate AWS Panorama and AWS Import/Export, with jobs that follow a scenario."""
    chosen = load(scenario)
    try:
        anyio.run(_simulate, chosen, listen, receiver, directory)
    except* ValueError as group:
        problems = [_problem("--listen or --receiver", group, "write it as 127.0.0.1:4566")]
        raise ConfigurationError(problems) from None
    except* OSError as group:
        problems = [_problem("simulate", group, "choose other addresses, or another directory")]
        raise ConfigurationError(problems) from None


def load(name: str) -> simulator.Scenario:
    """Read a built-in scenario by its name, or one from a file.

    Raises:
        ConfigurationError: the scenario does not exist, or is wrong.
    """
    from monitor import simulator

    built_in = simulator.SCENARIOS / f"{name}.yaml"
    try:
        return simulator.Scenario.load(built_in if built_in.is_file() else Path(name))
    except simulator.ScenarioError as error:
        problems = [Problem("", "", line) for line in str(error).splitlines()]
        raise ConfigurationError(problems) from None


async def _simulate(
    scenario: simulator.Scenario, listen: str, receiver: str, directory: Path | None
) -> None:
    from monitor import simulator

    stop = anyio.Event()
    serve = partial(
        simulator.serve_forever,
        scenario,
        listen=listen,
        receiver=receiver,
        directory=directory,
        ready=lambda running: typer.echo(running.describe()),
    )
    async with anyio.create_task_group() as tasks:
        await tasks.start(signals.stop_on_signal, stop)
        tasks.start_soon(serve)
        await stop.wait()
        tasks.cancel_scope.cancel()


def _problem(path: str, group: BaseExceptionGroup[Exception], remedy: str) -> Problem:
    error = next(leaves(group))
    reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else ""
    return Problem("", path, reason or str(error), remedy)
