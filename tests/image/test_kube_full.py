"""The pod of the chart with every value set, played by podman as OpenShift would run it."""

import copy
import json

import pytest
import yaml

from tests.acceptance.program import until
from tests.deploy import charts, openshift, tools
from tests.image import image_kit, kube_kit, pods

# The first test builds the image, and perhaps its base.
pytestmark = pytest.mark.timeout(900)

NAME, CONTAINER = "jobs-0", "jobs-0-job-monitor"
JOBS = [{"id": "one", "service": "panorama"}]
USER = openshift.RANGE[0]
INSIDE = """
import json, os
ids, folder = [os.getuid(), os.getgid()], os.listdir("/mnt/credentials")
print(json.dumps([*ids, os.environ["FROM_MAP"], folder]))
"""


def values():
    """Return the values of the file, with what reaches the stand-in for AWS."""
    full = yaml.safe_load((charts.CHART / "ci" / "full-values.yaml").read_text("utf-8"))
    config = kube_kit.settings()
    desk = full["config"]["sinks"]["desk"]
    networks = {"allow_http": True, "allow_networks": [f"{kube_kit.ADDRESS}/32"]}
    config["sinks"]["desk"] = desk | networks | {"url": kube_kit.HOOK.replace("ops", "desk")}
    more = {
        "config": config,
        "extraEnv": [*full["extraEnv"], *kube_kit.KEYS],
        # Podman 4.3 leaves out the prefix.
        "envFrom": [{"configMapRef": {"name": "proxy"}}],
        # Podman looks for an optional Secret too, and then does not mount it.
        "secrets": [{"name": "desk"}],
    }
    return full | more


def admitted(pod):
    """Return a pod as OpenShift admits it: with an id of the namespace, and group 0."""
    assert openshift.refused(pod["spec"]) == []
    changed = copy.deepcopy(pod)
    ids = {"runAsUser": USER, "runAsGroup": 0, "fsGroup": USER}
    changed["spec"]["securityContext"] |= ids
    return changed


async def test_the_pod_with_every_value_runs_as_a_user_that_openshift_chooses():
    kube_kit.needed()
    image = image_kit.build()
    objects = tools.manifests(charts.rendered(values()))
    claims, pod = pods.controlled(objects.pop(("StatefulSet", "jobs")))
    played = pods.asked_by_podman(pods.local(admitted(pod), image))
    maps = [each for each in objects.values() if each["kind"] == "ConfigMap"]
    proxy = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "proxy"}}
    async with kube_kit.node({"jobs": JOBS}) as node:
        node.keep_secret("desk", token="Bearer example")
        node.play([*claims, *maps, proxy | {"data": {"FROM_MAP": "here"}}, played])
        for probe in pods.probes(pod):
            address = f"http://{node.address(CONTAINER)}:{probe.port}{probe.path}"
            await until(lambda address=address: node.ask(address)[0] == 200, probe.within)

        command = ("exec", CONTAINER, "/opt/job-monitor/bin/python", "-c", INSIDE)
        assert json.loads(node.podman(*command).stdout) == [USER, 0, "here", []]
        types = node.podman("exec", CONTAINER, "job-monitor", "types", "list").stdout
        assert "transcribe.interview" in types

        node.change("one", Status="SUCCEEDED")
        await until(lambda: "one: SUCCEEDED" in node.bodies("desk"))
        address = f"http://{node.address(CONTAINER)}:9847/api/v1/config"
        status, text = node.ask(address)
        assert status == 200
        assert "https://jobs.example.com" in text
