"""CPU time that commands take to start: what is typed all day should answer at once.

    python tests/benchmarks/bench_commands.py

prints user and system time of each, the least of several runs, and fails where a limit is missed.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT = 0.6
"""Seconds of CPU for a listing."""
RUNS = 5
COMMANDS = {
    "version": None,
    "--help": None,
    "jobs --help": None,
    "types list": LIMIT,
    "jobs --server": LIMIT,
    "jobs": LIMIT,
}


def cpu(arguments, env):
    """Return the seconds of CPU that one run takes."""
    before = os.times()
    subprocess.run(
        [sys.executable, "-m", "monitor", *arguments],
        cwd=ROOT,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    after = os.times()
    used = after.children_user - before.children_user
    return used + after.children_system - before.children_system


def main(directory, url):
    """Measure every command; return the exit code."""
    config = directory / "monitor.yaml"
    given = {"jobs": ["jobs", "-c", str(config)], "jobs --server": ["jobs", "--server", url]}
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JOB_MONITOR_")}
    missed = False
    for name, limit in COMMANDS.items():
        arguments = given.get(name, name.split())
        seconds = min(cpu(arguments, kept) for _ in range(RUNS))
        verdict = "" if limit is None else f"  limit {limit:.2f} s"
        sys.stdout.write(f"{name:<16} {seconds:.2f} s{verdict}\n")
        missed |= limit is not None and seconds > limit
    return int(missed)


if __name__ == "__main__":
    import tempfile

    sys.path.insert(0, str(ROOT))
    import anyio

    from monitor import simulator
    from tests.acceptance.program import configure, running, until

    async def beside_a_daemon():
        with tempfile.TemporaryDirectory() as place:
            directory = Path(place)
            async with simulator.running({"jobs": [{"id": "p", "service": "panorama"}]}) as sim:
                config = configure(directory, sim)
                async with running("run", "-c", config, directory=directory, anew=True) as daemon:
                    url = await daemon.started()
                    await until(lambda: daemon.logged("job.transitioned"))
                    return await anyio.to_thread.run_sync(main, directory, url)

    sys.exit(anyio.run(beside_a_daemon))
