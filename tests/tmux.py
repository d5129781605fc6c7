"""A real terminal: programs run in tmux, and what it shows is read."""

import asyncio
import os
import shlex
import shutil
import sys
from contextlib import asynccontextmanager

import anyio
import pytest

from tests import forks
from tests.acceptance.program import ROOT, environment

NEEDED = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


async def _output(*arguments):
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, f"{arguments}: {err.decode()}"
    return out.decode()


def program(directory, *, forked=False):
    """Make a ``job-monitor`` of this checkout; return the folder that holds it.

    One that is ``forked`` starts in a tenth of the time, but has no terminal to control.
    """
    folder = directory / "bin"
    folder.mkdir(exist_ok=True)
    script = folder / "job-monitor"
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
    code += "; sys.argv[0] = 'job-monitor'; from monitor.cli.main import main; main()"
    command = f'{sys.executable} -P -c "{code}"'
    if forked:
        command = shlex.join(forks.anywhere(environment()))
    script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    script.chmod(0o755)
    return folder


class Terminal:
    """One window of a tmux server of its own."""

    def __init__(self, socket):
        self._tmux = ("tmux", "-S", str(socket), "-f", "/dev/null")

    async def call(self, *arguments):
        return await _output(*self._tmux, *arguments)

    async def screen(self):
        """The lines that it shows, without trailing blanks."""
        text = await self.call("capture-pane", "-p")
        return [line.rstrip() for line in text.rstrip("\n").split("\n")]

    async def keys(self, *names):
        """Press keys by their names, such as ``Tab``."""
        await self.call("send-keys", *names)

    async def type(self, text):
        """Type text as it is."""
        await self.call("send-keys", "-l", text)

    async def may_show(self, condition, seconds=12):
        """Wait some time until the lines meet a condition; return whether they do."""
        found: list[str] = []
        with anyio.move_on_after(seconds):
            while not condition(found):
                found = await self.screen()
                await anyio.sleep(0.05)
        return condition(found)

    async def shows(self, condition, seconds=60):
        """Wait until the lines meet a condition; return them."""
        found: list[str] = []
        with anyio.move_on_after(seconds):
            while not (found and condition(found)):
                found = await self.screen()
                await anyio.sleep(0.05)
        if not (found and condition(found)):
            pytest.fail("it shows:\n" + "\n".join(found))
        return found


@asynccontextmanager
async def terminal(directory, *command, columns=80, rows=24, path=None, **env):
    """Run a command in a terminal of that size; all ends with the body."""
    folders = [str(path)] if path else []
    merged = environment(
        PATH=os.pathsep.join([*folders, os.environ["PATH"]]), HOME=str(directory), **env
    )
    merged |= {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    window = Terminal(directory / "tmux")
    size = ("-x", str(columns), "-y", str(rows))
    process = await asyncio.create_subprocess_exec(
        *window._tmux, "new-session", "-d", *size, *command, env=merged, cwd=directory
    )
    assert await process.wait() == 0
    try:
        yield window
    finally:
        await window.call("kill-server")
