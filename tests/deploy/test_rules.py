"""Whether Prometheus and Alertmanager take what we ship, and each alert fires when it should."""

import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
import yaml

from tests.deploy import shipped
from tests.deploy.charts import CHART

TESTS = sorted((Path(__file__).parent / "rules").glob("*.yml"))
SEVERITIES = {"critical", "warning", "info"}


def needs(program):
    lacking = shutil.which(program) is None and "CI" not in os.environ
    return pytest.mark.skipif(lacking, reason=f"{program} is not installed")


def ended(*command):
    """Run a checker to its end, with memory rather than time for what it throws away."""
    env = {**os.environ, "GOGC": "400"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=280, check=False, env=env
    )


def said_well(*command):
    """Run a checker; it must find nothing."""
    found = ended(*command)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@needs("promtool")
def test_promtool_takes_the_rules():
    printed = said_well("promtool", "check", "rules", "--lint-fatal", *map(str, shipped.RULES))
    counted = sum(map(int, re.findall(r"(\d+) rules found", printed)))
    assert counted == len(shipped.rules()) > 25


@needs("promtool")
def test_promtool_takes_the_example_configuration():
    printed = said_well("promtool", "check", "config", str(shipped.PROMETHEUS / "prometheus.yml"))
    assert "2 rule files found" in printed


@needs("promtool")
def test_the_example_of_a_scrape_over_tls_is_right_as_well(tmp_path):
    text = (shipped.PROMETHEUS / "prometheus.yml").read_text()
    commented = text[text.index("  # - job_name") :]
    job = "scrape_configs:\n" + re.sub(r"^  # ?", "  ", commented, flags=re.MULTILINE)
    for name in ("ca.pem", "password"):
        (tmp_path / f"job-monitor-{name}").touch()
    file = tmp_path / "prometheus.yml"
    file.write_text(job.replace("/etc/prometheus/", f"{tmp_path}/"))
    said_well("promtool", "check", "config", str(file))
    (scrape,) = yaml.safe_load(file.read_text())["scrape_configs"]
    assert scrape["scheme"] == "https"
    assert scrape["basic_auth"]["username"] == "prometheus"


@needs("amtool")
def test_amtool_takes_the_example_of_alertmanager():
    file = shipped.PROMETHEUS / "alertmanager.yml"
    assert "2 receivers" in said_well("amtool", "check-config", str(file))
    route = ("amtool", "config", "routes", "test", f"--config.file={file}")
    for name, rule in shipped.alerts().items():
        severity = rule["labels"]["severity"]
        told = said_well(*route, f"alertname={name}", f"severity={severity}").strip()
        assert told == ("on-call" if severity == "critical" else "team")


def test_alertmanager_is_told_of_alerts_and_labels_that_exist():
    settings = yaml.safe_load((shipped.PROMETHEUS / "alertmanager.yml").read_text())
    named = re.findall(r"JobMonitor\w+", str(settings["inhibit_rules"]))
    assert len(named) >= 4
    assert set(named) <= shipped.alerts().keys()


def _alone(path, directory, changed=str):
    """Copy a test, and of the rules the groups that it orders: the others are most of the work.

    ``changed`` makes the expression of each alert.
    """
    test = yaml.safe_load(path.read_text())
    found: dict[str, Path] = {}
    for file in shipped.RULES:
        groups = yaml.safe_load(file.read_text())["groups"]
        kept = [group for group in groups if group["name"] in test["group_eval_order"]]
        for rule in (rule for group in kept for rule in group["rules"] if "alert" in rule):
            rule["expr"] = changed(rule["expr"])
        found |= {group["name"]: file for group in kept}
        (directory / file.name).write_text(yaml.safe_dump({"groups": kept}))
    assert found.keys() == set(test["group_eval_order"])
    test["rule_files"] = [file.name for file in shipped.RULES]
    copied = directory / path.name
    copied.write_text(yaml.safe_dump(test))
    return str(copied)


@needs("promtool")
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path, tmp_path):
    assert "SUCCESS" in said_well("promtool", "test", "rules", _alone(path, tmp_path))


def test_the_tests_are_of_every_group_of_the_files_that_are_shipped():
    ordered = []
    for path in TESTS:
        test = yaml.safe_load(path.read_text())
        ordered += test["group_eval_order"]
        assert {(path.parent / each).resolve() for each in test["rule_files"]} == {*shipped.RULES}
    groups = [
        group for file in shipped.RULES for group in yaml.safe_load(file.read_text())["groups"]
    ]
    assert sorted(ordered) == sorted(group["name"] for group in groups)


def _outcomes(path):
    """Yield each alert that a test names, and whether it is expected to fire."""
    for case in yaml.safe_load(path.read_text())["tests"]:
        for expected in case.get("alert_rule_test", ()):
            yield expected["alertname"], bool(expected.get("exp_alerts"))


def test_each_alert_is_shown_to_fire_and_to_keep_quiet():
    both = {(name, fires) for name in shipped.alerts() for fires in (True, False)}
    assert {outcome for path in TESTS for outcome in _outcomes(path)} == both


@needs("promtool")
@pytest.mark.parametrize("wrong", ["never", "always"])
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_that_never_or_always_fire_would_be_noticed(path, wrong, tmp_path):
    named = {name for name, _ in _outcomes(path)}
    end = "> 1e300" if wrong == "never" else "* 0 == 0"
    test = _alone(path, tmp_path, lambda expr: f"{_uncompared(expr)} {end}")
    found = ended("promtool", "test", "rules", test)
    assert found.returncode == 1
    noticed = set(re.findall(r"alertname: (\w+)", found.stdout + found.stderr))
    # absent() has no value that it is compared with: to let it always fire changes nothing.
    assert noticed >= named - ({"JobMonitorAbsent"} if wrong == "always" else set())


def _uncompared(expr):
    """Return what an alert compares, without what it compares it with."""
    return re.split(r" (?:>|==) [\d.]+", expr.removeprefix("("))[0]


@pytest.mark.parametrize(("name", "rule"), shipped.alerts().items(), ids=shipped.alerts())
def test_an_alert_says_how_grave_it_is_what_it_is_and_where_to_read_on(name, rule):
    assert name.startswith("JobMonitor")
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in SEVERITIES
    summary, description = rule["annotations"]["summary"], rule["annotations"]["description"]
    assert len(summary) < 80
    assert summary.endswith(".")
    assert description.endswith(".")
    valueless = {"JobMonitorAbsent", "JobMonitorConfigurationRefused"}
    states = {
        "JobMonitorStoreLost",
        "JobMonitorSourceUnavailable",
        "JobMonitorListingIncomplete",
        "JobMonitorSinkParked",
    }
    assert ("$value" in description) != (name in valueless | states)


@pytest.mark.parametrize(("name", "rule"), shipped.alerts().items(), ids=shipped.alerts())
def test_the_runbook_has_the_section_that_an_alert_points_to(name, rule):
    file, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    text = (shipped.ROOT / file).read_text()
    sections = _sections(text)
    assert anchor == name.lower()
    assert anchor in {heading.lower() for heading in sections}
    for part in ("**Means.**", "**Check.**", "**Do.**"):
        assert part in sections[name], part


def _sections(text):
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_runbook_tells_of_no_alert_that_is_gone():
    text = (shipped.ROOT / "docs" / "runbook.md").read_text()
    assert _sections(text).keys() == shipped.alerts().keys()


def test_the_page_on_alerts_lists_them_all():
    text = (shipped.ROOT / "docs" / "dashboards.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| (\w+) \|", text, re.MULTILINE)
    expected = {name: rule["labels"]["severity"] for name, rule in shipped.alerts().items()}
    assert dict(listed) == expected
    assert len(listed) == len(expected)


@pytest.mark.parametrize("page", ["runbook.md", "dashboards.md"])
def test_links_of_the_pages_lead_somewhere(page):
    docs = shipped.ROOT / "docs"
    links = re.findall(r"\]\(([^)\s]+)\)", (docs / page).read_text())
    assert len(links) > 5
    for link in links:
        file, _, anchor = link.partition("#")
        target = docs / (file or page)
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target.read_text()), link


def _anchors(text):
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


def test_the_rule_for_the_adapter_makes_the_metric_that_the_chart_scales_by():
    [rule] = yaml.safe_load((shipped.PROMETHEUS / "adapter.yml").read_text())["rules"]["custom"]
    [series] = shipped.Question("adapter", rule["seriesQuery"]).metrics
    # As the adapter does, which calls what is matched ${1}.
    pattern, name = rule["name"]["matches"], rule["name"]["as"].replace("${1}", r"\1")
    chart = yaml.safe_load((CHART / "values.yaml").read_text())
    assert re.sub(pattern, name, series) == chart["autoscaling"]["metric"]
    assert rule["resources"]["overrides"].keys() == {"namespace", "pod"}
    asked = {"<<.Series>>": series, "<<.LabelMatchers>>": 'pod="a"', "<<.GroupBy>>": "pod"}
    expr = rule["metricsQuery"]
    for word, value in asked.items():
        assert word in expr
        expr = expr.replace(word, value)
    question = shipped.Question("adapter", expr)
    assert question.metrics == {series}
    page = (shipped.ROOT / "docs" / "metrics.md").read_text("utf-8")
    assert f"| `{series.removesuffix('_bucket')}` | histogram |" in page


def test_symptoms_that_the_runbook_names_are_told():
    symptoms = (shipped.ROOT / "docs" / "operations.md").read_text()
    runbook = " ".join((shipped.ROOT / "docs" / "runbook.md").read_text().split())
    named = re.findall(r'Symptoms, "([^"]+)"', runbook)
    assert len(named) >= 5
    for name in named:
        assert f"**{name}.**" in textwrap.dedent(symptoms), name


def test_panels_that_the_runbook_names_are_on_the_overview():
    runbook = " ".join((shipped.ROOT / "docs" / "runbook.md").read_text().split())
    named = re.findall(r'(?<!Symptoms, )"([A-Z][^"`]+)"', runbook)
    overview = shipped.ROOT / "deploy/grafana/dashboards/job-monitor-overview.json"
    titles = re.findall(r'"title": "([^"]+)"', overview.read_text())
    assert len(named) >= 6
    assert set(named) <= set(titles)
