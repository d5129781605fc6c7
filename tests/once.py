"""What is made once in a run, by the first of its processes that needs it."""

import fcntl
import json
import os
import shutil


def place(tmp_path_factory):
    """Return the directory that all processes of the run know."""
    own = tmp_path_factory.getbasetemp()
    # Each process has its own below that of the run.
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def made(tmp_path_factory, name, make):
    """Return the directory of a name, which ``make`` is called to fill unless it is there."""
    of_run = place(tmp_path_factory)
    directory, whole = of_run / name, of_run / f"{name}.whole"
    with (of_run / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
            make(directory)
            whole.touch()
    return directory


def found(tmp_path_factory, name, find):
    """Return what ``find`` returns, as JSON has it; it is called by the first who asks."""

    def keep(directory):
        (directory / "found.json").write_text(json.dumps(find(directory)), "utf-8")

    return json.loads((made(tmp_path_factory, name, keep) / "found.json").read_text("utf-8"))
