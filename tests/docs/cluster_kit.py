"""``kubectl`` and ``helm`` for the commands of the documents, where there is no cluster.

What needs none is done by the programs themselves: Helm's library installs, but only as far as
``--dry-run=client``, and kubectl renders and makes Secrets. What would be sent to a cluster is kept
in a file. Any other command is good if kubectl understands it as far as asking a cluster, and what
it names is kept. That a cluster takes these things, and starts a pod of them, is not shown here.

Run as a program it is one of the two: ``python -m tests.docs.cluster_kit helm ARGUMENTS…``.
"""

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path

import yaml

from tests.deploy import charts, tools
from tests.docs import pages

KEPT = "CLUSTER_KIT_KEPT"
"""Names the file of what would be in the cluster."""
_NOWHERE = ("--server=http://127.0.0.1:1", "--request-timeout=5s")


def install(directory):
    """Put ``kubectl`` and ``helm`` into a directory."""
    for program in ("kubectl", "helm"):
        run = shlex.join([sys.executable, "-P", "-m", "tests.docs.cluster_kit", program])
        path = directory / program
        path.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(pages.ROOT))} exec {run} "$@"\n')
        path.chmod(0o755)


def kept(path):
    """Return what would be in the cluster."""
    return [each for each in yaml.safe_load_all(path.read_text()) if each] if path.exists() else []


def kubectl():
    """Return where kubectl itself is."""
    ours = Path(os.environ.get("CLUSTER_KIT_PROGRAMS", os.devnull))
    others = [each for each in os.get_exec_path() if Path(each) != ours]
    return shutil.which("kubectl", path=os.pathsep.join(others)) or str(tools.tool("kubectl"))


class _Cluster:
    """What would be there."""

    def __init__(self):
        self._path = Path(os.environ[KEPT])

    def take(self, text):
        with self._path.open("a") as file:
            file.write(f"---\n{text}\n")

    def named(self, which, namespace):
        """Return what has this name, as in ``service/job-monitor``; ends without it."""
        kind, _, name = which.partition("/")
        for each in kept(self._path):
            there = each["metadata"]
            if (each["kind"].lower(), there["name"], there.get("namespace")) == (
                kind.lower(),
                name,
                namespace,
            ):
                return each
        sys.exit(f"there is no {kind} {name} in {namespace}")


def _kubectl(arguments):
    cluster = _Cluster()
    match arguments:
        case ["apply", "--kustomize" | "-k", folder]:
            _understood(arguments)
            cluster.take(_said(tools.run(kubectl(), "kustomize", folder)))
        case ["--namespace", _, "create", "secret", *_]:
            _understood(arguments)
            local = ("--dry-run=client", "--output=yaml")
            cluster.take(_said(tools.run(kubectl(), *arguments, *local)))
        case ["--namespace", namespace, "rollout", "status" | "restart", which]:
            _understood(arguments)
            cluster.named(which, namespace)
        case ["--namespace", namespace, "port-forward", which, ports]:
            _understood(arguments)
            service = cluster.named(which, namespace)
            port = int(ports.partition(":")[2])
            if port not in [each["port"] for each in service["spec"]["ports"]]:
                sys.exit(f"the service has no port {port}")
        case _:
            sys.exit(f"this command is not known here: {arguments}")


def _understood(arguments):
    """End unless kubectl understands a command as far as asking the cluster."""
    done = tools.run(kubectl(), *arguments, *_NOWHERE)
    if "refused" not in done.stderr:
        sys.exit(done.stderr or f"kubectl did not ask: {done.stdout}")


def _helm(arguments):
    parser = argparse.ArgumentParser("helm")
    parser.add_argument("--namespace", required=True)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("test").add_argument("name")
    upgrade = commands.add_parser("upgrade")
    upgrade.add_argument("--install", action="store_true", required=True)
    upgrade.add_argument("--create-namespace", action="store_true")
    upgrade.add_argument("--values", type=Path, required=True)
    upgrade.add_argument("name")
    upgrade.add_argument("chart")
    # Helm takes the namespace on either side of the command.
    at = arguments.index("--namespace") if "--namespace" in arguments else len(arguments)
    before, behind = arguments[:at], arguments[at + 2 :]
    asked = parser.parse_args([*arguments[at : at + 2], *before, *behind])
    (_install if asked.command == "upgrade" else _test)(asked, _Cluster())


def _install(asked, cluster):
    values = yaml.safe_load(asked.values.read_text())
    place = {"name": asked.name, "namespace": asked.namespace}
    release = charts.helm("install", values, asked.chart, **place)
    if "error" in release:
        sys.exit(release["error"])
    # With the pod of the test, which is not of the manifest.
    cluster.take(charts.rendered(values, asked.chart, **place))
    cluster.take(yaml.safe_dump({"kind": "Release", "metadata": place}))
    sys.stdout.write(release["notes"])


def _test(asked, cluster):
    cluster.named(f"release/{asked.name}", asked.namespace)
    cluster.named(f"pod/{asked.name}-test", asked.namespace)


def _said(done):
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


if __name__ == "__main__":
    {"kubectl": _kubectl, "helm": _helm}[sys.argv[1]](sys.argv[2:])
