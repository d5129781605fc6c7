"""The rendered pod, played by podman: it runs as its manifest says, and its probes answer.

Podman knows no StatefulSet. So it is given the pod and the claim that a cluster would make of it,
and beside them all else that was rendered.
"""

import os
import sqlite3
import time
from base64 import b64encode
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from tests.acceptance import ledger
from tests.acceptance.program import SECRET, until
from tests.deploy import charts, shipped, tools
from tests.image import image_kit, kube_kit, pods

# The first test builds the image, and perhaps its base.
pytestmark = pytest.mark.timeout(900)

POD, CONTAINER, VOLUME = "job-monitor-0", "job-monitor-0-job-monitor", "state-job-monitor-0"
HOOK = "job-monitor-test-ready"
JOBS = [{"id": "one", "service": "panorama"}, {"id": "two", "service": "panorama"}]
# Podman 4.3 hands over the value of a Secret without decoding it, which is a key as well.
SIGNED = {"ops": {"secrets": [SECRET, b64encode(SECRET.encode()).decode()]}}
VALUES = {
    "config": kube_kit.settings(secret_files=["/run/secrets/hooks/key"]),
    # Not the name of the ConfigMap: podman makes one volume of each name.
    "secrets": [{"name": "hooks"}],
    "env": kube_kit.KEYS,
}
INSIDE = """
import os, pathlib
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
limits = ("memory/memory.limit_in_bytes", "memory.max")
[limit] = [p.read_text() for n in limits if (p := pathlib.Path("/sys/fs/cgroup", n)).exists()]
print(os.getuid(), os.getgid(), int(status["CapBnd"], 16), status["NoNewPrivs"],
      status["Seccomp"], bool(os.statvfs("/opt").f_flag & os.ST_RDONLY), int(limit))
"""


class Release:
    """What was rendered, and what podman is given of it."""

    def __init__(self, text, image):
        objects = tools.manifests(text)
        self._image = image
        self.hook = objects.pop(("Pod", "job-monitor-test"), None)
        self.service = objects["Service", "job-monitor"]
        self.claims, self.pod = pods.controlled(objects.pop(("StatefulSet", "job-monitor")))
        self.played = pods.asked_by_podman(pods.local(self.pod, image))
        self.rest = list(objects.values())

    def test_pod(self, address):
        """Return the pod of ``helm test``, to which the Service is at an address."""
        return pods.reached(pods.local(self.hook, self._image), self.service, address)


@pytest.fixture(scope="module")
def image():
    kube_kit.needed()
    return image_kit.build()


@pytest.fixture
def release(image):
    """Return what the chart makes."""
    return Release(charts.rendered(VALUES), image)


@pytest.fixture
def overlaid(image, tmp_path):
    """Return what an overlay of one's own on the base makes, with another configuration."""
    place = tmp_path / "overlay"
    place.mkdir()
    (place / "job-monitor.yaml").write_text(yaml.safe_dump(kube_kit.settings()))
    base = os.path.relpath(shipped.ROOT / "deploy" / "kubernetes" / "base", place.resolve())
    env = "/spec/template/spec/containers/0/env/-"
    add = [{"op": "add", "path": env, "value": each} for each in kube_kit.KEYS]
    overlay = {
        "resources": [base],
        "configMapGenerator": [
            {
                "name": "job-monitor",
                "namespace": "job-monitor",
                "behavior": "replace",
                "files": ["job-monitor.yaml"],
            }
        ],
        "patches": [{"target": {"kind": "StatefulSet"}, "patch": yaml.safe_dump(add)}],
    }
    (place / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return Release(tools.kustomized(place), image)


def test_podman_is_given_the_pod_that_was_rendered_but_for_image_and_way_of_asking(release):
    assert release.played["metadata"]["name"] == POD
    assert list(pods.differences(release.pod, release.played)) == [
        "spec.containers.0.image",
        "spec.containers.0.livenessProbe.exec",
        "spec.containers.0.livenessProbe.httpGet",
    ]
    assert list(pods.differences(release.hook, release.test_pod("192.0.2.7"))) == [
        "spec.containers.0.image",
        "spec.hostAliases",
    ]
    assert pods.led(release.service, release.pod) == (9847, 9847), "an address stands in for both"


async def test_the_pod_of_the_chart_runs_tells_stops_and_goes_on(release):
    async with kube_kit.node({"jobs": JOBS, "receivers": SIGNED}) as node:
        node.keep_secret("hooks", key=SECRET)
        node.play([*release.claims, *release.rest, release.played])
        await answered(node, release)
        confined(node, release)
        # Podman gives up a health check that takes long on a busy machine.
        check = "healthcheck", "run", CONTAINER
        await until(lambda: node.podman(*check, check=False).returncode == 0)
        await unready_only_while_the_store_is_held(node, release)

        await until(lambda: len(transitions(node)) == 2)
        node.change("one", Status="SUCCEEDED")
        await until(lambda: len(node.received) == 1)

        address = node.address(CONTAINER)
        assert hook_ends(node, release, address) == (0, "200\n")
        stopped(node, release)
        code, said = hook_ends(node, release, address)
        assert code == 1, said
        before = transitions(node)

        node.podman("pod", "rm", POD)
        node.change("two", Status="FAILED")
        seen = node.asked
        node.play([*release.rest, release.played])  # a cluster leaves a claim that is there
        await answered(node, release)
        await until(lambda: len(node.received) == 2)
        await until(lambda: node.asked > seen + 5)
        stopped(node, release)

        assert [each.told for each in node.received] == [("one", "SUCCEEDED"), ("two", "FAILED")]
        assert {each.signature for each in node.received} == {"valid"}
        after = transitions(node)
        assert after[: len(before)] == before
        assert [number for _, number in after] == [1, 1, 2, 2]


async def test_the_pod_of_an_overlay_runs_and_tells(overlaid):
    async with kube_kit.node({"jobs": JOBS}) as node:
        # Podman 4.3 looks for an optional Secret too, and then does not mount it.
        node.keep_secret("job-monitor", hook=SECRET)
        node.play([*overlaid.claims, *overlaid.rest, overlaid.played])
        await answered(node, overlaid)
        confined(node, overlaid)
        await until(lambda: len(transitions(node)) == 2)
        node.change("two", Status="FAILED")
        await until(lambda: [each.told for each in node.received] == [("two", "FAILED")])
        stopped(node, overlaid)


async def answered(node, release):
    """Ask each probe as the kubelet does: from the node, at the pod's address."""
    asked = list(pods.probes(release.pod))
    assert [each.name for each in asked] == ["startupProbe", "livenessProbe", "readinessProbe"]
    for probe in asked:
        await until(lambda probe=probe: status(node, probe) == 200, probe.within)


def status(node, probe):
    return node.ask(f"http://{node.address(CONTAINER)}:{probe.port}{probe.path}")[0]


async def unready_only_while_the_store_is_held(node, release):
    _, live, ready = pods.probes(release.pod)
    with closing(sqlite3.connect(store(node), isolation_level=None)) as held:
        held.execute("BEGIN IMMEDIATE")
        assert status(node, ready) in {0, 503}
        assert status(node, live) == 200
    await until(lambda: status(node, ready) == 200, ready.within)


def confined(node, release):
    """What the manifest allows, and no more, is what the process has."""
    command = ("exec", CONTAINER, "/opt/job-monitor/bin/python", "-c", INSIDE)
    wanted, inside = release.pod["spec"]["securityContext"], pods.only(release.pod)
    limit = inside["resources"]["limits"]["memory"]
    assert limit.endswith("Mi")
    assert inside["securityContext"]["readOnlyRootFilesystem"]
    user, group = wanted["runAsUser"], wanted["runAsGroup"]
    memory = int(limit.removesuffix("Mi")) << 20
    assert node.podman(*command).stdout.split() == [
        *map(str, (user, group, 0, 1, 2, True, memory)),
    ]


def hook_ends(node, release, address):
    """Run the pod of ``helm test``; return its exit code and what it said."""
    node.play([release.test_pod(address)])
    code = int(node.podman("wait", HOOK).stdout)
    said = node.log(HOOK)
    node.podman("pod", "rm", "--force", release.hook["metadata"]["name"])
    return code, said


def stopped(node, release):
    """Stop the pod as the kubelet does; it ends by itself, in time."""
    grace = release.pod["spec"]["terminationGracePeriodSeconds"]
    began = time.monotonic()
    node.podman("pod", "stop", "--time", grace, POD)
    assert time.monotonic() - began < grace + 30  # killed, its code would be another one
    assert node.inspected(CONTAINER)["State"]["ExitCode"] == 0, node.log(CONTAINER)


def store(node):
    place = node.podman("volume", "inspect", "--format", "{{.Mountpoint}}", VOLUME).stdout
    return Path(place.strip()) / "state.db"


def transitions(node):
    """Return job and number of every transition, in the order of the commits."""
    kept = ledger.transitions(store(node))
    return [(each.key.rpartition("/")[2], each.sequence) for each in kept]
