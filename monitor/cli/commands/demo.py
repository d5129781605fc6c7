"""``job-monitor demo``: run the daemon and simulated AWS services in one process."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from monitor.cli import arguments, signals
from monitor.cli.commands.simulate import load
from monitor.cli.output import transition_line

if TYPE_CHECKING:
    from monitor import simulator
    from monitor.app import Running
    from monitor.config import Settings
    from monitor.model import Transition

KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SECRET = "whsec_ZGVtby1zZWNyZXQtb2YtdGhlLWpvYi1tb25pdG9y"  # noqa: S105 -- opens nothing


def demo(
    duration: Annotated[
        str | None, typer.Option(help="Stop after this time, such as 60s; by default at Ctrl-C.")
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the page and the metrics are served.")
    ] = "127.0.0.1:0",
    scenario: Annotated[
        str, typer.Option(help="A scenario file, or a built-in one: demo, steady, chaos.")
    ] = "demo",
) -> None:
    """Watch simulated jobs, and print their transitions as they come; needs no AWS account."""
    from monitor import logs

    seconds = arguments.duration("--duration", duration)
    logs.configure("console", "warning")
    # The user's own AWS set-up stays out of the demo, and the demo out of it. A proxy is left out
    # too: loopback on its machine is not ours.
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ.update(
        AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE",
        AWS_SECRET_ACCESS_KEY=KEY,
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
    )
    with tempfile.TemporaryDirectory(prefix="job-monitor-demo-") as directory:
        anyio.run(_demo, load(scenario), Path(directory), listen, seconds)


async def _demo(
    scenario: simulator.Scenario, directory: Path, listen: str, seconds: float | None
) -> None:
    from monitor import simulator
    from monitor.app import Daemon

    stop = anyio.Event()
    async with simulator.running(scenario) as running, anyio.create_task_group() as tasks:
        await tasks.start(signals.stop_on_signal, stop)
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, stop.set)
        shown = DemoOutput(running)
        settings = _settings(running, directory, listen)
        await Daemon(settings, announce=shown.transition).run(stop, shown.addresses)
        tasks.cancel_scope.cancel()
    sent = running.truth.received.count
    typer.echo(f"\n{shown.transitions} transitions; {sent} webhooks sent")


def _settings(running: simulator.Simulator, directory: Path, listen: str) -> Settings:
    from monitor.config import Settings

    secret = directory / "webhook-secret"
    secret.write_text(SECRET)
    endpoints = {"panorama": running.url, "importexport": running.url}
    return Settings.model_validate(
        {
            "accounts": {"demo": {"endpoint_urls": endpoints}},
            "watches": [
                {
                    "name": "packages",
                    "type": "panorama.package-import",
                    "account": "demo",
                    "regions": ["us-east-1"],
                    "discover": True,
                    "interval": "2s",
                    "labels": {"team": "vision"},
                },
                {
                    "name": "disks",
                    "type": "importexport.job",
                    "account": "demo",
                    "discover": True,
                    "interval": "2s",
                    "ended_interval": "4s",
                    "stuck_after": "40s",
                    "labels": {"team": "storage"},
                },
            ],
            "quotas": {
                "panorama": {"rate": 10, "burst": 10},
                "importexport": {"rate": 10, "burst": 10},
            },
            "sinks": {
                "receiver": {
                    "type": "webhook",
                    "url": f"{running.receiver_url}/hook/demo",
                    "secret_files": [str(secret)],
                    "allow_http": True,
                    "allow_networks": ["127.0.0.0/8"],
                },
            },
            "store": f"sqlite://{directory}/state.db",
            "server": {"listen": listen},
        }
    )


class DemoOutput:
    """Prints the output of the demo."""

    def __init__(self, running: simulator.Simulator) -> None:
        """Print what this simulation shows."""
        self._simulator = running
        self.transitions = 0

    def addresses(self, running: Running) -> None:
        """Print the addresses to open."""
        typer.echo(f"Watching simulated AWS jobs; see them at {running.url}/")
        typer.echo(f"Metrics at {running.url}/metrics")
        typer.echo(f"AWS stand-in {self._simulator.url} (try the AWS CLI with --endpoint-url)")
        typer.echo(f"Webhooks are received at {self._simulator.receiver_url}/hook/demo")
        typer.echo("Ctrl-C ends it.\n")

    def transition(self, transition: Transition) -> None:
        """Print one transition."""
        self.transitions += 1
        typer.echo(transition_line(transition))
