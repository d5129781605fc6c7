"""The rules of OpenShift's security context constraint ``restricted-v2``, which every pod gets.

From the constraint itself: ``oc get scc restricted-v2 -o yaml``.
"""

RANGE = range(1_000_680_000, 1_000_690_000)
"""An example of the ids that OpenShift gives to a namespace."""
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_HOST = ("hostNetwork", "hostPID", "hostIPC")
_SECCOMP = ({"type": "RuntimeDefault"}, None)


def refused(spec):
    """Return why a pod would be refused, each as the path of the field."""
    pod = spec.get("securityContext", {})
    containers = [*spec["containers"], *spec.get("initContainers", [])]
    found = [key for key in _HOST if spec.get(key)]
    found += [key for key in ("runAsUser", "fsGroup") if not _in_range(pod, key)]
    found += _labels(pod)
    for volume in spec.get("volumes", []):
        found += [f"volumes.{kind}" for kind in volume.keys() - {"name"} - VOLUMES]
    for container in containers:
        found += _of_container(container, container.get("securityContext", {}), pod)
    return sorted(found)


def _of_container(container, own, pod):
    capabilities = own.get("capabilities", {})
    wrong = {
        "runAsUser": not _in_range(own, "runAsUser"),
        "privileged": own.get("privileged", False),
        # Both have no default that fits: they must be written.
        "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is not False,
        "capabilities.drop": "ALL" not in capabilities.get("drop", []),
        "capabilities.add": not set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
        "seccompProfile": own.get("seccompProfile", pod.get("seccompProfile")) not in _SECCOMP,
        "hostPort": any("hostPort" in port for port in container.get("ports", [])),
    }
    return [key for key, is_wrong in wrong.items() if is_wrong] + _labels(own)


def _in_range(context, key):
    """OpenShift fills in what is not given."""
    return key not in context or context[key] in RANGE


def _labels(context):
    return ["seLinuxOptions"] if "seLinuxOptions" in context else []
