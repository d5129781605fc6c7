"""What is made once in a run, by the first of its processes that needs it."""

import fcntl
import os
import shutil


def made(tmp_path_factory, name, make):
    """Return the directory of a name, which ``make`` is called to fill unless it is there."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent  # each process has its own below that of the run
    directory, whole = place / name, place / f"{name}.whole"
    with (place / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
            make(directory)
            whole.touch()
    return directory
