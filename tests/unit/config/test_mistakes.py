import io
import traceback

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor import config
from monitor.config import schema
from monitor.errors import ConfigurationError, Problem

CANARY = "canary5ecret"


def problems(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError) as caught:
        config.load([path], {})
    return [str(problem).replace(str(path), "F") for problem in caught.value.problems]


KINDS = schema.kinds(schema.step(schema.step(schema.ROOT, "sinks"), "a"))
ODD_NUMBER = (
    "is a number to some YAML readers, and text or another number to others "
    "(put it in quotes if it is text)"
)
MISTAKES = [
    ("stor: x", 'F:1: stor: unknown key (did you mean "store"?)'),
    ("interval: 3s", "F:1: interval: unknown key (it belongs to watches[].interval)"),
    ("listen: x", "F:1: listen: unknown key (it belongs to server.listen)"),
    ("zzz: 1", f"F:1: zzz: unknown key (known: {', '.join(sorted(config.Settings.model_fields))})"),
    ("watches: [{type: t}]", "F:1: watches[0].name: is missing (add `name: …`)"),
    ("watches: [{name: a, type: t, region: x}]",
     'F:1: watches[0].region: unknown key (did you mean "regions"?)'),
    ("watches: {name: a}",
     "F:1: watches: must be a list (write it as [a, b], or one item a line after a dash)"),
    ("watches: [a]", "F:1: watches[0]: must be a map (write `key: value` pairs)"),
    ("watches:\n- name: a\n  type: t\n  interval: 30",
     "F:4: watches[0].interval: is not a duration (write 30s, 5m, 2h or 3d)"),
    ("watches:\n- name: a\n  type: t\n  stuck_after:\n    PENDING: 30m\n    default: soon",
     "F:6: watches[0].stuck_after.default: is not a duration (write 30s, 5m, 2h or 3d)"),
    ('watches: [{name: a, type: t, maintenance: [{from: "2am", to: "04:00"}]}]',
     'F:1: watches[0].maintenance[0].from: is not a time of day (write it in quotes: "02:00")'),
    ('watches: [{name: a, type: t, maintenance: [{from: "02:00"}]}]',
     "F:1: watches[0].maintenance[0].to: is missing (add `to: …`)"),
    ('watches: [{name: a, type: t, maintenance: [{from: "02:00", to: "04:00", timezone: Mars}]}]',
     ("F:1: watches[0].maintenance[0].timezone: is not a time zone"
      " (write Europe/Berlin, UTC or the like)")),
    ("watches: [{name: a, type: t, stuck_after: {PENDING: {x: 1}}}]",
     "F:1: watches[0].stuck_after.PENDING: is not a duration (write 30s, 5m, 2h or 3d)"),
    ("watches: [{name: a, type: t, stuck_after: [1h]}]",
     "F:1: watches[0].stuck_after: is not a duration (write 30s, 5m, 2h or 3d)"),
    ("watches: [{name: a, type: t, blind_after_intervals: 0}]",
     "F:1: watches[0].blind_after_intervals: must be at least 1"),
    ("metrics: {max_jobs: 0}", "F:1: metrics.max_jobs: must be at least 1"),
    ("metrics: {per_jobs: true}",
     'F:1: metrics.per_jobs: unknown key (did you mean "per_job"?)'),
    ("retention: 012", f"F:1: retention: {ODD_NUMBER}"),
    ("server: {store: x}", "F:1: server.store: unknown key (it belongs to the top level)"),
    ("sinks: {a: {type: log, secret_file: [x]}}",
     "F:1: sinks.a.secret_file: unknown key (known: concurrency, max_age, path, timeout, type)"),
    ("retention: 0s", "F:1: retention: must be more than 0s and at most 3650d"),
    ("watches: [{name: a, type: t, jobs: [123]}]",
     "F:1: watches[0].jobs[0]: must be text (put it in quotes)"),
    ("watches: [{name: a, type: t, jobs: EX1ID}]",
     "F:1: watches[0].jobs: must be a list (write it as [a, b], or one item a line after a dash)"),
    ("watches: [{name: a, type: t, discover: maybe}]",
     "F:1: watches[0].discover: must be true or false"),
    ("watches: [{name: a, type: t, discover: {includes: []}}]",
     'F:1: watches[0].discover.includes: unknown key (did you mean "include"?)'),
    ("accounts: {a: {role: x}}", 'F:1: accounts.a.role: unknown key (did you mean "role_arn"?)'),
    ("accounts: {a: [1]}", "F:1: accounts.a: must be a map (write `key: value` pairs)"),
    ("sinks: {a: {}}", f"F:1: sinks.a: has no `type` (add `type:` {' or '.join(KINDS)})"),
    ("sinks: {a: {type: webhok}}",
     'F:1: sinks.a.type: unknown value "webhok" (did you mean "webhook"?)'),
    ("sinks: {a: {type: slack}}",
     'F:1: sinks.a.type: unknown value "slack" (write `type: webhook` with `template: slack`)'),
    ("sinks: {a: {type: MSTeams}}",
     'F:1: sinks.a.type: unknown value "MSTeams" (write `type: webhook` with `template: teams`)'),
    ("sinks: {a: {type: PagerDuty}}",
     ('F:1: sinks.a.type: unknown value "PagerDuty"'
     " (write `type: webhook` with `template: pagerduty`)")),
    ("sinks: {a: {type: discord}}",
     ('F:1: sinks.a.type: unknown value "discord"'
     " (write `type: webhook` with `template:` a file of your own, or `type: apprise`)")),
    ("sinks: {a: {type: email}}",
     'F:1: sinks.a.type: unknown value "email" (write `type: apprise`, which knows it)'),
    ("sinks: {a: {type: 5}}", f"F:1: sinks.a.type: must be one of {', '.join(KINDS)}"),
    ("sinks: {a: {type: webhook}}", "F:1: sinks.a.url: is missing (add `url: …`)"),
    ("sinks: {a: {type: log, url: x}}",
     "F:1: sinks.a.url: unknown key (it belongs to sinks.NAME.url or store.url)"),
    ("sinks: {a: {type: log, timeot: x}}",
     'F:1: sinks.a.timeot: unknown key (did you mean "timeout"?)'),
    ("sinks: {a: {type: log, concurrency: 65}}", "F:1: sinks.a.concurrency: must be at most 64"),
    ("sinks: {a: {type: log, concurrency: 0}}", "F:1: sinks.a.concurrency: must be at least 1"),
    ("sinks: {a: {type: log, concurrency: 1.5}}",
     "F:1: sinks.a.concurrency: must be a whole number"),
    ("sinks: {a: {type: webhook, url: x, allow_http: 2}}",
     "F:1: sinks.a.allow_http: must be true or false"),
    ("sinks: {a: {type: webhook, url: x, headers: {a: 1}}}",
     "F:1: sinks.a.headers.a: must be text (put it in quotes)"),
    ("routes: [{sinks: [a], contine: true}]",
     'F:1: routes[0].contine: unknown key (did you mean "continue"?)'),
    ("routes: [{match: {phases: a}, sinks: []}]",
     'F:1: routes[0].match.phases: unknown key (did you mean "phase"?)'),
    ("routes: [{match: {labels: {a: [1]}}, sinks: []}]",
     "F:1: routes[0].match.labels.a[0]: must be text (put it in quotes)"),
    ("quotas: {a: {rate: 0}}", "F:1: quotas.a.rate: must be more than 0"),
    ("quotas: {a: {rate: fast}}", "F:1: quotas.a.rate: must be a number"),
    ("quotas: {a: {rate: .inf}}", "F:1: quotas.a.rate: must be a number"),
    ("quotas: {a: {rate: nan}}", "F:1: quotas.a.rate: must be a number"),
    ("log: {level: warn}", 'F:1: log.level: unknown value "warn" (did you mean "warning"?)'),
    ("log: {level: [a]}", "F:1: log.level: must be one of debug, info, warning, error"),
    ("log: debug", "F:1: log: must be a map (write `key: value` pairs)"),
    ("store: [a]", "F:1: store: must be text"),
    ("store: {password_file: b}", "F:1: store.url: is missing (add `url: …`)"),
    ("store: {url: a, pasword_file: b}",
     'F:1: store.pasword_file: unknown key (did you mean "password_file"?)'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), MISTAKES, ids=[text for text, _ in MISTAKES])
def test_a_mistake_is_told_in_one_line_with_place_key_and_remedy(tmp_path, text, line):
    assert problems(tmp_path, text) == [line]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path):
    text = "log: {level: x}\nwatches:\n- name: a\n- type: t\nstore: 5\nzzz: 1\n"
    assert [line.split(": ")[0] for line in problems(tmp_path, text)] == [
        "F:1", "F:3", "F:4", "F:5", "F:6",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        f"sinks: {CANARY}",
        f"sinks: {{ops: {CANARY}}}",
        f"sinks: {{ops: [{CANARY}]}}",
        f"sinks: {{ops: {{type: [{CANARY}]}}}}",
        f"sinks: {{ops: {{type: webhook, url: [https://{CANARY}]}}}}",
        f"sinks: {{ops: {{type: webhook, url: {{a: {CANARY}}}}}}}",
        f"sinks: {{ops: {{type: webhook, url: x, secret_files: {CANARY}}}}}",
        f"sinks: {{ops: {{type: webhook, url: x, secret: {CANARY}}}}}",
        f"sinks: {{ops: {{type: webhook, url: x, headers: {CANARY}}}}}",
        f"sinks: {{ops: {{type: webhook, url: x, header_files: {{a: [{CANARY}]}}}}}}",
        f"sinks: {{ops: {{url: 'https://{CANARY}'}}}}",
        f"store: [postgresql://u:{CANARY}@h]",
        f"accounts: {{a: {{endpoint_urls: {{sts: ['http://{CANARY}']}}}}}}",
        f"accounts: {{a: {{external_id: {CANARY}}}}}",
        f"retention: {CANARY}",
        f"log: {{level: {{a: {CANARY}}}}}",
        f"url: 'https://x/{CANARY}\n  : x",
        f"a: b\n  {CANARY}: !x [",
    ],
)
def test_no_message_repeats_what_may_be_a_secret(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError) as caught:
        config.load([path], {})
    everything = io.StringIO()
    traceback.print_exception(caught.value, file=everything)
    assert CANARY not in everything.getvalue()
    assert caught.value.__context__ is None


def test_a_report_fits_a_screen():
    many = [Problem("f:1", "a", "is wrong") for _ in range(50)]
    lines = config.report(many).split("\n")
    assert len(lines) == 20
    assert lines[-1] == "… and 31 more"
    assert len(config.report(many[:20]).split("\n")) == 20
    assert "more" not in config.report(many[:20])


def test_a_warning_is_told_as_such():
    assert config.report([Problem("f:1", "a", "is odd", warning=True)]) == (
        "warning: f:1: a: is odd"
    )


def test_odd_keys_stay_on_one_line_and_short(tmp_path):
    told = problems(tmp_path, f'"a\\nb\\e[31m": 1\n"{"k" * 900}": 1\n')
    assert all(line.isprintable() and len(line) < 400 for line in told)
    assert len(told) == 2


KEYS = sorted({key for _, section in schema.every_section() for key in schema.fields(section)})
GARBAGE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["30s", "log", "webhook", "debug", "a", "", "x" * 99, "é\n\x85"])
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=6), inner, max_size=5)
    ),
    max_leaves=25,
)


def mistakes(paths, environ):
    """Return the problems, of which an error has at least one; none if all is well."""
    try:
        config.load(paths, environ)
    except ConfigurationError as error:
        return error.problems or pytest.fail("an error without a problem")
    return ()


@effort(max_examples=60)
@given(st.dictionaries(st.sampled_from(KEYS), GARBAGE, max_size=6))
def test_any_garbage_is_settings_or_a_list_of_plain_mistakes(tmp_path_factory, tree):
    path = tmp_path_factory.getbasetemp() / "garbage.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True), "utf-8")
    found = mistakes([path], {})
    lines = [str(problem) for problem in found]
    assert all(line.isprintable() for line in lines)
    assert not [line for line in lines if "cannot be used" in line]
    assert all(problem.place for problem in found)


@effort(max_examples=50)
@given(
    st.dictionaries(
        st.lists(st.sampled_from([*map(str.upper, KEYS), "0", "1", "A_B", ""]), max_size=5).map(
            "__".join
        ),
        st.text(st.characters(exclude_characters="\0"), max_size=20)
        | st.sampled_from(["[{name: a}]", "{a: {type: log}}", "true", "5"]),
        max_size=6,
    )
)
def test_any_environment_is_settings_or_a_list_of_plain_mistakes(variables):
    found = mistakes(None, {f"JOB_MONITOR_{name}": text for name, text in variables.items()})
    lines = [str(problem) for problem in found]
    assert all(line.isprintable() and line.startswith("environment ") for line in lines)


def test_pydantic_itself_repeats_no_value_either():
    with pytest.raises(ValidationError) as caught:
        config.Settings.model_validate({"sinks": {"a": {"type": "webhook", "url": [CANARY]}}})
    assert CANARY not in str(caught.value)
