"""The manifests of ``deploy/kubernetes``, rendered by kubectl, against the checkers."""

import re

import pytest

import monitor
from monitor import config, validation
from monitor.sources.loader import load_job_types
from tests import once
from tests.deploy import manifests as generated
from tests.deploy import shipped, tools

KUBERNETES = shipped.ROOT / "deploy" / "kubernetes"
FOLDERS = {
    "base": KUBERNETES / "base",
    "eks": KUBERNETES / "overlays" / "eks",
    "postgresql": KUBERNETES / "overlays" / "postgresql",
    "prometheus-operator": KUBERNETES / "overlays" / "prometheus-operator",
}

each_one = pytest.mark.parametrize("name", FOLDERS)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    def render(_):
        return {name: tools.kustomized(folder) for name, folder in FOLDERS.items()}

    return once.found(tmp_path_factory, "overlays", render)


@each_one
def test_it_is_valid_for_the_three_newest_versions(rendered, name, tmp_path):
    assert tools.invalid(rendered[name], tmp_path / "all.yaml") == ""


def test_an_unknown_field_is_noticed(rendered, tmp_path):
    wrong = rendered["base"].replace("readOnlyRootFilesystem:", "readOnlyRootFileSystem:")
    assert "readOnlyRootFileSystem" in tools.invalid(wrong, tmp_path / "all.yaml")


def test_checkov_finds_nothing_that_is_not_explained_and_a_container_that_may_do_more(
    rendered, tmp_path
):
    # In one test, as its start takes seconds.
    wrong = rendered["base"].replace("allowPrivilegeEscalation: false", "stdin: false")
    found = tools.insecure({**rendered, "wrong": wrong}, tmp_path)
    assert "CKV_K8S_20" in found.pop("wrong")[0]
    for name, text in rendered.items():
        excuses = tools.excuses(text)
        assert len(excuses) == 2, name
        assert all(re.fullmatch(r"CKV\w+=.{30,}", each, re.DOTALL) for each in excuses), name
    assert found == {name: (set(), 2) for name in rendered}


@pytest.mark.parametrize("name", [each for each in FOLDERS if each != "postgresql"])
def test_there_is_one_replica_that_keeps_its_state(rendered, name):
    spec = tools.manifests(rendered[name])["StatefulSet", "job-monitor"]["spec"]
    assert spec["replicas"] == 1
    assert set(spec["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}
    [claim] = spec["volumeClaimTemplates"]
    [mount] = [m for m in container(spec)["volumeMounts"] if m["name"] == claim["metadata"]["name"]]
    assert mount["mountPath"] == "/var/lib/job-monitor"


def test_on_postgresql_there_are_replicas_without_a_volume(rendered):
    found = tools.manifests(rendered["postgresql"])
    assert ("StatefulSet", "job-monitor") not in found
    spec = found["Deployment", "job-monitor"]["spec"]
    assert spec["replicas"] == 3
    assert not {"volumeClaimTemplates", "serviceName"} & spec.keys()
    assert found["PodDisruptionBudget", "job-monitor"]["spec"] == {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": spec["selector"],
    }


def test_on_postgresql_the_daemon_finds_url_and_password(rendered, tmp_path):
    found = tools.manifests(rendered["postgresql"])
    inside = container(found["Deployment", "job-monitor"]["spec"])
    environment = {each["name"]: each["value"] for each in inside["env"]}
    password = environment["JOB_MONITOR_STORE__PASSWORD_FILE"]
    assert any(password.startswith(f"{each['mountPath']}/") for each in inside["volumeMounts"])
    for file, text in found["ConfigMap", "job-monitor"]["data"].items():
        (tmp_path / file).write_text(text, "utf-8")
    (tmp_path / "password").write_text("example", "utf-8")
    here = {"JOB_MONITOR_STORE__PASSWORD_FILE": str(tmp_path / "password")}
    settings = config.load([tmp_path / "job-monitor.yaml"], environment | here)
    assert validation.problems(settings, load_job_types(None)) == []
    assert settings.database.url == environment["JOB_MONITOR_STORE__URL"]


@each_one
def test_a_changed_configmap_reaches_the_daemon_without_a_new_pod(rendered, name):
    found = tools.manifests(rendered[name])
    spec = controller(found)["spec"]
    volumes = {each["name"]: each for each in spec["template"]["spec"]["volumes"]}
    assert ("ConfigMap", volumes["config"]["configMap"]["name"]) in found
    assert not any("subPath" in each for each in container(spec)["volumeMounts"])


@each_one
def test_the_configuration_in_it_is_one_without_mistake(rendered, name, tmp_path):
    data = tools.manifests(rendered[name])["ConfigMap", "job-monitor"]["data"]
    for file, text in data.items():
        (tmp_path / file).write_text(text, "utf-8")
    settings = config.load([tmp_path], {})
    assert validation.problems(settings, load_job_types(None)) == []
    assert settings.watches


def test_the_pod_passes_where_only_restricted_ones_may_run(rendered):
    found = tools.manifests(rendered["eks"])
    labels = found["Namespace", "job-monitor"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert all(
        each["metadata"].get("namespace", "job-monitor") == "job-monitor" for each in found.values()
    )
    spec = found["StatefulSet", "job-monitor"]["spec"]
    pod, inside = spec["template"]["spec"]["securityContext"], container(spec)["securityContext"]
    assert (pod["runAsNonRoot"], pod["runAsUser"]) == (True, 65532)
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inside["capabilities"] == {"drop": ["ALL"]}
    assert not inside["allowPrivilegeEscalation"]
    assert inside["readOnlyRootFilesystem"]


def test_the_image_is_of_this_version_and_its_user_that_of_the_dockerfile(rendered):
    dockerfile = (shipped.ROOT / "Dockerfile").read_text("utf-8")
    for text in rendered.values():
        spec = controller(tools.manifests(text))["spec"]
        assert container(spec)["image"].endswith(f"job-monitor:{monitor.__version__}")
        security = spec["template"]["spec"]["securityContext"]
        assert f"USER {security['runAsUser']}:{security['runAsGroup']}" in dockerfile


def test_on_eks_the_service_account_names_its_role(rendered):
    account = tools.manifests(rendered["eks"])["ServiceAccount", "job-monitor"]
    role = account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert re.fullmatch(r"arn:aws:iam::\d{12}:role/job-monitor", role)
    trust = (shipped.ROOT / "deploy/iam/trust-irsa.json").read_text("utf-8")
    name, namespace = account["metadata"]["name"], account["metadata"]["namespace"]
    assert f"system:serviceaccount:{namespace}:{name}" in trust


def test_the_node_s_credentials_are_out_of_reach(rendered):
    policy = tools.manifests(rendered["base"])["NetworkPolicy", "job-monitor"]["spec"]
    blocks = [to["ipBlock"] for rule in policy["egress"] for to in rule["to"] if "ipBlock" in to]
    assert {each["cidr"]: each["except"] for each in blocks} == {
        "0.0.0.0/0": ["169.254.169.254/32"],
        "::/0": ["fd00:ec2::254/128"],
    }
    assert policy["podSelector"]["matchLabels"] == pod_labels(rendered["base"])


def test_service_and_servicemonitor_lead_to_the_pod(rendered):
    text = rendered["prometheus-operator"]
    found = tools.manifests(text)
    service = found["Service", "job-monitor"]
    assert service["spec"]["selector"] == pod_labels(text)
    scrape = found["ServiceMonitor", "job-monitor"]["spec"]
    assert scrape["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {each["port"] for each in scrape["endpoints"]} == {service["spec"]["ports"][0]["name"]}
    from_ = found["NetworkPolicy", "job-monitor"]["spec"]["ingress"][0]["from"]
    assert len(from_) == 2  # its own namespace, and that of Prometheus


def test_the_rules_are_those_of_prometheus(rendered):
    rule = tools.manifests(rendered["prometheus-operator"])["PrometheusRule", "job-monitor"]
    assert rule["spec"]["groups"] == generated.groups()
    assert generated.TARGET.read_text("utf-8") == generated.prometheus_rule(), "make manifests"


def test_the_dashboards_are_the_files_themselves(rendered):
    found = tools.manifests(rendered["prometheus-operator"])
    labelled = [
        each["data"]
        for each in found.values()
        if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
    ]
    shown = {name: text for data in labelled for name, text in data.items()}
    assert shown == {path.name: path.read_text("utf-8") for path in shipped.BOARDS}


def pod_labels(text):
    spec = tools.manifests(text)["StatefulSet", "job-monitor"]["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    return spec["template"]["metadata"]["labels"]


def controller(found):
    [one] = [each for (kind, _), each in found.items() if kind in {"StatefulSet", "Deployment"}]
    return one


def container(spec):
    [one] = spec["template"]["spec"]["containers"]
    return one
