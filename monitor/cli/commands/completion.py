"""``job-monitor completion``: let a shell complete commands, options and names."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from monitor.cli import shell_completion


class Shell(StrEnum):
    """A shell."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Annotated[Shell, typer.Argument(help="The shell that will read the script.")],
) -> None:
    """Print a script that completes commands, options, names and job keys.

    For the present shell: source <(job-monitor completion bash), the same
    with zsh, or job-monitor completion fish | source. Write the line into
    the start file of the shell to keep it.
    """
    typer.echo(shell_completion.script(shell), nl=False)
