"""The chart of ``deploy/helm``, worked by Helm's own library."""

import atexit
import functools
import json
import subprocess
from pathlib import Path

from tests.deploy import shipped, tools

CHART = shipped.ROOT / "deploy" / "helm" / "job-monitor"
_CHILD = Path(__file__).parent / "helm_child.py"


def helm(what, arguments, chart=CHART, *, name="job-monitor", namespace="job-monitor"):
    """Do one thing with a chart; return the result, or a dictionary with the ``error``."""
    child = _child()
    child.stdin.write(json.dumps([what, str(chart), arguments, name, namespace]) + "\n")
    child.stdin.flush()
    answer = child.stdout.readline()
    assert answer, f"helm_child.py ended with {child.wait(tools.TIMEOUT)}; what it said is above"
    return json.loads(answer)


@functools.cache
def _child():
    """Start the process that works for all tests of this one: to start it takes the longest."""
    command = [tools.tool("python"), _CHILD]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(_end, child)
    return child


def _end(child):
    with child:  # closes its input, and waits for it
        pass


def rendered(values, chart=CHART, **place):
    """Return what the chart makes, as one stream of YAML without the notes."""
    answer = helm("render", values, chart, **place)
    assert "error" not in answer, answer
    files = [text for path, text in sorted(answer.items()) if not path.endswith(".txt")]
    return "\n---\n".join(files)
