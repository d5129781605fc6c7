"""The chart of ``deploy/helm``, worked by Helm's own library."""

import json
from pathlib import Path

from tests.deploy import shipped, tools

CHART = shipped.ROOT / "deploy" / "helm" / "job-monitor"
_CHILD = Path(__file__).parent / "helm_child.py"


def helm(what, arguments, chart=CHART, *, name="job-monitor", namespace="job-monitor"):
    """Do one thing with a chart; return the result, or a dictionary with the ``error``."""
    question = json.dumps([what, str(chart), arguments, name, namespace])
    result = tools.run(tools.tool("python"), _CHILD, text=question)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def rendered(values, chart=CHART, **place):
    """Return what the chart makes, as one stream of YAML without the notes."""
    answer = helm("render", values, chart, **place)
    assert "error" not in answer, answer
    files = [text for path, text in sorted(answer.items()) if not path.endswith(".txt")]
    return "\n---\n".join(files)
