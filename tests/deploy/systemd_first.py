"""Turns into systemd: ``python systemd_first.py PLACE SHARED``, as the first of new namespaces.

Its root is this machine's, but what is written there is kept in memory, below PLACE, and gone with
it. The directory SHARED alone is the real one. Imports nothing that is not Python's own.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PROGRAM = Path("/lib/systemd/systemd")
SHARED = "/mnt/shared"
"""Where it sees the one directory that is not its own."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""As systemd gives it to its services; nobody's home is in it."""
TARGET = """\
[Unit]
Description=Nothing but a journal
Requires=systemd-journald.service
After=systemd-journald.service
"""


def become(place, shared):
    """Turn into systemd, under a root of its own; ``shared`` is seen there as SHARED."""
    _call("mount", "--make-rprivate", "/")
    _call("mount", "-t", "tmpfs", "tmpfs", place)
    root, upper, work = (Path(place, name) for name in ("root", "upper", "work"))
    for directory in (root, upper, work):
        directory.mkdir()
    # At its start systemd empties /tmp, and much else is its own to write: nothing of it is ours.
    layers = f"lowerdir=/,upperdir={upper},workdir={work}"
    _call("mount", "-t", "overlay", "-o", layers, "overlay", root)
    _call("mount", "-t", "proc", "proc", root / "proc")
    _call("mount", "--bind", "-o", "ro", "/sys", root / "sys")
    for name in ("run", "tmp", "var/tmp"):
        _call("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / name)
    _devices(root / "dev")
    (root / SHARED.lstrip("/")).mkdir(parents=True, exist_ok=True)
    _call("mount", "--bind", shared, root / SHARED.lstrip("/"))
    units = root / "etc/systemd/system"
    for wants in units.glob("*.wants"):
        shutil.rmtree(wants)
    (units / "up.target").write_text(TARGET)
    (root / "old").mkdir()
    os.chdir(root)
    _call("pivot_root", ".", "old")
    os.chdir("/")
    _call("umount", "--lazy", "/old")
    # As every machine has it: credentials are mounted aside, and show up by propagation.
    _call("mount", "--make-rshared", "/")
    options = ("--system", "--unit=up.target", "--log-target=journal")
    os.execve(PROGRAM, [str(PROGRAM), *options], {"container": "other", "PATH": PATH})


def _devices(directory):
    _call("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", directory)
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        (directory / name).touch()
        _call("mount", "--bind", f"/dev/{name}", directory / name)
    for name, kind in (("shm", "tmpfs"), ("pts", "devpts"), ("mqueue", "mqueue")):
        (directory / name).mkdir()
        _call("mount", "-t", kind, kind, directory / name)
    (directory / "ptmx").symlink_to("pts/ptmx")


def _call(*command):
    subprocess.run(list(map(str, command)), check=True)


if __name__ == "__main__":
    become(*sys.argv[1:])
