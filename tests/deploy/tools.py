"""The checkers of what ``deploy/`` ships; .ci/run installs them into a virtual environment."""

import functools
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy import shipped

TIMEOUT = 280
_CHECKOV, _VALIDATE = map(Path(__file__).with_name, ("checkov_child.py", "validate_child.py"))


def lacking(what):
    """Skip for want of a tool; in CI, where every tool must be there, fail."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{what}; .ci/run installs it")


def tool(name):
    """Return the path of one of the tools."""
    path = _folder() / name
    if not path.exists():
        lacking(f"there is no {name}")
    return path


def _folder():
    return Path(os.environ.get("TEST_DEPLOY_TOOLS") or shipped.ROOT / ".venv-deploy") / "bin"


def run(*command, text=""):
    """Run a tool to its end, whatever it says of what it was given."""
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def kustomized(folder):
    """Return what ``kubectl kustomize`` makes of a folder, as text."""
    path = shutil.which("kubectl") or tool("kubectl")
    result = run(path, "kustomize", folder)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""  # it warns of fields that go
    return result.stdout


def manifests(text):
    """Return what stands in a stream of YAML by (kind, name)."""
    # A tenth of the time that the loader in Python takes for dashboards.
    loaded = [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]
    found = {(each["kind"], each["metadata"]["name"]): each for each in loaded}
    assert len(found) == len(loaded)
    return found


CUSTOM = ("monitoring.coreos.com/", "gateway.networking.k8s.io/", "external-secrets.io/")
"""What operators define: no checker has a schema of it."""


def without_custom(text):
    """Leave out what is not of Kubernetes itself."""
    plain = [e for e in manifests(text).values() if not e["apiVersion"].startswith(CUSTOM)]
    return yaml.dump_all(plain, Dumper=yaml.CSafeDumper)


@functools.cache
def newest_versions(count=3):
    """Return the newest versions of Kubernetes that the checker knows."""
    asked = "from kubernetes_validate import utils; print(*utils.all_versions())"
    result = run(tool("python"), "-c", asked)
    assert result.returncode == 0, result.stderr
    known = {tuple(map(int, each.split(".")[:2])) for each in result.stdout.split()}
    return [".".join(map(str, each)) for each in sorted(known)[-count:]]


def invalid(text, path):
    """Return what kubernetes-validate says against the manifests; ``path`` is where to put them."""
    path.write_text(without_custom(text), "utf-8")
    objects, versions = len(manifests(path.read_text("utf-8"))), newest_versions()
    asked = [option for version in versions for option in ("-k", version)]
    tool("kubernetes-validate")
    result = run(tool("python"), _VALIDATE, "--strict", *asked, path)
    told = result.stdout + result.stderr
    ends = [line.rpartition(" passed for ")[2].split()[-1:] for line in told.splitlines()]
    passed = {ends.count([version]) for version in versions}
    return told if result.returncode or passed != {objects} else ""


def insecure(texts, directory):
    """Return for each text by its name the checks of checkov that fail, and how many it skips."""
    paths = [directory / f"{name}.yaml" for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text, "utf-8")
    result = run(tool("python"), _CHECKOV, text=json.dumps([*map(str, paths)]))
    assert result.returncode == 0, result.stderr
    found = {}
    for name, said in zip(texts, json.loads(result.stdout), strict=True):
        assert said, result.stderr
        report = json.loads(said)
        assert report["summary"]["passed"] > 50, report
        failed = {each["check_id"] for each in report["results"]["failed_checks"]}
        found[name] = failed, report["summary"]["skipped"]
    return found


def excuses(text):
    """Return the annotations that tell checkov why a check is passed over."""
    return [
        value
        for each in manifests(text).values()
        for key, value in each["metadata"].get("annotations", {}).items()
        if key.startswith("checkov.io/skip")
    ]
