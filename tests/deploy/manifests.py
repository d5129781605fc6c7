"""Write what is generated in ``deploy/``; ``make manifests`` does so, and tests check it.

Kustomize cannot put the content of a file into a custom resource. So the PrometheusRule of its
overlay is made of the rules that Prometheus reads.
"""

import yaml

from tests.deploy import chart_values, shipped

TARGET = shipped.ROOT / "deploy/kubernetes/overlays/prometheus-operator/prometheusrule.yaml"
_HEAD = "# Generated from deploy/prometheus/rules by `make manifests`; change those.\n"


def groups():
    """Return the groups of all rule files, in the order of the files."""
    return [each for path in shipped.RULES for each in yaml.safe_load(path.read_text())["groups"]]


def prometheus_rule():
    """Return the text of the PrometheusRule."""
    names = {"app.kubernetes.io/name": "job-monitor", "app.kubernetes.io/instance": "job-monitor"}
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "job-monitor", "labels": names},
        "spec": {"groups": groups()},
    }
    return _HEAD + yaml.safe_dump(rule, sort_keys=False, width=100)


if __name__ == "__main__":
    TARGET.write_text(prometheus_rule(), "utf-8")
    chart_values.VALUES.write_text(chart_values.values(), "utf-8")
    chart_values.README.write_text(chart_values.readme(), "utf-8")
