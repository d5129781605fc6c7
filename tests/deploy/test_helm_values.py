"""What each value of the chart changes, and what the chart says of values that do not fit."""

import copy
import json

import pytest
import yaml

from monitor import config, validation
from monitor.sources.loader import load_job_types
from tests import once
from tests.deploy import chart_values, openshift, shipped, tools
from tests.deploy.charts import CHART, helm, rendered

FULL, REPLICAS = (
    yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text("utf-8"))
    for name in ("full", "replicas")
)
ALIKE = {
    "image.pullPolicy",
    "networkPolicy.enabled",
    "serviceAccount.create",
}
"""Values whose default is what the other values of the file need."""
APART = {"env", "existingConfigMap", "image.digest", "probes.scheme", "probes.httpHeaders"} | {
    f"serviceMonitor.{name}" for name in ("tlsConfig", "basicAuth")
}
"""Values that exclude others of the file; the sets of ``test_helm`` have them."""
OF_REPLICAS = {"replicas", "store", "podDisruptionBudget", "autoscaling"}
"""Groups of values that need PostgreSQL, which excludes the volume of the other file."""
DATABASE = "postgresql://monitor@db.example.com/monitor"
URL = "https://jobs.example.com/monitor"
GATEWAY = [{"name": "internal", "namespace": "gateways"}]


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    text = once.found(tmp_path_factory, "chart-full", lambda _: rendered(FULL))
    return tools.manifests(text)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tools.manifests(once.found(tmp_path_factory, "chart-plain", lambda _: rendered({})))


def pod(objects, name="jobs"):
    return objects["StatefulSet", name]["spec"]["template"]["spec"]


def container(spec):
    [one] = spec["containers"]
    return one


def notes(values):
    answer = helm("render", values)
    [text] = [text for path, text in answer.items() if path.endswith("NOTES.txt")]
    return text


def at(tree, path):
    for key in path.split("."):
        tree = tree[key]
    return tree


def paths():
    told = chart_values.described()
    return [path for path in told if not any(other.startswith(f"{path}.") for other in told)]


def test_one_file_sets_every_value_and_another_those_of_replicas():
    defaults = yaml.safe_load(chart_values.VALUES.read_text("utf-8"))
    of_replicas = [each for each in paths() if each.partition(".")[0] in OF_REPLICAS]
    assert len(of_replicas) == 13
    for path in of_replicas:
        assert at(REPLICAS, path) != at(defaults, path), path
    for path in set(paths()) - APART - set(of_replicas):
        assert path in ALIKE or at(FULL, path) != at(defaults, path), path


def test_the_schema_says_what_each_value_is():
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    for key, value in schema["properties"].items():
        for name, each in {key: value, **value.get("properties", {})}.items():
            assert each["title"], (key, name)
            assert each["description"].endswith("."), (key, name)


def test_readme_and_comments_are_those_of_the_schema():
    assert chart_values.README.read_text("utf-8") == chart_values.readme(), "make manifests"
    assert chart_values.VALUES.read_text("utf-8") == chart_values.values(), "make manifests"


def test_job_types_and_templates_are_files_that_the_configuration_names(full, tmp_path):
    spec = pod(full)
    mounts = {each["mountPath"]: each["name"] for each in container(spec)["volumeMounts"]}
    volumes = {each["name"]: each.get("configMap", {}).get("name") for each in spec["volumes"]}
    environment = {each["name"]: each["value"] for each in container(spec)["env"]}
    types = environment["JOB_MONITOR_JOB_TYPES_DIR"]
    [(file, text)] = full["ConfigMap", volumes[mounts[types]]]["data"].items()
    assert file == "transcribe.interview.yaml"
    (tmp_path / "types").mkdir()
    (tmp_path / "types" / file).write_text(text, "utf-8")
    assert "transcribe.interview" in load_job_types(tmp_path / "types")

    template = FULL["config"]["sinks"]["desk"]["template"]
    folder, _, name = template.rpartition("/")
    assert full["ConfigMap", volumes[mounts[folder]]]["data"] == {name: FULL["templates"][name]}


def test_the_configuration_of_the_file_has_no_mistake(full, tmp_path):
    """With the job type, the template and the secret where the pod has them."""
    for kind, name in (("types", "jobs-job-types"), ("templates", "jobs-templates")):
        (tmp_path / kind).mkdir()
        for file, text in full["ConfigMap", name]["data"].items():
            (tmp_path / kind / file).write_text(text, "utf-8")
    (tmp_path / "token").write_text("Bearer example", "utf-8")
    [(file, text)] = full["ConfigMap", "jobs"]["data"].items()
    for there, here in (
        ("/etc/job-monitor-templates", tmp_path / "templates"),
        ("/run/secrets/desk", tmp_path),
    ):
        text = text.replace(there, str(here))
    (tmp_path / file).write_text(text, "utf-8")
    settings = config.load([tmp_path / file], {})
    assert validation.problems(settings, load_job_types(tmp_path / "types")) == []


@pytest.mark.parametrize("always", ["always", "never"])
def test_openshift_admits_the_pods_only_without_ids_of_their_own(always):
    found = tools.manifests(rendered({"openshift": always}))
    specs = [pod(found, "job-monitor"), found["Pod", "job-monitor-test"]["spec"]]
    reasons = [openshift.refused(spec) for spec in specs]
    assert reasons == 2 * [[] if always == "always" else ["fsGroup", "runAsUser"]]
    ports = [
        port["port"]
        for rule in found["NetworkPolicy", "job-monitor"]["spec"]["egress"]
        for port in rule["ports"]
    ]
    assert (5353 in ports) == (always == "always")


def test_openshift_admits_the_pod_that_uses_every_value(full):
    assert openshift.refused(pod(full)) == []


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("hostNetwork",), True, "hostNetwork"),
        (("containers", 0, "securityContext", "capabilities"), {}, "capabilities.drop"),
        (("containers", 0, "securityContext", "privileged"), True, "privileged"),
        (
            ("containers", 0, "securityContext", "allowPrivilegeEscalation"),
            None,
            "allowPrivilegeEscalation",
        ),
        (("securityContext", "seccompProfile"), {"type": "Unconfined"}, "seccompProfile"),
        (("volumes", 0), {"name": "x", "hostPath": {"path": "/"}}, "volumes.hostPath"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_openshift_would_refuse_a_pod_that_may_do_more(plain, path, value, told):
    spec = copy.deepcopy(pod(plain, "job-monitor"))
    for key in ("runAsUser", "runAsGroup", "fsGroup"):
        del spec["securityContext"][key]
    assert openshift.refused(spec) == []
    *parents, last = path
    there = spec
    for key in parents:
        there = there[key]
    there[last] = value
    assert openshift.refused(spec) == [told]


def test_the_security_of_pod_and_container_can_be_changed_key_by_key():
    own = {
        "podSecurityContext": {"runAsUser": 1234, "fsGroup": None},
        "securityContext": {"readOnlyRootFilesystem": False},
    }
    spec = pod(tools.manifests(rendered(own)), "job-monitor")
    assert spec["securityContext"]["runAsUser"] == 1234
    assert "fsGroup" not in spec["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert not container(spec)["securityContext"]["readOnlyRootFilesystem"]
    assert container(spec)["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_ingress_and_route_take_host_and_path_of_the_external_url():
    values = {
        "externalUrl": f"{URL}/",
        "ingress": {"enabled": True, "tls": [{"secretName": "jobs-tls"}]},
        "httpRoute": {"enabled": True, "parentRefs": GATEWAY},
    }
    found = tools.manifests(rendered(values))
    ingress = found["Ingress", "job-monitor"]["spec"]
    assert ingress["tls"] == [{"secretName": "jobs-tls", "hosts": ["jobs.example.com"]}]
    [rule] = ingress["rules"]
    [path] = rule["http"]["paths"]
    assert (rule["host"], path["path"], path["pathType"]) == (
        "jobs.example.com",
        "/monitor",
        "Prefix",
    )
    route = found["HTTPRoute", "job-monitor"]["spec"]
    assert (route["hostnames"], route["parentRefs"]) == (["jobs.example.com"], GATEWAY)
    [rule] = route["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/monitor"}}]
    service = found["Service", "job-monitor"]
    port = service["spec"]["ports"][0]
    assert path["backend"]["service"] == {"name": "job-monitor", "port": {"name": port["name"]}}
    assert rule["backendRefs"] == [{"name": "job-monitor", "port": port["port"]}]
    environment = container(pod(found, "job-monitor"))["env"]
    assert {"name": "JOB_MONITOR_SERVER__EXTERNAL_URL", "value": f"{URL}/"} in environment


def test_without_a_path_everything_below_the_host_is_routed():
    values = {"externalUrl": "https://jobs.example.com:8443", "ingress": {"enabled": True}}
    [rule] = tools.manifests(rendered(values))["Ingress", "job-monitor"]["spec"]["rules"]
    assert (rule["host"], rule["http"]["paths"][0]["path"]) == ("jobs.example.com", "/")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"ingress": {"enabled": True}}, "set externalUrl, or ingress.hosts"),
        ({"httpRoute": {"enabled": True, "parentRefs": GATEWAY}}, "or httpRoute.hostnames"),
        ({"httpRoute": {"enabled": True}, "externalUrl": URL}, "name your Gateway"),
        (
            {"jobTypes": {"a.b": "x"}, "config": {"job_types_dir": "/x"}},
            "leave out config.job_types_dir",
        ),
        (
            {"config": {"sinks": {"a": {"template": "/etc/job-monitor-templates/x.j2"}}}},
            'add "x.j2" to templates',
        ),
        ({"jobTypes": {"a.b": {"describe": {}}}}, "jobTypes"),
        ({"externalUrl": "jobs.example.com"}, "externalUrl"),
        ({"extraVolumes": [{"name": "state", "emptyDir": {}}]}, "extraVolumes"),
        ({"ingress": {"host": "jobs.example.com"}}, "ingress"),
        ({"serviceMonitor": {"relabelings": [{"target_label": "x"}]}}, "relabelings"),
        ({"service": {"nodePort": 1}, "openshift": True}, "openshift"),
        (
            {"store": {"postgresql": {"url": "postgresql://monitor:hunter2@db/monitor"}}},
            "name a Secret with it in store.postgresql.existingSecret",
        ),
        (
            {
                "store": {"postgresql": {"url": DATABASE}},
                "autoscaling": {"enabled": True, "minReplicas": 7},
            },
            "autoscaling.minReplicas is 7: write at most autoscaling.maxReplicas, 6",
        ),
    ],
    ids=str,
)
def test_values_that_do_not_fit_are_refused_with_what_to_write(wrong, told):
    error = helm("render", wrong)["error"]
    assert told in error
    assert "hunter2" not in error


@pytest.mark.parametrize(
    ("values", "variables", "ports"),
    [
        ({"config": {"store": DATABASE}}, {}, ["5432"]),
        ({"config": {"store": {"url": DATABASE, "iam_auth": True}}}, {}, ["5432"]),
        (
            {
                "config": {"store": f"{DATABASE}?port=5433,5434"},
                "store": {"postgresql": {"existingSecret": "database"}},
            },
            {
                "JOB_MONITOR_STORE__URL": f"{DATABASE}?port=5433,5434",
                "JOB_MONITOR_STORE__PASSWORD_FILE": "/run/secrets/database/password",
            },
            ["5433", "5434"],
        ),
        (
            {
                "existingConfigMap": "own",
                "store": {"postgresql": {"url": "postgresql://a:1,[fd00::2]:3,b/monitor"}},
            },
            {"JOB_MONITOR_STORE__URL": "postgresql://a:1,[fd00::2]:3,b/monitor"},
            ["1", "3"],
        ),
        (
            {"store": {"postgresql": {"existingSecret": "app", "urlKey": "dsn"}}},
            {"JOB_MONITOR_STORE__URL": {"secretKeyRef": {"name": "app", "key": "dsn"}}},
            ["5432"],
        ),
    ],
    ids=["config", "login", "secret", "hosts", "uri"],
)
def test_postgresql_may_be_named_in_several_ways(values, variables, ports):
    found = tools.manifests(rendered(values))
    spec = found["Deployment", "job-monitor"]["spec"]
    assert spec["replicas"] == 1
    assert ("StatefulSet", "job-monitor") not in found
    assert ("PodDisruptionBudget", "job-monitor") not in found
    inside = spec["template"]["spec"]
    assert "topologySpreadConstraints" not in inside
    assert {
        each["name"]: each.get("value") or each["valueFrom"]
        for each in container(inside)["env"]
        if each["name"].startswith("JOB_MONITOR_STORE")
    } == variables
    *_, rule = found["NetworkPolicy", "job-monitor"]["spec"]["egress"]
    assert [str(each["port"]) for each in rule["ports"]] == ports
    assert len(rule["to"]) == 3


def test_several_pods_are_spread_as_the_values_say_and_reach_the_database_that_they_name():
    zones = {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule",
    }
    database = [{"to": [{"ipBlock": {"cidr": "10.0.5.0/24"}}], "ports": [{"port": 5432}]}]
    values = {
        "replicas": 2,
        "store": {"postgresql": {"url": DATABASE}},
        "topologySpreadConstraints": [zones],
        "networkPolicy": {"egress": {"postgresql": database}},
    }
    found = tools.manifests(rendered(values))
    spec = found["Deployment", "job-monitor"]["spec"]
    [spread] = spec["template"]["spec"]["topologySpreadConstraints"]
    assert spread == zones | {"labelSelector": spec["selector"]}
    *_, rule = found["NetworkPolicy", "job-monitor"]["spec"]["egress"]
    assert [rule] == database


def test_the_notes_name_what_was_made():
    several = notes({"replicas": 2, "store": {"postgresql": {"url": DATABASE}}})
    assert "rollout status deployment/job-monitor" in several
    assert "job-monitor replicas" in several
    one = notes({})
    assert "rollout status statefulset/job-monitor" in one
    assert "job-monitor replicas" not in one
    assert "loses all state" in notes({"persistence": {"enabled": False}})


@pytest.mark.parametrize(
    ("values", "shut_out"),
    [
        ({"serviceMonitor": {"enabled": True}}, "Prometheus"),
        ({"ingress": {"enabled": True}, "externalUrl": URL}, "Ingress"),
        (
            {"httpRoute": {"enabled": True, "parentRefs": GATEWAY}, "externalUrl": URL},
            "HTTPRoute",
        ),
        ({"service": {"type": "LoadBalancer"}}, "LoadBalancer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_notes_name_whom_the_network_policy_keeps_out(values, shut_out):
    warned = "networkPolicy.ingressNamespaces"
    text = notes(values)
    assert warned in text
    assert f" {shut_out}" in text
    for policy in (
        {"enabled": False},
        {"ingressNamespaces": ["monitoring"]},
        {"extraIngress": [{"ports": [{"port": 9847}]}]},
    ):
        assert warned not in notes(values | {"networkPolicy": policy})


def test_the_notes_warn_of_a_page_that_anybody_may_read():
    open_to_all = {"ingress": {"enabled": True}, "externalUrl": URL}
    assert "may read" in notes(open_to_all)
    assert f"at {URL} " in notes(open_to_all)
    with_users = {"config": {"server": {"web_config_file": "/run/secrets/web/config.yml"}}}
    assert "may read" not in notes(open_to_all | with_users)
    assert "may read" not in notes({})


@pytest.mark.parametrize(
    ("values", "runbook"),
    [
        ({"docsUrl": "https://wiki.example.com/d/"}, "https://wiki.example.com/d/runbook.md"),
        ({"runbookUrl": "https://wiki.example.com/r#"}, "https://wiki.example.com/r"),
        (
            {"docsUrl": "https://wiki.example.com/d", "runbookUrl": "https://wiki.example.com/r"},
            "https://wiki.example.com/r",
        ),
    ],
    ids=["docs", "runbook", "both"],
)
def test_alerts_and_dashboards_link_to_the_addresses_of_the_values(values, runbook):
    observed = {"prometheusRule": {"enabled": True}, "dashboards": {"enabled": True}}
    found = tools.manifests(rendered(values | observed | {"externalUrl": URL}))
    groups = found["PrometheusRule", "job-monitor"]["spec"]["groups"]
    links = [
        rule["annotations"]["runbook_url"]
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert links == [f"{runbook}#{name.lower()}" for name in shipped.alerts()]
    for path in shipped.BOARDS:
        [text] = [
            each["data"][path.name]
            for (kind, _), each in found.items()
            if kind == "ConfigMap" and path.name in each["data"]
        ]
        shown = {
            each["name"]: each["query"]
            for each in json.loads(text)["templating"]["list"]
            if each["type"] == "constant"
        }
        assert shown["runbook"] == runbook
        assert shown["page"] == URL
        if "docsUrl" in values:
            assert shown["docs"] == values["docsUrl"].rstrip("/")


def test_objects_for_prometheus_and_grafana_can_be_in_their_namespaces(full):
    for kind in ("ServiceMonitor", "PrometheusRule"):
        assert full[kind, "jobs"]["metadata"]["namespace"] == "monitoring"
        # The object's own label wins over the common one: Prometheus selects by it.
        assert full[kind, "jobs"]["metadata"]["labels"]["release"] == "prometheus"
    scrape = full["ServiceMonitor", "jobs"]["spec"]
    assert scrape["namespaceSelector"] == {"matchNames": ["job-monitor"]}
    [endpoint] = scrape["endpoints"]
    for key in ("interval", "scrapeTimeout", "relabelings", "metricRelabelings"):
        assert endpoint[key] == FULL["serviceMonitor"][key]
    boards = [
        each["metadata"]
        for (kind, name), each in full.items()
        if kind == "ConfigMap" and "-dashboard-" in name
    ]
    assert {each["namespace"] for each in boards} == {"monitoring"}
    assert all(each["annotations"] == {"grafana_folder": "AWS"} for each in boards)


def test_common_labels_are_on_every_object_of_the_chart_and_never_in_a_selector(full):
    for (kind, name), each in full.items():
        if (kind, name) not in {("ConfigMap", "jobs-notes"), ("ExternalSecret", "jobs")}:
            assert each["metadata"]["labels"]["example.com/cost-center"] == "4711", (kind, name)
    selectors = [
        full["Service", "jobs"]["spec"]["selector"],
        full["StatefulSet", "jobs"]["spec"]["selector"]["matchLabels"],
        full["ServiceMonitor", "jobs"]["spec"]["selector"]["matchLabels"],
    ]
    assert all(
        set(each) == {"app.kubernetes.io/name", "app.kubernetes.io/instance"} for each in selectors
    )


def test_more_of_the_pod_is_where_it_belongs(full):
    spec = pod(full)
    inside = container(spec)
    assert FULL["extraEnv"][0] in inside["env"]
    assert inside["envFrom"] == FULL["envFrom"]
    assert FULL["extraVolumeMounts"][0] in inside["volumeMounts"]
    assert FULL["extraVolumes"][0] in spec["volumes"]
    [spread] = spec["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"].items() <= (
        full["StatefulSet", "jobs"]["spec"]["template"]["metadata"]["labels"].items()
    )
    assert ("ExternalSecret", "jobs") in full


def test_the_former_name_of_the_variables_still_works():
    one, other = ({"name": name, "value": "x"} for name in ("A", "B"))
    found = tools.manifests(rendered({"env": [one], "extraEnv": [other]}))
    assert container(pod(found, "job-monitor"))["env"][-2:] == [one, other]


def test_a_rule_of_egress_is_replaced_or_added_by_its_name(full, plain):
    def reached(objects, name):
        return objects["NetworkPolicy", name]["spec"]["egress"]

    assert len(reached(plain, "job-monitor")) == 2
    rules = reached(full, "jobs")
    for name in ("nodeLocalDns", "proxy"):
        [rule] = FULL["networkPolicy"]["egress"][name]
        assert rule in rules
    open_to_all = [
        to for rule in rules for to in rule["to"] if to.get("ipBlock", {}).get("cidr") == "::/0"
    ]
    assert open_to_all == []
