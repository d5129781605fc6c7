"""The components of ``deploy/kubernetes`` on the base, against the chart with the same choice."""

import os

import pytest
import yaml

from tests.deploy import openshift, shipped, tools
from tests.deploy.charts import rendered

KUBERNETES = shipped.ROOT / "deploy" / "kubernetes"
URL = "https://jobs.example.com"
ROUTED = {
    "ingress": {
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "tls": [{"secretName": "job-monitor-tls"}],
        },
        "networkPolicy": {"ingressNamespaces": ["ingress-nginx"]},
    },
    "http-route": {
        "httpRoute": {
            "enabled": True,
            "parentRefs": [{"name": "internal", "namespace": "gateways"}],
        },
        "networkPolicy": {"ingressNamespaces": ["gateways"]},
    },
}
VALUES = {
    "openshift": {"openshift": "always"},
    **{name: values | {"externalUrl": URL} for name, values in ROUTED.items()},
}


@pytest.fixture(params=VALUES)
def made(request, tmp_path):
    """Return what a component and what the same values make, each by kind and name."""
    parts = [KUBERNETES / "base", KUBERNETES / "components" / request.param]
    base, component = (os.path.relpath(each, tmp_path.resolve()) for each in parts)
    overlay = {"namespace": "job-monitor", "resources": [base], "components": [component]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    text = tools.kustomized(tmp_path)
    assert tools.invalid(text, tmp_path / "all.yaml") == ""
    return tools.manifests(text), tools.manifests(rendered(VALUES[request.param]))


def test_a_component_makes_what_the_chart_makes(made):
    ours, theirs = made
    assert ours.keys() == theirs.keys() - {("Pod", "job-monitor-test")}
    for kind, name in ours.keys() - {("ConfigMap", "job-monitor"), ("StatefulSet", "job-monitor")}:
        assert ours[kind, name].get("spec") == theirs[kind, name].get("spec"), kind
    mine, its = (
        each["StatefulSet", "job-monitor"]["spec"]["template"]["spec"] for each in (ours, theirs)
    )
    assert mine["securityContext"] == its["securityContext"]
    environment = [each["containers"][0]["env"] for each in (mine, its)]
    assert environment[0] == environment[1]
    given = "runAsUser" in mine["securityContext"]
    assert openshift.refused(mine) == (["fsGroup", "runAsUser"] if given else [])
