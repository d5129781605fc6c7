"""Ends of processes that wait for no process for ever: one that does not end is killed.

A wait without a bound in a teardown outlives the time limit of its test, and the whole run with it.
"""

import subprocess

import anyio

PATIENCE = 60.0
"""Seconds for an end in peace, and again for one by force."""


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end; kill it if it does not."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(PATIENCE)


async def ended(process):
    """Wait for the end of a process, also in a test that is cancelled; kill it if it goes on."""
    with anyio.move_on_after(PATIENCE, shield=True):
        return await process.wait()
    process.kill()
    with anyio.fail_after(PATIENCE, shield=True):
        return await process.wait()
