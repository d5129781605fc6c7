"""The pods of the chart on PostgreSQL, played by podman beside a real server of it."""

import json
import re
from base64 import b64encode

import pytest

from tests.acceptance.program import disks, packages, until
from tests.contracts import postgresql_kit
from tests.deploy import charts, compose_kit, tools
from tests.image import image_kit, kube_kit, pods

# The first test builds the image, and perhaps its base.
pytestmark = pytest.mark.timeout(900)

JOBS = [{"id": "one", "service": "panorama"}, {"id": "EX1", "service": "importexport"}]
SECRET, PASSWORD = "job-monitor-postgresql", "of-the-test"
ALL = {"quotas": 2, "sinks": 2}
HALF = {"quotas": 1, "sinks": 1}
"""What there is to own, and what each of two owns of it; one of the sinks is the chart's own."""
AS_MOUNTED = b64encode(PASSWORD.encode()).decode()
"""Podman 4.3 hands over the value of a Secret without decoding it."""
VALUES = {
    "replicas": 2,
    "config": kube_kit.settings() | {"watches": [packages(interval="1s"), disks(interval="1s")]},
    "store": {
        "postgresql": {
            "url": f"postgresql://monitor@{kube_kit.ADDRESS}/monitor",
            "existingSecret": SECRET,
        }
    },
    "secrets": [],
    "env": kube_kit.KEYS,
}
DATABASE = """
printf %s {password} > /tmp/password
initdb --no-locale --no-sync -U monitor --pwfile=/tmp/password -A scram-sha-256 -D /tmp/cluster
echo "CREATE DATABASE monitor" | postgres --single -D /tmp/cluster postgres
echo "host all all all scram-sha-256" >> /tmp/cluster/pg_hba.conf
exec postgres -D /tmp/cluster -c listen_addresses={address} -c unix_socket_directories=
"""


@pytest.fixture
def rendered():
    """Return what the chart makes, by kind and name."""
    kube_kit.needed()
    return tools.manifests(charts.rendered(VALUES))


async def test_pods_on_one_database_share_the_work_and_take_over(rendered):
    image = image_kit.build()
    parts = compose_kit.parts()
    made = pods.replicas(rendered["Deployment", "job-monitor"])
    played = [pods.beside(pods.asked_by_podman(pods.local(each, image))) for each in made]
    names = [each["metadata"]["name"] for each in made]
    async with kube_kit.node({"jobs": JOBS}) as node:
        await serve_postgresql(node, parts)
        node.keep_secret(SECRET, password=PASSWORD)
        node.play([rendered["ConfigMap", "job-monitor"], *played])
        urls = {name: f"http://{node.address(f'{name}-job-monitor')}:9847" for name in names}
        for url in urls.values():
            for probe in pods.probes(made[0]):
                assert probe.port == 9847
                await until(lambda url=url + probe.path: node.ask(url)[0] == 200, probe.within)
        await until(lambda: alive(node, urls[names[0]]) == set(names))
        await until(lambda: all(owned(node, [url]) == HALF for url in urls.values()))
        counts = [node.inspected(f"{each}-job-monitor")["RestartCount"] for each in names]
        assert counts == [0, 0]
        # The command that the notes of the chart name.
        said = node.podman("exec", f"{names[0]}-job-monitor", "job-monitor", "replicas").stdout
        assert all(re.search(rf"^{each}\b.*\balive\b", said, re.MULTILINE) for each in names), said

        node.change("one", Status="SUCCEEDED")
        await until(lambda: [each.told for each in node.received] == [("one", "SUCCEEDED")])
        for url in urls.values():
            await until(lambda url=url: states(node, url)["one"] == "SUCCEEDED")

        # As the kubelet does: first what runs in the pod, then the network that it needs to end.
        first, second = names
        grace = made[0]["spec"]["terminationGracePeriodSeconds"]
        node.podman("stop", "--time", grace, f"{first}-job-monitor")
        assert node.inspected(f"{first}-job-monitor")["State"]["ExitCode"] == 0
        left = urls[second]
        await until(lambda: alive(node, left) == {second})
        await until(lambda: owned(node, [left]) == ALL)
        node.change("EX1", ProgressCode="Complete", LocationCode="Returned")
        await until(lambda: len(node.received) == 2)
        assert node.received[-1].told == ("EX1", states(node, left)["EX1"])


async def serve_postgresql(node, parts):
    """Run PostgreSQL at the node's own address, which the pods reach."""
    programs = f"PATH={postgresql_kit.programs()}:/usr/bin:/bin"
    place = ("--volume=/usr:/usr:ro", "--network=host", f"--env={programs}")
    options = ("--detach", "--name=database", "--user=999:999", *place, "--entrypoint=sh")
    script = DATABASE.format(address=kube_kit.ADDRESS, password=AS_MOUNTED)
    node.podman("run", *options, parts, "-euc", script)
    # A pod that starts earlier ends, and is started again: no pod may be, as the test checks.
    ready = ("exec", "database", "pg_isready", f"--host={kube_kit.ADDRESS}")
    await until(lambda: node.podman(*ready, check=False).returncode == 0, 120)


def asked(node, url, path):
    """Return what a pod answers; nothing while it does not."""
    status, text = node.ask(f"{url}/api/v1/{path}")
    return json.loads(text)["items"] if status == 200 else []


def alive(node, url):
    """Return the names of the pods that live, as one of them says."""
    found = [each for each in asked(node, url, "replicas") if each["alive"]]
    return {each["name"].partition(":")[0] for each in found}


def states(node, url):
    return {each["id"]: each["state"] for each in asked(node, url, "jobs")}


def owned(node, urls):
    """Return how much some pods own together."""
    text = "\n".join(node.ask(f"{url}/metrics")[1] for url in urls)
    return {
        what: sum(map(float, re.findall(rf"^job_monitor_owned_{what} (\S+)$", text, re.MULTILINE)))
        for what in ("quotas", "sinks")
    }
