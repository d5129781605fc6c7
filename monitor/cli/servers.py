"""Options that name a running daemon, and what opens the way to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import arguments, lazy

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from monitor.tools.api_client import DaemonClient

Url = Annotated[
    str | None,
    typer.Option("--server", metavar="URL", help="Ask the daemon that listens there."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Holds a bearer token for --server."),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Authorities (PEM) to trust for --server instead of the system's."
    ),
]


@dataclass(frozen=True, slots=True)
class Server:
    """A daemon, and the files that open the way to it."""

    url: str
    token_file: Path | None
    ca_file: Path | None

    def opened(self) -> AbstractAsyncContextManager[DaemonClient]:
        """Open what asks it; entering raises ConfigurationError if the options are wrong."""
        return lazy.daemon_client.open_client(self.url, self.token_file, self.ca_file)


def named(url: str | None, token_file: Path | None, ca_file: Path | None) -> Server | None:
    """Return the daemon that is named, if one is.

    Raises:
        ConfigurationError: files are named for none.
    """
    if url is not None:
        return Server(url, token_file, ca_file)
    for option, file in (("--token-file", token_file), ("--ca-file", ca_file)):
        if file is not None:
            raise arguments.mistake(option, "is of use with --server alone")
    return None
