"""Every fault that a user reported and that has a folder here, with the real process."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import forks
from tests.acceptance.program import environment

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RUNS = [
    *((script.parent.name, {}) for script in sorted(HERE.glob("[0-9]*/run.sh"))),
    ("02-one-odd-row-hides-all-jobs", {"ROW": "null"}),
    ("15-pod-with-ipv6-only", {"LISTEN": "[::]:9847"}),
]
PROGRAMS = ("bash", "curl", "ip", "python3", "unshare")
ALONE = {
    "03-mfa-prompt-freezes-the-daemon": "it is given a session of its own",
    "15-pod-with-ipv6-only": "it is given a network of its own",
}
"""Cases in which the program must be started, not forked, and why."""
AT_ONCE = 3
"""Most of their time they wait."""


def _run(name, more):
    """Return what a case said, if it is not right."""
    env = environment()
    path = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
    program, descriptors = [str(Path(sys.executable).with_name("job-monitor"))], []
    if name not in ALONE:
        program, descriptors = forks.command(env)
    ended = subprocess.run(
        ["bash", str(HERE / name / "run.sh")],
        check=False,
        # With this Python: what pyenv puts in its place takes longer than the script.
        env={**env, "PATH": path, "JM": " ".join(program), "ROOT": str(ROOT), **more},
        capture_output=True,
        text=True,
        timeout=600,
        pass_fds=descriptors,
    )
    said = f"{name} {more}: {ended.stdout[-2000:]}{ended.stderr[-2000:]}"
    return said if ended.returncode else ""


@pytest.mark.timeout(1800)
def test_the_monitor_does_right_in_every_reported_case():
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking or os.geteuid() != 0:
        why = f"needed: {', '.join(lacking) or 'root, for a network of its own'}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    assert len(RUNS) >= 14
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = list(filter(None, pool.map(lambda run: _run(*run), RUNS)))
    assert wrong == []
