"""The Compose project of ``deploy/compose``: its files, and the whole of it at work."""

import json
import re
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.acceptance.program import PATIENCE, run
from tests.contracts import postgresql_kit
from tests.deploy import compose_kit, shipped, tools
from tests.deploy.prometheus_kit import needed
from tests.image import kube_kit

SERVICES = compose_kit.services()
LOOPBACK = "127.0.0.1"
SIMULATOR = "http://127.0.0.1:4566"
MONITOR = "http://127.0.0.1:9847"
PROMETHEUS = "http://127.0.0.1:9090"
REPLICAS = {
    "job-monitor": MONITOR,
    "job-monitor-2": "http://127.0.0.1:9848",
    "job-monitor-3": "http://127.0.0.1:9849",
}
REASON = "The model archive has no descriptor."
EXCUSED = {
    "CL-0019": "a digest would have to be looked up anew for each platform and patch",
    "CL-0020": "what the simulator takes for a key is the word test",
}
"""Rules of compose-lint that the file breaks, and why."""

each_service = pytest.mark.parametrize("name", SERVICES)


def test_docker_compose_takes_the_file_without_a_warning():
    code, out, err = compose_kit.compose("--file", compose_kit.FILE, "config", "--format=json")
    assert (code, err) == (0, "")
    assert json.loads(out)["services"].keys() == SERVICES.keys()


def test_a_mistake_in_the_file_is_noticed(tmp_path):
    broken = yaml.safe_load(compose_kit.FILE.read_text())
    broken["services"]["grafana"]["read_onyl"] = True
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(broken))
    code, _, err = compose_kit.compose("--file", tmp_path / "compose.yaml", "config")
    assert code != 0
    assert "read_onyl" in err


def test_a_linter_of_compose_files_finds_only_what_is_excused():
    result = tools.run(tools.tool("compose-lint"), "--format=json", compose_kit.FILE)
    found = json.loads(result.stdout)["findings"]
    broken = {each["rule_id"] for each in found if not about_the_checkout(each)}
    assert broken == EXCUSED.keys(), result.stdout


def about_the_checkout(finding):
    """Whether it is about where this copy of the project happens to lie, such as below /root."""
    own = f"'{shipped.ROOT}/deploy/"
    return finding["rule_id"] == "CL-0013" and own in finding["message"]


@each_service
def test_every_service_is_confined(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert re.fullmatch(r"\d+m", service["mem_limit"])
    assert service["pids_limit"] <= 256
    assert service["cpus"] <= 1
    user, _, group = service["user"].partition(":")
    assert int(user) > 0
    assert group.isdigit()
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "env_file"} & service.keys()


@each_service
def test_every_service_shares_the_network_and_is_asked_for_its_health(name):
    if name == "network":
        assert "network_mode" not in SERVICES[name]
        return
    service = SERVICES[name]
    assert service["network_mode"] == "service:network"
    assert "ports" not in service
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["depends_on"]["network"] == {"condition": "service_started", "restart": True}
    others = [each for each in service["depends_on"] if each != "network"]
    assert all(service["depends_on"][each]["condition"] == "service_healthy" for each in others)


def test_ports_are_published_on_loopback_only_and_something_listens_on_each():
    published = [each.split(":") for each in SERVICES["network"]["ports"]]
    assert all((host, outside) == (LOOPBACK, inside) for host, outside, inside in published)
    commands = " ".join(str(each.get("command")) for each in SERVICES.values())
    listening = set(re.findall(r"0\.0\.0\.0:(\d+)", commands))
    image = (shipped.ROOT / "Dockerfile").read_text()
    own = re.search(r"JOB_MONITOR_SERVER__LISTEN=:(\d+)", image)
    assert own
    grafana = "3000"  # unless a setting says otherwise
    assert not {"GF_SERVER_HTTP_PORT", "GF_SERVER_HTTP_ADDR"} & environment("grafana").keys()
    assert {inside for *_, inside in published} == listening | {own[1], grafana}


@each_service
def test_images_are_pinned_to_a_version(name):
    image = SERVICES[name]["image"]
    own = image == "job-monitor:compose"
    assert own == ("build" in SERVICES[name])
    assert own or re.fullmatch(r"[a-z0-9./-]+:v?\d+\.\d+\.\d+", image)


def test_grafana_has_the_version_whose_types_the_dashboards_are_checked_against():
    checked = re.search(r"@grafana/schema@(\S+)", (shipped.ROOT / ".ci" / "run").read_text())
    assert checked
    assert SERVICES["grafana"]["image"] == f"grafana/grafana:{checked[1]}"


def environment(name):
    return SERVICES[name].get("environment", {})


@each_service
def test_what_is_mounted_is_there_and_what_is_written_to_is_a_volume(name):
    declared = yaml.safe_load(compose_kit.FILE.read_text())["volumes"]
    for each in SERVICES[name].get("volumes", ()):
        source, target, *_ = each.split(":")
        assert target.startswith("/")
        if not source.startswith("."):
            assert source in declared
    for source in compose_kit.mounts(SERVICES[name]).values():
        assert source.is_dir()  # a single file would stay what it was when it is replaced
        assert source.is_relative_to(shipped.ROOT / "deploy")


def test_prometheus_finds_every_rule_where_its_configuration_says(tmp_path):
    prometheus = SERVICES["prometheus"]
    root = compose_kit.lay_out(prometheus, tmp_path)
    file = root / option(prometheus, "config.file").lstrip("/")
    assert file.read_bytes() == (shipped.PROMETHEUS / "prometheus.yml").read_bytes()
    told = tools.run(needed("promtool"), "check", "config", file)
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.count(" rules found") == len(shipped.RULES)
    settings = yaml.safe_load(file.read_text())
    (alerting,) = settings["alerting"]["alertmanagers"]
    (scraped,) = settings["scrape_configs"]
    assert targets(alerting) == [f"{LOOPBACK}:{port('alertmanager')}"]
    assert targets(scraped) == [MONITOR.removeprefix("http://")]


def option(service, name):
    """Return what a service's command gives an option."""
    (value,) = [
        each.partition("=")[2] for each in service["command"] if each.startswith(f"--{name}=")
    ]
    return value


def port(name):
    return option(SERVICES[name], "web.listen-address").rpartition(":")[2]


def targets(section):
    return [each for group in section["static_configs"] for each in group["targets"]]


def test_alertmanager_tells_the_simulators_receiver(tmp_path):
    alertmanager = SERVICES["alertmanager"]
    root = compose_kit.lay_out(alertmanager, tmp_path)
    file = root / option(alertmanager, "config.file").lstrip("/")
    told = tools.run(needed("amtool"), "check-config", file)
    assert told.returncode == 0, told.stdout + told.stderr
    command = SERVICES["simulator"]["command"]
    receiver = command[command.index("--receiver") + 1]
    hooks = [
        hook["url"]
        for each in yaml.safe_load(file.read_text())["receivers"]
        for hook in each["webhook_configs"]
    ]
    assert len(hooks) == 2
    assert all(url.startswith(f"http://{receiver}/hook/") for url in hooks)


async def test_the_daemons_configuration_is_valid(tmp_path):
    place = compose_kit.mounts(SERVICES["job-monitor"])["/etc/job-monitor"]
    code, out, err = await run("check", "--config", place, directory=tmp_path)
    assert (code, err) == (0, "")
    assert "The configuration is valid." in out


def test_grafana_finds_dashboards_and_data_where_its_provisioning_says(tmp_path):
    root = compose_kit.lay_out(SERVICES["grafana"], tmp_path)
    provisioning = root / "etc" / "grafana" / "provisioning"
    (provider,) = loaded(provisioning / "dashboards")["providers"]
    (source,) = loaded(provisioning / "datasources")["datasources"]
    assert source["url"] == f"http://{LOOPBACK}:{port('prometheus')}"
    found = sorted((root / provider["options"]["path"].lstrip("/")).glob("*.json"))
    assert [each.name for each in found] == [each.name for each in shipped.BOARDS]
    home = environment("grafana")["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (root / home.lstrip("/")) in found


def loaded(folder):
    (file,) = folder.iterdir()
    return yaml.safe_load(file.read_text())


def test_grafana_lets_look_only_and_calls_nobody():
    settings = environment("grafana")
    assert settings["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert settings["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert not [name for name in settings if "PASSWORD" in name or "SECRET" in name]
    off = {
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES",
        "GF_ANALYTICS_CHECK_FOR_UPDATES",
        "GF_ANALYTICS_REPORTING_ENABLED",
        "GF_AUTH_BASIC_ENABLED",
        "GF_NEWS_NEWS_FEED_ENABLED",
        "GF_PLUGINS_PREINSTALL_AUTO_UPDATE",
        "GF_SNAPSHOTS_EXTERNAL_ENABLED",
    }
    assert {settings[name] for name in off} == {"false"}
    assert settings["GF_PLUGINS_PREINSTALL_DISABLED"] == "true"
    assert settings["GF_PLUGINS_PUBLIC_KEY_RETRIEVAL_DISABLED"] == "true"
    assert settings["GF_SECURITY_DISABLE_GRAVATAR"] == "true"


def test_laid_over_for_aws_nothing_of_the_simulator_is_left(tmp_path):
    files = ("--file", compose_kit.FILE, "--file", compose_kit.AWS)
    own = {"JOB_MONITOR_FILES": str(tmp_path / "own"), "ALERTMANAGER_FILES": str(tmp_path / "am")}
    code, out, err = compose_kit.compose(
        *files, "config", "--format=json", **own, AWS_SESSION_TOKEN="of-the-shell"
    )
    assert (code, err) == (0, "")
    project = json.loads(out)
    assert project["services"].keys() == SERVICES.keys() - {"simulator"}
    assert project["name"] != yaml.safe_load(compose_kit.FILE.read_text())["name"]
    monitor = project["services"]["job-monitor"]
    assert monitor["environment"] == {
        "AWS_ACCESS_KEY_ID": None,
        "AWS_SECRET_ACCESS_KEY": None,
        "AWS_SESSION_TOKEN": "of-the-shell",
        "AWS_REGION": None,
    }
    assert monitor["depends_on"].keys() == {"network"}
    assert sources(monitor)["/etc/job-monitor"] == own["JOB_MONITOR_FILES"]
    alertmanager = project["services"]["alertmanager"]
    assert sources(alertmanager)["/etc/alertmanager"] == own["ALERTMANAGER_FILES"]
    assert "4567" not in out
    code, _, err = compose_kit.compose(*files, "config")
    assert code != 0
    assert "a directory with your" in err


def sources(service):
    return {each["target"]: each["source"] for each in service["volumes"]}


@pytest.fixture(scope="module")
def replicated(tmp_path_factory):
    """Return what Docker Compose makes of both files: every service by its name."""
    password = tmp_path_factory.mktemp("secret") / "password"
    password.write_text("example")
    files = ("--file", compose_kit.FILE, "--file", compose_kit.REPLICAS)
    code, out, err = compose_kit.compose(
        *files, "config", "--format=json", POSTGRESQL_PASSWORD_FILE=str(password)
    )
    assert (code, err) == (0, "")
    project = json.loads(out)
    assert project["name"] != yaml.safe_load(compose_kit.FILE.read_text())["name"]
    assert project["secrets"]["postgresql-password"]["file"] == str(password)
    return project["services"]


def test_three_replicas_differ_only_in_their_port(replicated):
    assert replicated.keys() == SERVICES.keys() | {"postgresql", *REPLICAS}
    first, *others = (dict(replicated[name]) for name in REPLICAS)
    environment = [dict(each.pop("environment")) for each in (first, *others)]
    listening = [each.pop("JOB_MONITOR_SERVER__LISTEN", ":9847") for each in environment]
    assert listening == [":9847", ":9848", ":9849"]
    assert all(each == first for each in others)
    assert all(each == environment[0] for each in environment)
    assert environment[0]["JOB_MONITOR_STORE__URL"].startswith("postgresql://")
    assert first["depends_on"]["postgresql"]["condition"] == "service_healthy"
    assert sources(first).keys() == {"/etc/job-monitor", "/var/lib/job-monitor"}
    [secret] = first["secrets"]
    assert environment[0]["JOB_MONITOR_STORE__PASSWORD_FILE"] == secret["target"]
    published = {each["published"]: each["host_ip"] for each in replicated["network"]["ports"]}
    assert {"9847", "9848", "9849"} <= published.keys()
    assert set(published.values()) == {LOOPBACK}
    assert "5432" not in published


def test_the_database_is_confined_and_asks_for_its_password(replicated):
    database = replicated["postgresql"]
    confined = ("read_only", "cap_drop", "security_opt", "pids_limit", "cpus", "restart", "logging")
    assert {key: database[key] for key in confined} == {
        key: replicated["job-monitor"][key] for key in confined
    }
    assert re.fullmatch(r"postgres:\d+\.\d+", database["image"])
    assert database["user"] == "999:999"
    assert database["network_mode"] == "service:network"
    assert database["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    assert database["command"][1:] == ["-c", "listen_addresses=127.0.0.1"]
    settings = database["environment"]
    assert settings["POSTGRES_INITDB_ARGS"] == "--auth-host=scram-sha-256"
    assert settings["POSTGRES_PASSWORD_FILE"] == database["secrets"][0]["target"]
    user, name = settings["POSTGRES_USER"], settings["POSTGRES_DB"]
    url = replicated["job-monitor"]["environment"]["JOB_MONITOR_STORE__URL"]
    assert url == f"postgresql://{user}@127.0.0.1/{name}"
    volumes = [each["target"] for each in database["volumes"]]
    assert [settings["PGDATA"].startswith(f"{each}/") for each in volumes] == [True]


def test_prometheus_scrapes_each_replica(replicated, tmp_path):
    own, usual = replicated["prometheus"], SERVICES["prometheus"]
    assert own["command"][1:] == usual["command"][1:]
    assert {*REPLICAS} <= own["depends_on"].keys()
    for target, source in sources(own).items():
        if target != "/prometheus":
            shutil.copytree(source, tmp_path / target.lstrip("/"), dirs_exist_ok=True)
    file = tmp_path / option(own, "config.file").lstrip("/")
    file.write_text(file.read_text().replace("/etc/prometheus/", f"{tmp_path}/etc/prometheus/"))
    told = tools.run(needed("promtool"), "check", "config", file)
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.count(" rules found") == len(shipped.RULES)
    settings = yaml.safe_load(file.read_text())
    (scraped,) = settings["scrape_configs"]
    assert targets(scraped) == [f"{LOOPBACK}:{each}" for each in (9847, 9848, 9849)]
    plain = yaml.safe_load((shipped.PROMETHEUS / "prometheus.yml").read_text())
    assert settings["alerting"] == plain["alerting"]
    assert settings["global"] == plain["global"]


def test_without_a_password_it_says_what_is_missing():
    files = ("--file", compose_kit.FILE, "--file", compose_kit.REPLICAS)
    code, _, err = compose_kit.compose(*files, "config")
    assert code != 0
    assert "a file with a password for PostgreSQL" in err


def test_a_linter_finds_nothing_else_in_the_file_of_replicas():
    result = tools.run(tools.tool("compose-lint"), "--format=json", compose_kit.REPLICAS)
    found = json.loads(result.stdout)["findings"]
    own = [each for each in found if each["service"] == "postgresql"]
    assert {each["rule_id"] for each in own} == {"CL-0019"}, result.stdout


@pytest.mark.timeout(1800)
def test_three_replicas_share_the_work_and_deliver_each_event_once():
    tools.tool("docker-compose")
    needed("catatonit")
    kube_kit.needed()
    with compose_kit.running(
        compose_kit.RUNNING_REPLICAS,
        (compose_kit.FILE, compose_kit.REPLICAS),
        compose_kit.OVERLAY_OF_REPLICAS,
        programs=postgresql_kit.programs(),
    ) as project:
        _share(project, REPLICAS)
        assert {each["RestartCount"] for each in project.inspect(*REPLICAS)} == {0}
        _fail_a_job(project)
        for url in REPLICAS.values():
            project.until(f"{url}/api/v1/jobs?q=my-import", _ended)
        project.until(f"{SIMULATOR}/_simulator/received", _told_of_the_job)

        # Whatever the second owned, the others take over.
        project("stop", "job-monitor-2")
        left = {name: url for name, url in REPLICAS.items() if name != "job-monitor-2"}
        _share(project, left)
        project.ask(f"{SIMULATOR}/_simulator/jobs", {"id": "my-next", "service": "panorama"})
        for url in left.values():
            project.until(f"{url}/api/v1/jobs?q=my-next", lambda told: told["items"])

        received = project.ask(f"{SIMULATOR}/_simulator/received")
        assert _told_of_the_job(received) == [{"state": "FAILED", "phase": "failed"}]


def _ended(told):
    return [each for each in told["items"] if each["state"] == "FAILED"]


def _share(project, replicas):
    """Wait until exactly these replicas live, and own every source and sink between them."""
    for url in replicas.values():
        project.until(
            f"{url}/api/v1/replicas",
            lambda told: [each["alive"] for each in told["items"]] == [True] * len(replicas),
        )
    wanted = {"job_monitor_owned_quotas": 2, "job_monitor_owned_sinks": 2}
    end = time.monotonic() + PATIENCE
    while True:
        owned = {
            name: sum(project.metric(url, name) or 0 for url in replicas.values())
            for name in wanted
        }
        if owned == wanted:
            return
        assert time.monotonic() < end, owned
        time.sleep(0.5)


@pytest.mark.timeout(1800)
def test_all_of_it_runs_confined_and_tells_of_a_job_that_fails():
    tools.tool("docker-compose")
    for program in ("prometheus", "prometheus-alertmanager", "promtool", "amtool", "catatonit"):
        needed(program)
    kube_kit.needed()  # the same programs, and root
    with compose_kit.running() as project:
        _all_are_confined(project)
        # What was counted before the first scrape is no increase.
        project.until(f"{PROMETHEUS}/api/v1/query?query=up", lambda told: _values(told) == ["1"])
        _fail_a_job(project)
        events = project.until(f"{SIMULATOR}/_simulator/received", _told_of_the_job)
        assert events == [{"state": "FAILED", "phase": "failed"}]
        alerts = project.until(f"{SIMULATOR}/_simulator/received", _alerted)
        assert {each["status"] for each in alerts} == {"firing"}
        _all_rules_are_judged(project)
        _a_restarted_part_is_found_again(project)


def _values(told):
    return [each["value"][1] for each in told["data"]["result"]]


def _fail_a_job(project):
    job = {"id": "my-import", "service": "panorama"}
    project.ask(f"{SIMULATOR}/_simulator/jobs", job)
    project.until(f"{MONITOR}/api/v1/jobs?q=my-import", lambda told: "PENDING" in json.dumps(told))
    failed = {"set": {"Status": "FAILED", "StatusMessage": REASON}}
    project.ask(f"{SIMULATOR}/_simulator/jobs/my-import", failed)


def _taken(received, name):
    return [
        json.loads(each["body"]) for each in received if each["accepted"] and each["name"] == name
    ]


def _told_of_the_job(received):
    return [
        each["data"]["current"]
        for each in _taken(received, "events")
        if each["subject"] == "my-import"
        and each["data"]["reason"] == REASON
        # What only a describe knows may follow as job.updated, if the first of them failed.
        and each["data"]["kind"] == "job.state_changed"
    ]


def _alerted(received):
    return [
        alert
        for each in _taken(received, "alerts-team")
        for alert in each["alerts"]
        if alert["labels"]["alertname"] == "JobMonitorJobFailed"
        and alert["labels"]["type"] == "panorama.package-import"
    ]


def _all_rules_are_judged(project):
    told = project.ask(f"{PROMETHEUS}/api/v1/rules")
    rules = [rule for group in told["data"]["groups"] for rule in group["rules"]]
    assert Counter(rule["name"] for rule in rules) == Counter(
        rule.get("alert") or rule["record"] for rule in shipped.rules()
    )
    assert {rule["health"] for rule in rules} == {"ok"}


def _all_are_confined(project):
    """What the kernel says of the first process, and the engine of the container."""
    names = ("network", *compose_kit.RUNNING)
    for name, told in zip(names, project.inspect(*names), strict=True):
        settings = told["HostConfig"]
        assert settings["ReadonlyRootfs"] is True
        limit = int(SERVICES[name]["mem_limit"].removesuffix("m")) * 1024 * 1024
        assert settings["Memory"] == limit
        lines = Path(f"/proc/{told['State']['Pid']}/status").read_text().splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        user = SERVICES[name]["user"].partition(":")[0]
        assert status["Uid"].split() == [user] * 4
        assert {int(status[each], 16) for each in ("CapEff", "CapPrm", "CapBnd")} == {0}
        assert status["NoNewPrivs"] == "1"


def _a_restarted_part_is_found_again(project):
    """Neither the network nor the ledger goes with the part that is restarted."""
    parts = ("simulator", "job-monitor")
    before = [each["State"]["StartedAt"] for each in project.inspect(*parts)]
    project("restart", *parts)
    after = [each["State"]["StartedAt"] for each in project.inspect(*parts)]
    assert all(map(str.__ne__, before, after))
    # Of this job only the ledger knows: the simulator has forgotten it.
    project.until(f"{MONITOR}/api/v1/jobs?q=my-import", lambda told: told["items"])
    project.ask(f"{SIMULATOR}/_simulator/jobs", {"id": "my-next", "service": "panorama"})
    project.until(f"{MONITOR}/api/v1/jobs?q=my-next", lambda told: told["items"])
