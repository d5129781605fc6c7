"""Whether the dashboards are whole, legible, and ask for what exists."""

import itertools
import re

import anyio
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from monitor import simulator
from tests import once
from tests.acceptance.program import PATIENCE, configure, fetch, running
from tests.contracts import postgresql_kit
from tests.deploy import shipped

OF_PROMETHEUS = {"ALERTS"}
"""Series that Prometheus makes itself."""

OF_SCRAPES = {"instance"}
"""Labels that Prometheus adds."""
LEFT_OUT = {
    "job_monitor_recently_ended_jobs": "alerts count with it; panels cover any period",
    "job_monitor_account_info": "has no series until the ids of accounts are known",
}
"""Metrics without a panel, and why."""
HISTOGRAM = ("", "_bucket", "_count", "_sum")

SEEN = re.compile(r"^job_monitor_jobs{.+} 1.0$", re.MULTILINE)
OWNED = re.compile(r"^job_monitor_replicas 1.0$", re.MULTILINE)

each_board = pytest.mark.parametrize("path", shipped.BOARDS, ids=lambda path: path.stem)
each_question = pytest.mark.parametrize(
    "question", shipped.questions(), ids=lambda question: question.place
)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Every series that a running daemon shows: name → labels of each."""
    text = once.found(tmp_path_factory, "daemon-scraped", lambda at: anyio.run(_scraped, at))
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


async def _scraped(directory):
    """Return the metrics of a daemon that has just seen its first job.

    Its store is in PostgreSQL: then it is a replica, and shows what only replicas do.
    """
    jobs = [{"id": "pkg", "service": "panorama"}]
    with postgresql_kit.server() as server:
        return await _scraped_beside(directory, jobs, server.create("jobs"))


async def _scraped_beside(directory, jobs, store):
    async with simulator.running({"jobs": jobs}) as sim:
        config = configure(directory, sim, store=store, **shipped.everything(sim.url))
        async with running("run", "-c", config, directory=directory) as program:
            url = await program.started()
            with anyio.fail_after(PATIENCE):
                while True:
                    status, _, text = await fetch(f"{url}/metrics")
                    if status == 200 and SEEN.search(text) and OWNED.search(text):
                        return text
                    await anyio.sleep(0.1)


def test_there_are_dashboards_and_rules():
    assert [path.stem for path in shipped.BOARDS] == [
        "job-monitor-job-type",
        "job-monitor-overview",
    ]
    assert len(shipped.questions()) > 100
    assert len(shipped.alerts()) >= 13


@each_question
def test_what_is_asked_for_exists(question, samples):
    assert question.selectors
    for selector in question.selectors:
        if selector.name in OF_PROMETHEUS | shipped.recordings().keys():
            continue
        assert selector.name in samples, f"there is no metric {selector.name}"
        chosen = [one for one in samples[selector.name] if _matches(selector, scraped(one))]
        assert chosen, f"no series is chosen by {selector.prettify()}"


def scraped(labels):
    """Return the labels that a series has in Prometheus."""
    return dict.fromkeys(OF_SCRAPES, "") | labels


def test_every_metric_is_on_a_panel_or_is_left_out_for_a_reason():
    shown = {
        metric
        for path in shipped.BOARDS
        for question in shipped.board_questions(path)
        for metric in question.metrics
    }
    page = (shipped.ROOT / "docs" / "metrics.md").read_text("utf-8")
    told = set(re.findall(r"^\| `(job_monitor_\w+)` \|", page, re.MULTILINE))
    assert len(told) > 50
    without = {each for each in told if not {each + end for end in HISTOGRAM} & shown}
    assert without == LEFT_OUT.keys()


def _matches(selector, labels):
    return all(_holds(matcher, labels.get(matcher.name)) for matcher in selector.matchers.matchers)


def _holds(matcher, value):
    """Judge one matcher; a label that the metric does not have is a mistake, whatever it asks."""
    if value is None:
        return False
    kind = str(matcher.op).rpartition(".")[2]
    pattern = kind in {"Re", "NotRe"}
    same = bool(re.fullmatch(matcher.value, value)) if pattern else matcher.value == value
    return same == (kind in {"Re", "Equal"})


@each_question
def test_rates_are_taken_over_what_fits_the_graph_and_rules_over_fixed_times(question):
    ranges = re.findall(r"\[([^]]+)\]", question.expr)
    if question.place.startswith("rule "):
        assert all(re.fullmatch(r"\d+[mh]", each) for each in ranges)
    else:
        assert set(ranges) <= {"$__rate_interval", "$__range", "$__range:"}
        assert question.over_time or "$__rate_interval" not in ranges


@each_board
def test_every_panel_says_what_it_shows_and_in_which_unit(path):
    shown = shipped.board(path)
    assert shown["schemaVersion"] >= 41
    assert len(shown["description"]) > 40
    for panel in shipped.panels(shown):
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["targets"], panel["title"]
        if panel["type"] == "timeseries":
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


@each_board
def test_a_state_is_told_by_a_word_and_not_by_colour_alone(path):
    for panel in shipped.panels(shipped.board(path)):
        if panel["type"] in {"stat", "state-timeline"}:
            defaults = panel["fieldConfig"]["defaults"]
            judged = defaults["color"]["mode"] == "thresholds"
            assert not judged or defaults["mappings"] or "unit" in defaults, panel["title"]
        if panel["type"] == "stat":
            assert defaults["noValue"], panel["title"]


@each_board
def test_ids_are_unique_and_no_panel_covers_another(path):
    shown = shipped.board(path)
    everything = [*shown["panels"], *shipped.panels(shown)]
    ids = {id(panel): panel["id"] for panel in everything}
    assert len(set(ids.values())) == len(ids)
    groups = [shown["panels"], *(row["panels"] for row in _rows(shown))]
    for one, other in itertools.chain.from_iterable(itertools.combinations(g, 2) for g in groups):
        assert not _overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in everything)


def _rows(shown):
    return [panel for panel in shown["panels"] if panel["type"] == "row"]


def _overlap(one, other):
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


@each_board
def test_nothing_is_tied_to_one_grafana(path):
    shown = shipped.board(path)
    assert "id" not in shown
    uids = set(re.findall(r'"uid": "([^"]+)"', path.read_text()))
    assert uids == {"${datasource}", "-- Grafana --", path.stem}


@each_board
def test_its_variables_are_the_agreed_ones_and_are_used(path):
    variables = {each["name"]: each for each in shipped.board(path)["templating"]["list"]}
    wanted = "datasource instance type account region team watch sink docs runbook page"
    assert list(variables) == wanted.split()
    text = path.read_text()
    for name, variable in variables.items():
        used = re.search(rf"\$(\{{{name}[:}}]|{name}\b)", text)
        assert used or variable["hide"] == 2, f"{name} changes nothing"


@each_board
def test_links_lead_to_dashboards_and_headings_that_exist(path):
    text = path.read_text()
    known = {shipped.board(each)["uid"] for each in shipped.BOARDS}
    boards = set(re.findall(r"/d/([\w-]+)", text))
    assert boards <= known
    anchors = set(re.findall(r"\$\{runbook\}#([\w-]+)", text))
    assert len(anchors) >= 2
    assert anchors <= {alert.lower() for alert in shipped.alerts()}
    pages = set(re.findall(r"\$\{docs\}/([\w.-]+)", text))
    assert "metrics.md" in pages
    assert "${runbook}" in text
    assert all((shipped.ROOT / "docs" / page).is_file() for page in pages)
    dashboards = [link for link in shipped.board(path)["links"] if link["type"] == "dashboards"]
    assert dashboards
    assert all(set(link["tags"]) <= set(shipped.board(path)["tags"]) for link in dashboards)


@each_board
def test_changes_of_jobs_and_sources_stand_in_the_graphs(path):
    listed = shipped.board(path)["annotations"]["list"]
    own = [each for each in listed if not each.get("builtIn")]
    assert {each["name"] for each in own if each["enable"]} >= {"Failed and expired"}
    for each in own:
        assert re.search(r"job_monitor_(transitions|ended_jobs)_total", each["target"]["expr"])


@each_question
def test_a_number_that_is_read_as_a_count_is_not_extrapolated(question):
    """``increase()`` may make three of two; graphs of changes over time bear it, numbers do not."""
    if "$__range" in question.expr or question.place.startswith("rule "):
        assert "increase(" not in question.expr


@each_board
def test_what_is_extrapolated_says_so(path):
    shown = [each for each in shipped.panels(shipped.board(path)) if "increase(" in str(each)]
    assert shown
    assert all("Estimated" in panel["description"] for panel in shown)


@each_board
def test_a_rate_in_a_table_stands_below_its_unit(path):
    rates = [
        (panel, target["refId"])
        for panel in shipped.panels(shipped.board(path))
        for target in panel["targets"]
        if panel["type"] == "table" and re.match(r"3600 \*|sum.*\(rate\(", target["expr"])
    ]
    assert rates
    for panel, ref in rates:
        names = panel["transformations"][1]["options"]["renameByName"]
        assert names[f"Value #{ref}"].endswith(" per hour")


def test_grafana_is_told_where_prometheus_and_the_dashboards_are():
    provisioning = shipped.GRAFANA / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "job-monitor.yml").read_text())
    boards = yaml.safe_load((provisioning / "dashboards" / "job-monitor.yml").read_text())
    assert sources["apiVersion"] == boards["apiVersion"] == 1
    assert [each["type"] for each in sources["datasources"]] == ["prometheus"]
    (provider,) = boards["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"].startswith("/")


def test_a_question_that_is_broken_is_noticed(samples):
    """The nets above hold: the parser and the series refuse what is wrong."""
    with pytest.raises(ValueError, match=r".+"):
        promql_parser.parse("sum by (x (foo)")
    for expr in (
        'job_monitor_jobs{phase="runing"}',
        'job_monitor_jobs{acount=~".+"}',
        'job_monitor_transitions_total{kind=~"job.stuk"}',
    ):
        question = shipped.Question("nowhere", expr)
        (selector,) = question.selectors
        assert not [one for one in samples[selector.name] if _matches(selector, one)]
