"""Answer the scripts with which a shell completes a line: one name a line, then its explanation.

The scripts are our own: those of the library break names at ``:`` and ``=``, of which ARNs and
labels are full, and let zsh evaluate what a daemon has sent.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

# The library has no other way to add a shell; its major version is pinned.
from typer._click.shell_completion import ShellComplete, add_completion_class, split_arg_string

from monitor.errors import printable

if TYPE_CHECKING:
    from typer._click.shell_completion import CompletionItem

VARIABLE = "_JOB_MONITOR_COMPLETE"
"""Set by the scripts when they want names."""
LINE = "_JOB_MONITOR_LINE"
"""The line up to the cursor."""
_SCRIPTS = Path(__file__).with_name("shells")


class _LineComplete(ShellComplete):
    """Completes a line, for any shell."""

    name = "line"
    source_template = ""

    def source_vars(self) -> dict[str, Any]:
        return {}

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ.get(LINE, "")
        words = split_arg_string(line)[1:]
        incomplete = words.pop() if words and not line[-1:].isspace() else ""
        name, equals, value = incomplete.partition("=")
        if equals and name.startswith("--"):
            # As two words, of which the library takes the first as an option of ``list``, too.
            return [*words, name], value
        return words, incomplete

    def format_completion(self, item: CompletionItem) -> str:
        lines = (item.help or "").strip().splitlines()
        name = printable(item.value)
        return f"{name}\t{printable(lines[0])}" if lines else name


def prepare() -> None:
    """Make the library answer the scripts."""
    add_completion_class(_LineComplete, _LineComplete.name)


def script(shell: str) -> str:
    """Return the script for a shell."""
    return (_SCRIPTS / f"completion.{shell}").read_text(encoding="utf-8")
