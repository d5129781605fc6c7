"""What is told beside a mistake of shape, and what is not, as it may come of that mistake."""

import pytest

from monitor import config, validation
from monitor.config import Settings
from monitor.config.findings import Finding
from monitor.config.gaps import NO_GAPS, Gaps
from monitor.sources.loader import load_job_types

DISKS = "{name: d, type: importexport.job, jobs: [A]}"


@pytest.fixture(scope="module")
def job_types():
    return load_job_types(None)


@pytest.fixture
def told(tmp_path, job_types):
    """Return a function from the text of files to the keys of what is told, warnings as ~."""

    def tell(*texts, **environ):
        for number, text in enumerate(texts):
            (tmp_path / f"{number}.yaml").write_text(text, "utf-8")
        variables = {f"JOB_MONITOR_{name}": text for name, text in environ.items()}
        draft = config.read([tmp_path] if texts else None, variables)
        more = validation.problems(draft.settings, job_types, draft.gaps)
        return [f"{'~' if each.warning else ''}{each.path}" for each in (*draft.problems, *more)]

    return tell


BESIDE = {
    "an unknown key": (
        f"zzz: 1\nwatches: [{DISKS}]\nserver: {{listen: x}}",
        ["zzz", "server.listen"],
    ),
    "a wrong value": (
        "watches: [{name: d, type: importexport.job, jobs: ['?!'], interval: soon}]",
        ["watches[0].interval", "watches[0].jobs[0]"],
    ),
    "a wrong limit": (
        (
            "watches: [{name: d, type: importexport.job, jobs: ['?!'],"
            " stuck_after: {waiting: soon, default: 1d}}]"
        ),
        ["watches[0].stuck_after.waiting", "watches[0].jobs[0]"],
    ),
    "a missing name": (
        "watches: [{type: importexport.job, jobs: ['?!'], account: b}]",
        ["watches[0].name", "watches[0].account", "watches[0].jobs[0]"],
    ),
    "a wrong item": (
        "watches: [{name: d, type: importexport.job, jobs: [5, '?!']}]",
        ["watches[0].jobs[0]", "watches[0].jobs[1]"],
    ),
    "an item that is no map": (
        f"watches: [5, {{name: e, type: importexport.job, jobs: ['?!']}}, {DISKS}]",
        ["watches[0]", "watches[1].jobs[0]"],
    ),
    "a sink without what it needs": (
        f"watches: [{DISKS}]\nsinks: {{a: {{type: webhook, secret_files: [/nowhere/x]}}}}",
        ["sinks.a.url", "sinks.a.secret_files[0]"],
    ),
    "another sink's mistake": (
        f"watches: [{DISKS}]\nsinks: {{a: {{type: webhok}}}}\nroutes: [{{sinks: [a, b]}}]",
        ["sinks.a.type", "routes[0].sinks[1]"],
    ),
    "another account's mistake": (
        (
            f"watches: [{DISKS}]\naccounts: {{a: 5}}\n"
            "routes: [{match: {account: [default, b]}, sinks: []}]"
        ),
        ["accounts.a", "routes[0].match.account[1]"],
    ),
    "a key that means another": (
        f"watches: [{DISKS}]\nacounts: {{a: {{}}}}\nstore: x",
        ["acounts", "store"],
    ),
    "a mistake and a warning": ((f"watches: [{DISKS}]\nzzz: 1\nsinks: {{a: {{type: log}}}}\n"
     "routes: [{sinks: []}]"), ["zzz", "~sinks.a"]),
    "a key given twice": (
        (f"watches: [{DISKS}]\naccounts: {{a: {{}}}}\naccounts: {{b: {{}}}}\n"
        "routes: [{match: {account: [a, b, default, c]}, sinks: []}]"),
        ["accounts", "routes[0].match.account[3]"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BESIDE)
def test_beside_a_mistake_of_shape_all_others_are_told(told, name):
    text, paths = BESIDE[name]
    assert told(text) == paths


ALONE = {
    "no watch is left": ("watches: 5", ["watches"]),
    "watches are said to be meant": (f"watchs: [{DISKS}]", ["watchs"]),
    "the only watch": ("watches: [5]", ["watches[0]"]),
    "its sink": (f"watches: [{DISKS}]\nsinks: {{a: 5}}\nroutes: [{{sinks: [a]}}]", ["sinks.a"]),
    "all sinks": (f"watches: [{DISKS}]\nsinks: 5\nroutes: [{{sinks: [a]}}]", ["sinks"]),
    "sinks are said to be meant": (
        f"watches: [{DISKS}]\nsink: {{a: {{type: log}}}}\nroutes: [{{sinks: [a]}}]",
        ["sink"],
    ),
    "the watches of a route": (
        (
            f"watches: [{DISKS}, {{name: e, type: importexport.job, jobs: [B], acount: b}}]\n"
            "accounts: {b: {}}\nroutes: [{match: {account: b}, sinks: []}]"
        ),
        ["watches[1].acount"],
    ),
    "its account": (
        "watches: [{name: d, type: importexport.job, jobs: [A], account: a}]\naccounts: {a: 5}",
        ["accounts.a"],
    ),
    "all accounts": (
        "watches: [{name: d, type: importexport.job, jobs: [A], account: a}]\naccounts: 5",
        ["accounts"],
    ),
    "its route": (
        f"watches: [{DISKS}]\nsinks: {{a: {{type: log}}}}\nroutes: [{{sink: [a]}}]",
        ["routes[0].sinks", "routes[0].sink"],
    ),
    "an item of its route": (
        f"watches: [{DISKS}]\nsinks: {{a: {{type: log}}}}\nroutes: [{{sinks: [[a]]}}]",
        ["routes[0].sinks[0]"],
    ),
    "the match of the route before": (
        (
            f"watches: [{DISKS}]\nsinks: {{a: {{type: log}}}}\n"
            "routes: [{match: {phse: failed}, sinks: [a]}, {sinks: [a]}]"
        ),
        ["routes[0].match.phse"],
    ),
    "continue of the route before": (
        (
            f"watches: [{DISKS}]\nsinks: {{a: {{type: log}}}}\n"
            "routes: [{contine: true, sinks: [a]}, {sinks: [a]}]"
        ),
        ["routes[0].contine"],
    ),
    "jobs of a watch": (
        "watches: [{name: d, type: importexport.job, jobs: A}]",
        ["watches[0].jobs"],
    ),
    "jobs are said to be meant": (
        "watches: [{name: d, type: importexport.job, job: [A]}]",
        ["watches[0].job"],
    ),
    "regions are said to be meant": (
        "watches: [{name: d, type: panorama.package-import, discover: true, region: us-east-1}]",
        ["watches[0].region"],
    ),
    "the type of a watch": (
        "watches: [{name: d, type: 5, jobs: [A], regions: [mars]}]",
        ["watches[0].type"],
    ),
    "a type of one's own": (
        "watches: [{name: d, type: mine, jobs: [A]}]\njob_types_dir: [x]",
        ["job_types_dir"],
    ),
    "the account of one of two watches": (
        (
            f"watches: [{DISKS}, {{name: e, type: importexport.job, jobs: [A], account: 5}}]\n"
            "accounts: {b: {}}"
        ),
        ["watches[1].account"],
    ),
    "the names of two watches": (
        "watches: [{type: importexport.job, jobs: [A]}, {type: importexport.job, jobs: [B]}]",
        ["watches[0].name", "watches[1].name"],
    ),
    "the endpoint of an account": (
        (
            "accounts: {lab: {endpoint_url: {panorama: 'http://h'}}}\n"
            "watches: [{name: p, type: panorama.package-import, discover: true, account: lab,"
            " regions: [eu-north-1]}]"
        ),
        ["accounts.lab.endpoint_url"],
    ),
    "the interval before stuck_after": (
        "watches: [{name: d, type: importexport.job, jobs: [A], interval: soon, stuck_after: 1m}]",
        ["watches[0].interval"],
    ),
    "the interval before one of stuck_after": (
        (
            "watches: [{name: d, type: importexport.job, jobs: [A], interval: soon,"
            " stuck_after: {default: 1m}}]"
        ),
        ["watches[0].interval"],
    ),
    "the type of the states of stuck_after": (
        "watches: [{name: d, type: 5, jobs: [A], stuck_after: {PENDING: 1h}}]",
        ["watches[0].type"],
    ),
    "the labels of a watch": (
        (
            "watches: [{name: d, type: importexport.job, jobs: [A], labels: 5}]\n"
            "metrics: {job_labels: [team]}"
        ),
        ["watches[0].labels"],
    ),
    "the quota of a busy watch": (
        (
            "watches: [{name: d, type: importexport.job, jobs: [A, B, C], interval: 2s}]\n"
            "quotas: {importexport: {rate: many}}"
        ),
        ["quotas.importexport.rate"],
    ),
    "the role of an external id": (
        f"watches: [{DISKS}]\naccounts: {{a: {{role: x, external_id_file: /etc/hostname}}}}",
        ["accounts.a.role"],
    ),
    "a location that is misread": (
        f"watches: [{DISKS}]\nsinks: {{a: {{type: webhook, webhook: {{x: 1}}}}}}",
        ["sinks.a.webhook.url", "sinks.a.webhook"],
    ),
}


@pytest.mark.parametrize("name", ALONE)
def test_what_may_come_of_a_mistake_of_shape_is_not_told(told, name):
    text, paths = ALONE[name]
    assert told(text) == paths


def test_beside_a_file_that_cannot_be_read_only_what_no_other_could_mend_is_told(told):
    one = "watches: [{name: d, type: importexport.job, jobs: ['?!'], account: b, regins: []}]\n"
    two = "sinks: {a: {type: log, timeout: soon}}\nroutes: [{sinks: [c]}]\nserver: {listen: x}\n"
    broken = "accounts: ["
    assert told(one, two, broken) == [
        "watches[0].regins",
        "sinks.a.timeout",
        "",
        "watches[0].jobs[0]",
        "server.listen",
    ]


def test_beside_a_variable_that_names_nothing_no_reference_is_unknown(told):
    text = f"watches: [{DISKS}]\nstore: x\nroutes: [{{sinks: [a]}}]"
    assert told(text, SINK__A__TYPE="log") == ["", "store"]


def test_a_variable_that_is_no_yaml_is_a_gap(told):
    text = f"watches: [{DISKS}]\nstore: x\nroutes: [{{sinks: [a]}}]"
    assert told(text, SINKS="{a: [") == ["sinks", "store"]


def test_what_can_be_read_keeps_its_place(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(f"watches:\n- 5\n- {DISKS}\nretention: 5d\nzzz: 1\n", "utf-8")
    settings = config.read([path], {}).settings
    assert settings.watches[1].jobs == ["A"]
    assert settings.retention == 5 * 86400
    assert settings.place("watches", 1, "jobs") == f"{path}:3"


def test_what_cannot_be_mended_hides_everything(tmp_path, job_types):
    path = tmp_path / "a.yaml"
    watch = "{name: d, type: importexport.job, discover: {rules: {rules: 1}}}"
    path.write_text(f"store: x\nwatches: [{watch}]", "utf-8")
    draft = config.read([path], {})
    assert draft.problems
    assert validation.problems(draft.settings, job_types, draft.gaps) == []


def test_without_gaps_nothing_is_hidden():
    assert not NO_GAPS.hide(Finding(("a",), "is odd", rests=(("b",),)))


def test_a_gap_hides_what_is_at_it_and_beneath_and_what_rests_on_anything_near_it():
    gaps = NO_GAPS.also(("a", "b"))
    assert all(gaps.hide(Finding(path, "")) for path in [("a", "b"), ("a", "b", 0)])
    assert not any(gaps.hide(Finding(path, "")) for path in [("a",), ("c",), ("a", "c")])
    assert all(gaps.doubt([path]) for path in [("a",), ("a", "b"), ("a", "b", 0)])
    assert not gaps.doubt([("a", "c"), ("b",)])


def test_what_is_not_whole_hides_only_what_rests_on_something():
    gaps = Gaps(whole=False)
    assert gaps.hide(Finding(("a",), "", rests=(("b",),)))
    assert not gaps.hide(Finding(("a",), ""))


def test_a_draft_without_problems_is_what_is_loaded(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(f"watches: [{DISKS}]", "utf-8")
    draft = config.read([path], {})
    assert (draft.problems, draft.gaps) == ((), NO_GAPS)
    assert draft.settings == config.load([path], {}) != Settings()
