"""Do things with charts by Helm's own library; run by the Python that it is installed for.

Reads lines with ``[what, chart, arguments, name, namespace]`` as JSON, and answers each with a
line: the result, or ``{"error": text}``.
"""

import json
import sys

import helm_python  # type: ignore[import-not-found]  # not of this environment


def _do(what, chart, arguments, name, namespace):
    if what == "lint":
        return helm_python.lint(chart, arguments)
    if what == "install":
        nowhere = {"storage_driver": "memory", "kube_apiserver": "http://127.0.0.1:1"}
        with helm_python.Config(**nowhere) as config:
            place = {"name": name, "namespace": namespace}
            return config.install(chart, values=arguments, dry_run="client", **place)
    if what == "package":
        return helm_python.package(chart, destination=arguments)
    with helm_python.Chart.load(chart) as loaded:
        if what == "render":
            return loaded.render(arguments, name=name, namespace=namespace)
        return {"files": [each["name"] for each in loaded.files], "metadata": loaded.metadata}


for line in sys.stdin:
    try:
        answer = _do(*json.loads(line))
    except helm_python.HelmError as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
