"""The components of ``deploy/kubernetes`` on the base, against the chart with the same choice."""

import json
import os

import pytest
import yaml

from tests.deploy import openshift, shipped, tools
from tests.deploy.charts import rendered

KUBERNETES = shipped.ROOT / "deploy" / "kubernetes"
URL = "https://jobs.example.com"
DATABASE = {
    "url": "postgresql://job-monitor@postgresql.databases.svc/job_monitor",
    "existingSecret": "job-monitor-postgresql",
}
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
    # One on top of the other: the others find the pod in a Deployment, too.
    "postgresql openshift ingress": {
        "replicas": 3,
        "store": {"postgresql": DATABASE},
        "openshift": "always",
        **ROUTED["ingress"],
        "externalUrl": URL,
    },
}


@pytest.fixture(params=VALUES)
def made(request, tmp_path):
    """Return what components and what the same values make, each by kind and name."""
    names = request.param.split()
    parts = [KUBERNETES / "base", *(KUBERNETES / "components" / each for each in names)]
    base, *components = (os.path.relpath(each, tmp_path.resolve()) for each in parts)
    overlay = {"namespace": "job-monitor", "resources": [base], "components": components}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    text = tools.kustomized(tmp_path)
    assert tools.invalid(text, tmp_path / "all.yaml") == ""
    return tools.manifests(text), tools.manifests(rendered(VALUES[request.param]))


def test_a_component_makes_what_the_chart_makes(made):
    ours, theirs = made
    assert ours.keys() == theirs.keys() - {("Pod", "job-monitor-test")}
    [controller] = ours.keys() & {("StatefulSet", "job-monitor"), ("Deployment", "job-monitor")}
    for kind, name in ours.keys() - {("ConfigMap", "job-monitor"), controller}:
        mine, its = (each[kind, name].get("spec") for each in (ours, theirs))
        if kind == "NetworkPolicy":
            # Components add rules in the order in which an overlay names them.
            mine["egress"], its["egress"] = (
                sorted(each["egress"], key=str) for each in (normal(mine), normal(its))
            )
        assert mine == its, kind
    mine, its = (each[controller]["spec"]["template"]["spec"] for each in (ours, theirs))
    assert mine["securityContext"] == its["securityContext"]
    environment = [sorted(each["containers"][0]["env"], key=str) for each in (mine, its)]
    assert environment[0] == environment[1]
    given = "runAsUser" in mine["securityContext"]
    assert openshift.refused(mine) == (["fsGroup", "runAsUser"] if given else [])


def normal(spec):
    """Return a spec with the keys of all maps in one order."""
    return json.loads(json.dumps(spec, sort_keys=True))
