"""``job-monitor simulate``: the stand-in for AWS and for receivers, alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from monitor.cli import signals
from monitor.cli.groups import leaves
from monitor.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from monitor import simulator


def simulate(
    scenario: Annotated[
        str, typer.Option(help="A scenario file, or a built-in one: demo, steady, chaos.")
    ] = "demo",
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where AWS stands.")
    ] = "127.0.0.1:4566",
    receiver: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where webhooks are received.")
    ] = "127.0.0.1:4567",
    directory: Annotated[
        Path | None, typer.Option(help="Append the ground truth to files in this directory.")
    ] = None,
) -> None:
    """Stand in for AWS Panorama and AWS Import/Export, with jobs that live by a scenario."""
    chosen = load(scenario)
    try:
        anyio.run(_simulate, chosen, listen, receiver, directory)
    except* ValueError as group:
        told = [_mistake("--listen or --receiver", group, "write it as 127.0.0.1:4566")]
        raise ConfigurationError(told) from None
    except* OSError as group:
        told = [_mistake("simulate", group, "choose other addresses, or another directory")]
        raise ConfigurationError(told) from None


def load(name: str) -> simulator.Scenario:
    """Read a built-in scenario by its name, or one from a file.

    Raises:
        ConfigurationError: there is none such, or it is wrong.
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
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        await tasks.start(signals.stop_on_signal, stop)
        tasks.start_soon(_serve, scenario, listen, receiver, directory)
        await stop.wait()
        tasks.cancel_scope.cancel()


async def _serve(
    scenario: simulator.Scenario, listen: str, receiver: str, directory: Path | None
) -> None:
    from monitor import simulator

    await simulator.serve_forever(
        scenario,
        listen=listen,
        receiver=receiver,
        directory=directory,
        ready=lambda running: typer.echo(running.describe()),
    )


def _mistake(path: str, group: BaseExceptionGroup[Exception], remedy: str) -> Problem:
    error = next(leaves(group))
    reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else ""
    return Problem("", path, reason or str(error), remedy)
