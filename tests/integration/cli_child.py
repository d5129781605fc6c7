"""Gives many command lines in forks of one process, as starting Python for each takes long.

    python cli_child.py '[{"arguments": [...], "out": PATH, "err": PATH}, …]'

prints the exit codes as JSON.
"""

import gc
import json
import os
import sys

import typer.rich_utils  # noqa: F401 -- so that no fork must

from monitor.cli import main
from tests import fork_server


def given(arguments, out, err):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for path, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv = ["job-monitor", *arguments]
    try:
        main.main()
    except SystemExit as end:
        os._exit(int(end.code or 0))
    finally:
        os._exit(70)


if __name__ == "__main__":
    fork_server.prepare()
    gc.freeze()
    sys.stdout.write(json.dumps([given(**each) for each in json.loads(sys.argv[1])]))
