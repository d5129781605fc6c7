"""What is made of rendered manifests before podman plays them, and what they say of their pods."""

import copy
from dataclasses import dataclass

NUMBER = 0
"""Of the one replica."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A question that Kubernetes would ask of a pod by HTTP."""

    name: str
    port: int
    path: str
    within: float
    """Seconds after which Kubernetes gives up."""


def controlled(stateful_set):
    """Return the claims and the pod that Kubernetes' controller makes of a StatefulSet."""
    spec, name = stateful_set["spec"], f"{stateful_set['metadata']['name']}-{NUMBER}"
    claims = [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": f"{claim['metadata']['name']}-{name}"},
            "spec": claim["spec"],
        }
        for claim in spec["volumeClaimTemplates"]
    ]
    inside = copy.deepcopy(spec["template"]["spec"])
    inside["volumes"] += [
        {
            "name": template["metadata"]["name"],
            "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]},
        }
        for template, claim in zip(spec["volumeClaimTemplates"], claims, strict=True)
    ]
    labels = spec["template"]["metadata"]["labels"]
    return claims, {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": inside,
    }


def replicas(deployment):
    """Return the pods that Kubernetes' controllers make of a Deployment, with names of our own."""
    spec = deployment["spec"]
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{deployment['metadata']['name']}-{number}",
                "labels": spec["template"]["metadata"]["labels"],
            },
            "spec": copy.deepcopy(spec["template"]["spec"]),
        }
        for number in range(spec["replicas"])
    ]


def local(pod, image):
    """Let a pod take an image that is here already."""
    changed = copy.deepcopy(pod)
    only(changed)["image"] = image
    return changed


def asked_by_podman(pod):
    """Let podman ask for the health of a pod without curl.

    Of an HTTP probe it makes a call of curl inside the container, and port 0 of a port's name.
    """
    changed = copy.deepcopy(pod)
    probe = only(changed)["livenessProbe"]
    del probe["httpGet"]
    probe["exec"] = {"command": ["job-monitor", "health"]}
    return changed


def beside(pod):
    """Let a pod run beside others of its kind: podman publishes its port on the node itself."""
    changed = copy.deepcopy(pod)
    del only(changed)["ports"]
    return changed


def reached(pod, service, address):
    """Let a pod find a Service, as by the name service of a cluster."""
    changed = copy.deepcopy(pod)
    names = [service["metadata"]["name"]]
    changed["spec"]["hostAliases"] = [{"ip": address, "hostnames": names}]
    return changed


def only(pod):
    [container] = pod["spec"]["containers"]
    return container


def probes(pod):
    """Return all probes of a pod."""
    container = only(pod)
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = container[name]
        get = probe["httpGet"]
        assert (get["scheme"], get.get("httpHeaders")) == ("HTTP", None)
        within = probe["periodSeconds"] * probe["failureThreshold"]
        yield Probe(name, ports.get(get["port"], get["port"]), get["path"], within)


def led(service, pod):
    """Return the port of a pod to which the only port of a Service leads."""
    selector = service["spec"]["selector"]
    assert selector.items() <= pod["metadata"]["labels"].items()
    [port] = service["spec"]["ports"]
    [target] = [
        each["containerPort"]
        for each in only(pod)["ports"]
        if port["targetPort"] in (each["name"], each["containerPort"])
    ]
    return port["port"], target


def differences(before, after, at=""):
    """Yield the places at which two trees of values differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from differences(before.get(key), after.get(key), f"{at}.{key}".strip("."))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, pair in enumerate(zip(before, after, strict=True)):
            yield from differences(*pair, f"{at}.{number}")
    elif before != after:
        yield at
