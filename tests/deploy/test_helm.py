"""The chart of ``deploy/helm``, by Helm's own library, against checkers and the manifests."""

import itertools
import json
import re
import tarfile
from typing import Any

import pytest
import yaml

import monitor
from monitor import config, validation
from monitor.runtime import sharing
from monitor.sources.loader import load_job_types
from tests import once
from tests.deploy import manifests as generated
from tests.deploy import shipped, tools
from tests.deploy.charts import CHART, helm, rendered

KUSTOMIZE = shipped.ROOT / "deploy" / "kubernetes"
ROLE = "arn:aws:iam::111122223333:role/job-monitor"
OBSERVED = {
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True},
    "dashboards": {"enabled": True},
    "networkPolicy": {"ingressNamespaces": ["monitoring"]},
}
DATABASE = {
    "url": "postgresql://job-monitor@postgresql.databases.svc/job_monitor",
    "existingSecret": "job-monitor-postgresql",
}
REPLICAS = yaml.safe_load((CHART / "ci" / "replicas-values.yaml").read_text("utf-8"))
SETS: dict[str, Any] = {
    "defaults": {},
    "irsa": {"irsa": {"roleArn": ROLE}, "image": {"digest": "sha256:" + 64 * "0"}},
    "observed": OBSERVED,
    "postgresql": {"replicas": 3, "store": {"postgresql": DATABASE}},
    "replicas": REPLICAS,
    "tls": {
        "probes": {
            "scheme": "HTTPS",
            "httpHeaders": [{"name": "Authorization", "value": "Basic eA=="}],
        },
        "serviceMonitor": {"enabled": True, "tlsConfig": {"insecureSkipVerify": True}},
    },
    "full": yaml.safe_load((CHART / "ci" / "full-values.yaml").read_text("utf-8")),
}

each_set = pytest.mark.parametrize("name", SETS)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    def render(_):
        return {name: rendered(values) for name, values in SETS.items()}

    return once.found(tmp_path_factory, "charts", render)


@each_set
def test_lint_finds_nothing(name):
    report = helm("lint", SETS[name])
    assert report["total_charts_linted"] == 1
    assert report["errors"] == []
    assert {each["error"] for each in report["messages"]} <= {"icon is recommended"}


@each_set
def test_it_is_valid_for_the_three_newest_versions(made, name, tmp_path):
    assert tools.invalid(made[name], tmp_path / "all.yaml") == ""


def test_checkov_finds_nothing_that_is_not_explained(made, tmp_path):
    excuses = {name: tools.excuses(text) for name, text in made.items()}
    found = tools.insecure(made, tmp_path)  # of all in one test, as its start takes seconds
    wanted: dict[str, Any] = {name: (set(), len(of_set)) for name, of_set in excuses.items()}
    # It takes variables from a Secret, which is for its user to choose.
    wanted["full"] = {"CKV_K8S_35"}, wanted["full"][1]
    assert found == wanted
    told = [each for of_set in excuses.values() for each in of_set]
    assert all(re.fullmatch(r"CKV\w+=.{30,}", each, re.DOTALL) for each in told)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"replicas": 0}, "replicas"),
        ({"replicas": 2}, "'more with store.postgresql: SQLite has one writer'"),
        ({"replicas": 2, "existingConfigMap": "own"}, "'more with store.postgresql"),
        ({"autoscaling": {"enabled": True}}, "'true with store.postgresql: SQLite has one writer'"),
        (
            {"store": {"postgresql": DATABASE}, "persistence": {"enabled": True}},
            "'not true, as the store is in PostgreSQL'",
        ),
        ({"store": {"postgresql": {"url": "sqlite:///state.db"}}}, "/store/postgresql/url"),
        ({"podDisruptionBudget": {"maxUnavailable": 0}}, "maxUnavailable"),
        ({"image": {"tag": "latest"}}, "tag"),
        ({"image": {"digest": "sha256:0"}}, "digest"),
        ({"irsa": {"roleArn": "job-monitor"}}, "roleArn"),
        ({"service": {"port": "http"}}, "port"),
        ({"secrets": [{"key": "x"}]}, "secrets"),
        ({"persistence": {"size": "much"}}, "size"),
        ({"terminationGracePeriodSeconds": 5}, "terminationGracePeriodSeconds"),
        ({"networkPolicy": {"enable": True}}, "networkPolicy"),
        ({"probes": {"scheme": "http"}}, "scheme"),
    ],
    ids=str,
)
def test_the_schema_refuses_a_mistake(wrong, told):
    assert told in helm("render", wrong)["error"]


def test_a_service_account_that_is_not_made_must_be_named():
    answer = helm("render", {"serviceAccount": {"create": False}})
    assert "serviceAccount.name is needed" in answer["error"]


def test_schema_and_readme_know_every_value():
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    assert set(schema["properties"]) - {"global"} == set(values)
    told = set(re.findall(r"`([\w.]+)`", (CHART / "README.md").read_text("utf-8")))
    for key, value in values.items():
        below = schema["properties"][key].get("properties", {})
        if not below:
            assert key in told
            continue
        assert set(value) == set(below)
        assert {f"{key}.{each}" for each in value} <= told


def test_chart_and_program_are_of_one_version():
    told = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert {told["version"], told["appVersion"]} == {monitor.__version__}


def test_the_configuration_of_the_defaults_is_one_without_mistake(made, tmp_path):
    for file, text in found(made, "defaults", "ConfigMap")["data"].items():
        (tmp_path / file).write_text(text, "utf-8")
    settings = config.load([tmp_path], {})
    assert validation.problems(settings, load_job_types(None)) == []
    assert settings.watches


def test_chart_and_kustomize_make_the_same(made):
    base = tools.manifests(tools.kustomized(KUSTOMIZE / "base"))
    ours = tools.manifests(made["defaults"])
    theirs = {key: each for key, each in ours.items() if key[0] != "Pod"}  # without the test
    assert theirs.keys() == base.keys()
    for key in base:
        if key[0] != "ConfigMap":
            assert bare(theirs[key]) == bare(base[key])
    mine, its = (each["ConfigMap", "job-monitor"]["data"] for each in (theirs, base))
    assert {name: yaml.safe_load(text) for name, text in mine.items()} == {
        name: yaml.safe_load(text) for name, text in its.items()
    }


def test_the_same_holds_beside_the_prometheus_operator(made):
    overlay = tools.manifests(tools.kustomized(KUSTOMIZE / "overlays" / "prometheus-operator"))
    ours = tools.manifests(made["observed"])
    for kind in ("NetworkPolicy", "ServiceMonitor", "PrometheusRule"):
        key = (kind, "job-monitor")
        assert ours[key]["spec"] == overlay[key]["spec"]
    assert boards(ours) == boards(overlay)


def test_the_same_holds_for_replicas_on_postgresql(made):
    overlay = tools.manifests(tools.kustomized(KUSTOMIZE / "overlays" / "postgresql"))
    ours = tools.manifests(made["postgresql"])
    alike = overlay.keys() - {("Namespace", "job-monitor"), ("ConfigMap", "job-monitor")}
    assert ours.keys() - {("Pod", "job-monitor-test"), ("ConfigMap", "job-monitor")} == alike
    assert ("StatefulSet", "job-monitor") not in alike
    for key in alike:
        assert bare(ours[key]) == bare(overlay[key])
    mine, its = (
        yaml.safe_load(each["ConfigMap", "job-monitor"]["data"]["job-monitor.yaml"])
        for each in (ours, overlay)
    )
    # Kustomize cannot take a line out of a file; the variable wins over it.
    assert its.pop("store").startswith("sqlite")
    assert mine == its


def test_a_difference_between_the_two_would_be_seen(made):
    base = tools.manifests(tools.kustomized(KUSTOMIZE / "base"))
    other = rendered({"probes": {"scheme": "HTTPS"}})
    key = ("StatefulSet", "job-monitor")
    assert bare(tools.manifests(other)[key]) != bare(base[key])


def test_without_a_claim_replicas_start_before_those_that_they_replace_end(made):
    spec = found(made, "postgresql", "Deployment")["spec"]
    assert spec["replicas"] == 3
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0},
    }
    assert "volumeClaimTemplates" not in spec
    inside = spec["template"]["spec"]
    assert {"name": "state", "emptyDir": {}} in inside["volumes"]
    assert inside["terminationGracePeriodSeconds"] > 10
    [spread] = inside["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == (
        "kubernetes.io/hostname",
        "ScheduleAnyway",
    )
    assert spread["labelSelector"] == spec["selector"]
    budget = found(made, "postgresql", "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == spec["selector"]


@pytest.mark.parametrize("version", ["6b7f", "58d9", "7c44"])
def test_sources_move_least_if_all_new_pods_start_before_the_first_old_one_ends(version):
    old = [f"job-monitor-0a1b-{number}" for number in range(3)]
    new = [f"job-monitor-{version}-{number}" for number in range(3)]
    all_first = _moves([old, old + new, old[1:] + new, old[2:] + new, new])
    one_first = _moves(
        [old, [*old, new[0]], [*old[1:], new[0]], [*old[1:], *new[:2]], [old[2], *new[:2]], new]
    )
    one_after = _moves(
        [old, old[1:], [*old[1:], new[0]], [old[2], new[0]], [old[2], *new[:2]], new]
    )
    assert all_first <= 1.5 < one_first < one_after


def _moves(steps):
    """Return how often a source moves, on average, while pods come and go."""
    sources = [f"source:{number}" for number in range(60)]
    shares = [sharing.share_out(dict.fromkeys(live, sources)) for live in steps]
    moved = [
        name
        for before, after in itertools.pairwise(shares)
        for name in sources
        if before[name] != after[name]
    ]
    return len(moved) / len(sources)


def test_the_password_is_a_file_and_the_url_has_none(made):
    deployment = found(made, "postgresql", "Deployment")
    environment = {each["name"]: each.get("value") for each in container(deployment)["env"]}
    file = environment["JOB_MONITOR_STORE__PASSWORD_FILE"]
    assert environment["JOB_MONITOR_STORE__URL"] == DATABASE["url"]
    mounts = {each["mountPath"]: each["name"] for each in container(deployment)["volumeMounts"]}
    folder, _, key = file.rpartition("/")
    volumes = {
        each["name"]: each.get("secret")
        for each in deployment["spec"]["template"]["spec"]["volumes"]
    }
    assert key == "password"
    assert volumes[mounts[folder]]["secretName"] == DATABASE["existingSecret"]
    assert not volumes[mounts[folder]]["optional"]


def test_the_number_of_pods_follows_how_late_they_poll(made):
    scaler = found(made, "replicas", "HorizontalPodAutoscaler")["spec"]
    deployment = found(made, "replicas", "Deployment")
    assert "replicas" not in deployment["spec"]
    assert scaler["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    own = REPLICAS["autoscaling"]
    for key in ("minReplicas", "maxReplicas", "metrics"):
        assert scaler[key] == own[key]
    # Maps of Helm are merged.
    assert scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 3600
    assert scaler["behavior"]["scaleUp"]["policies"]


def test_irsa_and_a_digest_are_where_they_belong(made):
    annotations = found(made, "irsa", "ServiceAccount")["metadata"]["annotations"]
    assert annotations["eks.amazonaws.com/role-arn"] == ROLE
    assert container(found(made, "irsa", "StatefulSet"))["image"].endswith(f"@sha256:{64 * '0'}")


def test_pod_identity_opens_the_way_to_its_agent_and_to_nothing_else(made):
    def reached(name):
        rules = found(made, name, "NetworkPolicy")["spec"]["egress"]
        return [
            (to["ipBlock"]["cidr"], rule["ports"])
            for rule in rules
            for to in rule.get("to", [])
            if "ipBlock" in to
        ]

    more = [each for each in reached("replicas") if each not in reached("defaults")]
    agent = [each for each in more if each[1] == [{"port": 80, "protocol": "TCP"}]]
    assert {cidr for cidr, _ in agent} == {"169.254.170.23/32", "fd00:ec2::23/128"}
    others = [port["port"] for each in more if each not in agent for port in each[1]]
    assert set(others) == {5432, 5433, 5434}


def test_without_persistence_nothing_is_claimed():
    made = tools.manifests(rendered({"persistence": {"enabled": False}}))
    spec = made["StatefulSet", "job-monitor"]["spec"]
    assert "volumeClaimTemplates" not in spec
    assert {"name": "state", "emptyDir": {}} in spec["template"]["spec"]["volumes"]


def test_probes_and_scrapes_follow_a_web_configuration_file(made):
    inside = container(found(made, "tls", "StatefulSet"))
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert inside[probe]["httpGet"]["scheme"] == "HTTPS"
        assert inside[probe]["httpGet"]["httpHeaders"] == SETS["tls"]["probes"]["httpHeaders"]
    [endpoint] = found(made, "tls", "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["scheme"] == "https"


def test_rules_and_dashboards_are_the_files_themselves(made):
    rule = found(made, "observed", "PrometheusRule")
    assert rule["spec"]["groups"] == generated.groups()
    shown = boards(tools.manifests(made["observed"]))
    assert shown == {path.name: path.read_text("utf-8") for path in shipped.BOARDS}


def test_the_package_holds_the_files_behind_the_links(tmp_path):
    archive = helm("package", str(tmp_path))
    with tarfile.open(archive) as opened:
        packed = {each.name: each for each in opened}
        assert not any(each.issym() for each in packed.values())
        for path in (*shipped.RULES, *shipped.BOARDS):
            [name] = [each for each in packed if each.endswith(f"/{path.name}")]
            content = opened.extractfile(name)
            assert content is not None
            assert content.read() == path.read_bytes()
    assert helm("render", OBSERVED, chart=archive) == helm("render", OBSERVED)


def test_the_test_of_the_release_asks_the_service_whether_it_is_ready(made):
    pod = found(made, "defaults", "Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    [one] = pod["spec"]["containers"]
    service = found(made, "defaults", "Service")
    port = service["spec"]["ports"][0]["port"]
    assert one["args"][1:] == [f"http://{service['metadata']['name']}:{port}/-/ready", "[]"]
    compile(one["args"][0], "the test", "exec")
    assert pod["metadata"]["labels"].items() & service["spec"]["selector"].items() != (
        service["spec"]["selector"].items()
    )  # so that the Service does not lead to it


def found(made, name, kind):
    [one] = [each for (of, _), each in tools.manifests(made[name]).items() if of == kind]
    return one


def boards(objects):
    held = [each for each in objects.values() if each["kind"] == "ConfigMap"]
    return {
        name: text
        for each in held
        if each["metadata"]["labels"].get("grafana_dashboard") == "1"
        for name, text in each["data"].items()
    }


def container(controller):
    [one] = controller["spec"]["template"]["spec"]["containers"]
    return one


def bare(thing):
    """Return an object without the labels that Helm adds to say whose it is."""
    kept = json.loads(json.dumps(thing))
    kept["metadata"]["labels"] = {
        key: value
        for key, value in kept["metadata"].get("labels", {}).items()
        if key in {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
    }
    for claim in kept.get("spec", {}).get("volumeClaimTemplates", []):
        # Kustomize spells out the kind, and labels the claim.
        claim["metadata"].pop("labels", None)
        claim.pop("apiVersion", None)
        claim.pop("kind", None)
    return kept
