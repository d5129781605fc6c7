"""The commands of the documents for a cluster, given as they stand to what stands in for one."""

import os
import re
import shutil
import subprocess

import pytest
import yaml

from monitor import config, validation
from monitor.sources.loader import load_job_types
from tests import once
from tests.checkout import checkout
from tests.deploy import charts, tools
from tests.docs import cluster_kit, pages

PAGE = pages.ROOT / "docs" / "kubernetes.md"
KUSTOMIZE = pages.ROOT / "deploy" / "kubernetes" / "README.md"
HELM, APPLY, SECRET, DATABASE = (block.text for block in pages.command_blocks(PAGE.read_text()))
VALUES = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
INLINE = r"`((?:kubectl|helm)\s[^`]+)`"
SECRETS = "/run/secrets/job-monitor"


class Folder:
    """A copy of the project in which commands are given, and what then would be in the cluster.

    With another, it goes on from there, and where there is one already, from that.
    """

    def __init__(self, directory, other=None):
        self.place = directory / "project"
        self._programs = directory / "programs"
        self._kept = directory / "cluster.yaml"
        if self._programs.exists():
            return
        if other is None:
            checkout(self.place)
        else:
            shutil.copytree(other.place, self.place)
            shutil.copy2(other._kept, self._kept)
        self._programs.mkdir()
        cluster_kit.install(self._programs)

    def give(self, text):
        """Run commands; return the exit code and what was said."""
        own = {
            "PATH": f"{self._programs}{os.pathsep}{os.environ['PATH']}",
            "CLUSTER_KIT_PROGRAMS": str(self._programs),
            cluster_kit.KEPT: str(self._kept),
            "KUBECONFIG": os.devnull,
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.place,
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    @property
    def objects(self):
        """Return what Kubernetes would be sent, by kind and name."""
        found = [each for each in cluster_kit.kept(self._kept) if each["kind"] != "Release"]
        return tools.manifests(yaml.safe_dump_all(found))


@pytest.fixture
def folder(tmp_path):
    tools.tool("python")
    return Folder(tmp_path)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Install the values of the page by its commands; return the folder, and what was said."""
    tools.tool("python")

    def install(directory):
        folder = Folder(directory)
        (folder.place / "values.yaml").write_text(VALUES[0])
        code, said = folder.give(HELM)
        assert code == 0, said
        (directory / "said").write_text(said)

    place = once.made(tmp_path_factory, "release-of-the-page", install)
    return Folder(place), (place / "said").read_text()


@pytest.fixture
def installed(release, tmp_path):
    """Return a folder of the test's own in which that is installed."""
    folder, said = release
    return Folder(tmp_path, folder), said


def test_the_values_of_the_page_are_installed_by_helm(installed, tmp_path):
    folder, _ = installed
    assert tools.invalid(yaml.safe_dump_all(folder.objects.values()), tmp_path / "all.yaml") == ""
    account = folder.objects["ServiceAccount", "job-monitor"]
    role = account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert role == "arn:aws:iam::111122223333:role/job-monitor"
    assert container(folder)["image"].startswith("111122223333.dkr.ecr.us-east-1.amazonaws.com/")


@pytest.mark.parametrize("values", VALUES[1:], ids=lambda text: text.partition(":")[0])
def test_other_values_of_the_page_fit_the_chart(values, tmp_path):
    text = charts.rendered(yaml.safe_load(values))
    assert tools.invalid(text, tmp_path / "all.yaml") == ""


def test_secret_values_and_mounts_of_the_page_fit_together(installed, tmp_path):
    folder, _ = installed
    (folder.place / "hook").write_text("whsec_c2VjcmV0c2VjcmV0c2VjcmV0")
    code, said = folder.give(SECRET)
    assert code == 0, said
    [name] = [name for kind, name in folder.objects if kind == "Secret"]
    spec = folder.objects["StatefulSet", "job-monitor"]["spec"]["template"]["spec"]
    [volume] = [each for each in spec["volumes"] if "secret" in each]
    assert volume["secret"]["secretName"] == name
    [mount] = [m for m in container(folder)["volumeMounts"] if m["name"] == volume["name"]]
    assert mount["mountPath"] == SECRETS
    # As the pod would find it.
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for key in folder.objects["Secret", name]["data"]:
        (secrets / key).write_bytes((folder.place / key).read_bytes())
    [(file, text)] = folder.objects["ConfigMap", "job-monitor"]["data"].items()
    (tmp_path / file).write_text(text.replace(SECRETS, str(secrets)))
    settings = config.load([tmp_path / file], {})
    assert validation.problems(settings, load_job_types(None)) == []
    assert set(settings.sinks) == {"ops", "audit"}


def test_the_secret_of_the_database_is_the_one_that_the_values_name(installed):
    folder, _ = installed
    (folder.place / "password").write_text("example")
    code, said = folder.give(DATABASE)
    assert code == 0, said
    [(name, secret)] = [
        (name, each) for (kind, name), each in folder.objects.items() if kind == "Secret"
    ]
    [named] = [
        each["store"]["postgresql"] for each in map(yaml.safe_load, VALUES) if each.get("replicas")
    ]
    assert named["existingSecret"] == name
    assert secret["data"].keys() == {"password"}
    found = tools.manifests(charts.rendered({"replicas": 3, "store": {"postgresql": named}}))
    [inside] = found["Deployment", "job-monitor"]["spec"]["template"]["spec"]["containers"]
    environment = {each["name"]: each["value"] for each in inside["env"]}
    assert environment["JOB_MONITOR_STORE__PASSWORD_FILE"] == f"/run/secrets/{name}/password"


def test_the_commands_for_an_overlay_are_understood_and_find_what_they_name(folder, tmp_path):
    code, said = folder.give(APPLY)
    assert code == 0, said
    assert tools.invalid(yaml.safe_dump_all(folder.objects.values()), tmp_path / "all.yaml") == ""
    assert ("Namespace", "job-monitor") in folder.objects
    [restart] = re.findall(INLINE, PAGE.read_text())
    [apply] = re.findall(INLINE, KUSTOMIZE.read_text())
    for command in (restart, apply):
        code, said = folder.give(command)
        assert code == 0, said


def test_the_commands_in_the_notes_of_the_release_find_what_they_name(installed):
    folder, said = installed
    commands = re.findall(r"^  ((?:kubectl|helm) .+)$", said, re.MULTILINE)
    assert len(commands) == 3
    code, said = folder.give("\n".join(commands))
    assert code == 0, said


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("kubectl --namespace job-monitor rollout statuss statefulset/job-monitor", "not known"),
        ("kubectl --namespace job-monitor rollout status statefulset/monitor", "there is no"),
        ("kubectl --namespace default rollout status statefulset/job-monitor", "there is no"),
        ("kubectl apply --kustomise deploy/kubernetes/overlays/eks", "not known"),
        ("kubectl apply --kustomize deploy/kubernetes/overlays/gke", "not a valid directory"),
        ("helm --namespace job-monitor test monitor", "no release"),
        (
            "kubectl --namespace job-monitor port-forward service/job-monitor 9847:80",
            "no port",
        ),
        ("kubectl --namespace job-monitor rollout status statefulset/job-monitor --x", "not known"),
        ("helm upgrade --install a deploy/helm --namespace a --values values.yaml", "Chart.yaml"),
        ("helm upgrade job-monitor deploy/helm/job-monitor --namespace a", "required"),
    ],
)
def test_a_mistake_in_a_command_is_noticed(installed, wrong, told):
    folder, _ = installed
    code, said = folder.give(wrong)
    assert code != 0
    assert told in said


def container(folder):
    spec = folder.objects["StatefulSet", "job-monitor"]["spec"]["template"]["spec"]
    [one] = spec["containers"]
    return one
