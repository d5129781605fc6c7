"""What monitor/sinks/template.py relies on inside asyncio."""

import asyncio
import sys
from typing import Any


async def test_transport_of_a_dead_process_closes_its_pipes():
    """`Renderer.aclose` closes it by hand, as nothing public does."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=pipe, stdout=pipe
    )
    process.kill()
    await process.wait()
    transport: Any = process._transport  # type: ignore[attr-defined]
    transport.close()
    assert transport.is_closing()


async def test_limit_of_a_process_bounds_the_line_that_is_read():
    """A rendering is one line, longer than the 64 KiB that asyncio takes by default."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "print('x' * 500_000)",
        stdout=asyncio.subprocess.PIPE,
        limit=1_000_000,
    )
    assert process.stdout
    assert len(await process.stdout.readline()) == 500_001
    await process.wait()
