import json
import os
from dataclasses import replace
from time import process_time

import pytest
import yaml

from monitor import config, validation
from monitor.aws import service_models
from monitor.config import Settings
from monitor.sources.loader import load_job_types
from monitor.validation import everything

CANARY = "canary5ecret"
WATCH = {"name": "w", "type": "importexport.job", "jobs": ["EX1ID"]}
PANORAMA = {
    "name": "p", "type": "panorama.package-import", "regions": ["us-east-1"], "discover": True
}  # fmt: skip
GLUE = {
    "name": "g", "type": "glue.job-run", "regions": ["us-east-1"], "discover": {"of": ["nightly"]}
}  # fmt: skip
QUEUE = "https://sqs.us-east-1.amazonaws.com/123456789012/hints"


@pytest.fixture(scope="module")
def job_types():
    types = load_job_types(None)
    unlisted = replace(types["importexport.job"], name="unlisted.job", listings=())
    return {**types, "unlisted.job": unlisted}


@pytest.fixture
def told(tmp_path, job_types):
    """Return a function from settings to the lines told of them."""

    def tell(**tree):
        path = tmp_path / "a.yaml"
        path.write_text(yaml.safe_dump({"watches": [WATCH], **tree}), "utf-8")
        problems = validation.problems(config.load([path], {}), job_types)
        assert all(problem.place.startswith(str(path)) for problem in problems)
        return [
            line.replace(f"{path}:", "") for line in config.report(problems, 99).split("\n") if line
        ]

    return tell


def watch(**keys):
    return {"watches": [{**WATCH, **keys}]}


def panorama(**keys):
    return {"watches": [{**PANORAMA, **keys}]}


ERRORS = [
    (watch(type="importexport.jobs"),
     'watches[0].type: unknown job type "importexport.jobs" (did you mean "importexport.job"?)'),
    (watch(account="prd") | {"accounts": {"prod": {}}},
     'watches[0].account: unknown account "prd" (did you mean "prod"?)'),
    (watch(jobs=[]),
     "watches[0]: has neither jobs nor discover (add jobs: [ID] or discover: true)"),
    (watch(name="a/b"), "watches[0].name: is not a valid name (use up to 63 letters"),
    (watch(name=""), "watches[0].name: is not a valid name"),
    (watch(discover={"include": []}, jobs=[]), "watches[0].discover.include: is empty, so no job"),
    (watch(discover={"include": ["a["]}),
     "watches[0].discover.include[0]: has a [ without a ]"),
    (watch(discover={"exclude": [""]}), "watches[0].discover.exclude[0]: is empty"),
    (watch(type="unlisted.job", discover=True),
     "watches[0].discover: jobs of type unlisted.job cannot be listed (name them"),
    (watch(regions=["us-gov-west-1"]),
     'watches[0].regions[0]: "us-gov-west-1" is in GovCloud, China or an isolated region'),
    (watch(regions=["cn-north-1"]), 'watches[0].regions[0]: "cn-north-1" is in GovCloud'),
    (watch(regions=["eu-west-1"]),
     "watches[0].regions[0]: importexport.job has one global endpoint"),
    (panorama(regions=[]), "watches[0].regions: is missing (add regions: ["),
    (panorama(regions=["us-east1"]),
     'watches[0].regions[0]: unknown region "us-east1" (did you mean "us-east-1"?)'),
    (panorama(regions=["eu-north-1"]),
     'watches[0].regions[0]: unknown region of panorama "eu-north-1" ('),
    (panorama(regions=["us-east-1", "us-east-1"]),
     'watches[0].regions[1]: "us-east-1" is named twice (keep one)'),
    (panorama(jobs=["a b"]), 'watches[0].jobs[0]: "a b" is not a valid panorama.package-import ID'),
    (panorama(jobs=["a\n"]), 'watches[0].jobs[0]: "a?" is not a valid panorama.package-import ID'),
    (panorama(jobs=["a" * 256]), "is too long for a job ID (use at most 255 characters)"),
    (watch(jobs=["A", "A"]), 'watches[0].jobs[1]: "A" is watched twice (keep one)'),
    ({"watches": [WATCH, {**WATCH, "name": "x"}]},
     'watches[1].jobs[0]: "EX1ID" is watched by watches[0] too (keep one)'),
    ({"watches": [WATCH, {**WATCH, "jobs": ["B"]}]},
     'watches[1].name: "w" is also the name of watches[0]'),
    ({"accounts": {"a/b": {}}}, 'accounts["a/b"]: is not a valid name'),
    ({"accounts": {"a": {"role_arn": "arn:aws:iam::12345:role/x"}}},
     "accounts.a.role_arn: is not the ARN of a role (write it as arn:aws:iam::1234567890"),
    ({"accounts": {"a": {"role_arn": "arn:aws:iam::123456789012:user/x"}}},
     "accounts.a.role_arn: is not the ARN of a role"),
    ({"accounts": {"a": {"session_name": "a b"}}},
     "accounts.a.session_name: is not a valid session name"),
    ({"accounts": {"a": {"external_id_file": "/dev/null"}}},
     "accounts.a.external_id_file: has no effect without role_arn"),
    ({"accounts": {"a": {"endpoint_urls": {"panoramma": "http://h"}}}},
     'accounts.a.endpoint_urls.panoramma: unknown service "panoramma" (did you mean "panorama"?)'),
    ({"quotas": {"panoramma": {"rate": 1}}},
     'quotas.panoramma: unknown service "panoramma" (did you mean "panorama"?)'),
    ({"hints": [{"queue_url": "https://example.com/q"}]},
     "hints[0].queue_url: is not the URL of an SQS queue (write https://sqs.REGION.amazonaws.com/"),
    ({"hints": [{"queue_url": QUEUE, "region": "eu-west-1"}]},
     "hints[0].queue_url: is not the URL of an SQS queue"),
    ({"hints": [{"queue_url": "http://127.0.0.1:5000/123456789012/hints"}]},
     "hints[0].queue_url: is not the URL of an SQS queue"),
    ({"hints": [{"queue_url": f"{QUEUE}.fifo"}]},
     "hints[0].queue_url: is a FIFO queue (use a standard queue)"),
    ({"hints": [{"queue_url": QUEUE}, {"queue_url": QUEUE}]},
     "hints[1].queue_url: is also the queue of hints[0] (keep one)"),
    ({"hints": [{"queue_url": QUEUE, "account": "prd"}], "accounts": {"prod": {}}},
     'hints[0].account: unknown account "prd" (did you mean "prod"?)'),
    ({"server": {"listen": "9847"}},
     "server.listen: is not an address and a port (write 127.0.0.1:9847, [::1]:9847 for IPv6, or"),
    ({"server": {"hosts": ["ok.test", "https://monitor.test"]}},
     "server.hosts[1]: is not a host name (write it without scheme and port, such as"),
    ({"server": {"hosts": ["monitor.test:9847"]}}, "server.hosts[0]: is not a host name"),
    ({"server": {"hosts": ["*.test"]}}, "server.hosts[0]: is not a host name"),
    ({"server": {"hosts": [""]}}, "server.hosts[0]: is not a host name"),
    ({"server": {"listen": "h:99999"}}, "server.listen: has a port above 65535"),
    ({"accounts": {"a": {"account_id": "1234"}}},
     "accounts.a.account_id: is not the id of an account (write its 12 digits in quotes:"),
    ({"accounts": {"a": {"account_id": "210987654321",
                         "role_arn": "arn:aws:iam::123456789012:role/x"}}},
     "accounts.a.account_id: is not the account of role_arn (remove it, or fix one of them)"),
    ({"metrics": {"watch_labels": ["type"]}},
     'metrics.watch_labels[0]: "type" is a name that series have already (give the watches the'),
    (watch(labels={"in stance": "a", "in-stance": "b"})
     | {"metrics": {"watch_labels": ["in stance", "in-stance"]}},
     'metrics.watch_labels[1]: "in-stance" and "in stance" both become in_stance (keep one)'),
    ({"metrics": {"watch_labels": ["-_x"]}}, 'metrics.watch_labels[0]: "-_x" is a name that'),
    ({"metrics": {"watch_labels": [""]}}, "metrics.watch_labels[0]: is empty"),
    ({"metrics": {"watch_labels": [*"abcdef"]}}, "metrics.watch_labels: has more than 5 labels"),
    ({"server": {"external_url": "monitor.example.com"}},
     "server.external_url: is not an absolute http or https URL (write it as https://monitor."),
    ({"server": {"external_url": "/jobs"}},
     "server.external_url: is not an absolute http or https URL"),
    ({"server": {"external_url": "ftp://h/jobs"}},
     "server.external_url: is not an absolute http or https URL"),
    ({"server": {"external_url": 'https://h"x/jobs'}},
     "server.external_url: is not an absolute http or https URL"),
    ({"server": {"external_url": "https://h:0/"}},
     "server.external_url: is not an absolute http or https URL"),
    ({"server": {"external_url": "https://[::1/jobs"}}, "server.external_url: is not a URL"),
    ({"server": {"external_url": "https://me:pw@h/jobs"}},
     "server.external_url: has a user name or password in it (leave them out: links are shown"),
    ({"server": {"external_url": "https://h/watches/"}},
     "server.external_url: begins its path with one that the monitor itself serves (choose"),
    ({"server": {"external_url": "https://h/jobs?team=a"}},
     "server.external_url: has a query or a fragment (end it with the path)"),
    ({"server": {"external_url": "https://h/#jobs"}},
     "server.external_url: has a query or a fragment"),
    ({"server": {"external_url": "https://h/a//b"}},
     "server.external_url: has a path with empty steps, dots alone or unusual characters"),
    ({"server": {"external_url": "https://h/a/../b"}}, "server.external_url: has a path with"),
    ({"server": {"external_url": "https://h/a%2Fb"}}, "server.external_url: has a path with"),
    ({"sinks": {"a b": {"type": "log"}}}, 'sinks["a b"]: is not a valid name'),
    ({"sinks": {"ops": {"type": "log"}}, "routes": [{"sinks": ["opps"]}, {"sinks": ["ops"]}]},
     'routes[0].sinks[0]: unknown sink "opps" (did you mean "ops"?)'),
    ({"routes": [{"match": {"phase": "faild"}, "sinks": []}]},
     'routes[0].match.phase[0]: "faild" matches nothing (did you mean "failed"?)'),
    ({"routes": [{"match": {"kind": "state_changed"}, "sinks": []}]},
     'routes[0].match.kind[0]: "state_changed" matches nothing'),
    ({"routes": [{"match": {"severity": ["info", "eror"]}, "sinks": []}]},
     'routes[0].match.severity[1]: "eror" matches nothing (did you mean "error"?)'),
    ({"routes": [{"match": {"type": "gleu.*"}, "sinks": []}]},
     'routes[0].match.type[0]: "gleu.*" matches nothing'),
    ({"routes": [{"match": {"account": "prod"}, "sinks": []}]},
     'routes[0].match.account[0]: "prod" matches nothing'),
    ({"routes": [{"match": {"region": "us-[e"}, "sinks": []}]},
     "routes[0].match.region[0]: has a [ without a ]"),
    (panorama(stuck_after={"PENDIN": "1h"}),
     'watches[0].stuck_after.PENDIN: unknown state "PENDIN" (did you mean "PENDING"?)'),
    (panorama(stuck_after={"P*G": "1h", "Q*": "1h"}),
     'watches[0].stuck_after["Q*"]: unknown state "Q*" ('),
    (panorama(stuck_after={"AtAWS/*": "1h"}),
     'watches[0].stuck_after["AtAWS/*"]: unknown state "AtAWS/*" ('),
    (watch(stuck_after={"InProgress": "1d"}),
     'stuck_after.InProgress: unknown state "InProgress" (did you mean "*/InProgress"?)'),
    (watch(stuck_after={"AtAWS/InProgres": "1d"}),
     'unknown state "AtAWS/InProgres" (did you mean "*/InProgress"?)'),
    (watch(stuck_after={"*/InProg": "1d"}), 'unknown state "*/InProg" (did you mean'),
    (watch(stuck_after={"runing": "1d"}),
     'watches[0].stuck_after.runing: unknown state "runing" (did you mean "running"?)'),
    (watch(stuck_after={"At[": "1d"}),
     'watches[0].stuck_after["At["]: has a [ without a ]'),
    (watch(labels={"a": "x"}) | {"metrics": {"job_labels": ["a", "a"]}},
     'metrics.job_labels[1]: "a" is named twice (keep one)'),
    (watch(labels={"a-b": "x", "a.b": "y"}) | {"metrics": {"job_labels": ["a-b", "a.b"]}},
     'metrics.job_labels[1]: "a.b" and "a-b" both become label_a_b (keep one)'),
    ({"metrics": {"job_labels": [""]}},
     "metrics.job_labels[0]: is empty (name a label of a watch)"),
    ({"routes": [{"match": {"labels": {"team": ["a", "[b"]}}, "sinks": []}]},
     "routes[0].match.labels.team[1]: has a [ without a ]"),
]  # fmt: skip


@pytest.mark.parametrize(("tree", "line"), ERRORS, ids=[line[:60] for _, line in ERRORS])
def test_a_mistake_beyond_the_shape_is_told_in_one_line(told, tree, line):
    lines = [text for text in told(**tree) if line in text]
    assert len(lines) == 1
    assert not lines[0].startswith("warning")
    assert lines[0][0].isdigit()
    assert lines[0].endswith(")")


WARNINGS = [
    ({"watches": [{**GLUE, "interval_with_hints": "10m"}]},
     "watches[0].interval_with_hints: has no effect in us-east-1: no queue in hints is of this"),
    ({"watches": [{**GLUE, "interval_with_hints": "1s"}], "hints": [{"queue_url": QUEUE}]},
     "watches[0].interval_with_hints: is shorter than the interval of"),
    ({"watches": [{**PANORAMA, "interval_with_hints": "1h"}], "hints": [{"queue_url": QUEUE}]},
     "watches[0].interval_with_hints: no event is known to tell of jobs of type panorama.package"),
    ({"watches": []}, "watches: nothing is watched (add a watch)"),
    (watch(ended_interval="1m"),
     "watches[0].ended_interval: is shorter than the interval of 5m, which is used instead"),
    (watch(interval="500ms"), "watches[0].interval: is below 1s"),
    (watch(stuck_after="1m"), "watches[0].stuck_after: is not longer than the interval"),
    (watch(stuck_after={"default": "1d", "*/Pending": "5m"}),
     'watches[0].stuck_after["*/Pending"]: is not longer than the interval'),
    (watch(stuck_after={"expired": "1d"}),
     "watches[0].stuck_after.expired: has no effect: a job that has ended is never stuck (remove"),
    (watch(stuck_after={"AtAWS/Complete": "1d"}),
     'watches[0].stuck_after["AtAWS/Complete"]: has no effect: a job that has ended'),
    (panorama(stuck_after={"[SF]*": "1d"}), 'watches[0].stuck_after["[SF]*"]: has no effect'),
    (watch(stuck_after={"*": "1d", "waiting": "2d"}),
     'watches[0].stuck_after.waiting: is never used: "*" takes every state before it (write'),
    (watch(stuck_after={"default": "2d", "*": "1d"}), "watches[0].stuck_after.default: is never"),
    (watch(stuck_after={"*": "1d", "AtAWS/*": "2d"}),
     'watches[0].stuck_after["AtAWS/*"]: is never used'),
    (watch(labels={"team": "a"}) | {"metrics": {"job_labels": ["taem"]}},
     'metrics.job_labels[0]: no watch has the label "taem" (did you mean "team"?)'),
    (watch(jobs=["A", "B", "C"], interval="2s"),
     "watches[0].interval: importexport/default/us-east-1 needs at least 1.5 requests a second"),
    (watch(jobs=["A", "B", "C"], interval="2s"),
     "(its quota is 1: raise the interval or quotas.importexport.rate)"),
    (watch(jobs=["A"], interval="2s")
     | {"quotas": {"importexport": {"rate": 0.6, "headroom": 0.5}}},
     "(its quota is 0.3: raise the interval or quotas.importexport.rate)"),
    (watch() | {"quotas": {"importexport": {"rate": 1, "operations": {"GetSatus": {"rate": 1}}}}},
     'operations.GetSatus: is called for no watch (did you mean "GetStatus"?)'),
    (watch(account="a") | {"accounts": {"a": {"role_arn": "arn:aws:iam::123456789012:role/x"}}},
     "watches[0].account: Import/Export reportedly refuses the credentials of an assumed role"),
    ({"sinks": {"a": {"type": "log"}, "b": {"type": "log"}}, "routes": [{"sinks": ["a"]}]},
     "sinks.b: no route uses this sink"),
    ({"sinks": {"a": {"type": "log"}}, "routes": [{"sinks": ["a"]}, {"sinks": ["a"]}]},
     "routes[1]: is never reached: routes[0] takes everything before it"),
    ({"sinks": {"a": {"type": "log"}},
      "routes": [{"match": {"phase": "*"}, "sinks": ["a"]}, {"sinks": ["a"]}]},
     "routes[1]: is never reached"),
    (watch() | {"sinks": {"a": {"type": "log"}}, "routes": [
        {"match": {"phase": "failed"}, "sinks": ["a"]}, {"match": {"phase": "failed"}, "sinks": []},
        {"sinks": ["a"]}]},
     "routes[1]: is never reached: the routes before it take all that it matches"),
    ({"sinks": {"a": {"type": "webhook", "url": "https://h", "headers": {"Authorization": "x"}}}},
     "sinks.a.headers.Authorization: holds a secret (move it to header_files)"),
]  # fmt: skip


@pytest.mark.parametrize(("tree", "line"), WARNINGS, ids=[line[:60] for _, line in WARNINGS])
def test_what_may_be_meant_so_is_a_warning(told, tree, line):
    lines = [text for text in told(**tree) if line in text]
    assert len(lines) == 1
    assert lines[0].startswith("warning: ")


LOG = {"a": {"type": "log"}}


@pytest.mark.parametrize(
    "tree",
    [
        {},
        watch(regions=["us-east-1"]),
        watch(jobs=["A"], discover=True),
        panorama(jobs=["a-B_9"], regions=["us-east-1", "eu-west-1"]),
        panorama(account="lab", regions=["eu-north-1"])
        | {"accounts": {"lab": {"endpoint_urls": {"panorama": "http://127.0.0.1:1"}}}},
        {"watches": [WATCH, {**WATCH, "name": "x", "account": "b"}], "accounts": {"b": {}}},
        {"watches": [{**PANORAMA, "interval": "1s"}]},
        panorama(jobs=[f"j{n}" for n in range(100)], interval="10s"),
        watch(jobs=["A", "B"], interval="1s") | {"quotas": {"importexport": {"rate": 2}}},
        {"sinks": LOG, "routes": [{"sinks": ["a"], "continue": True}, {"sinks": ["a"]}]},
        {
            "sinks": LOG,
            "routes": [{"sinks": ["a"]}, {"match": {"kind": "job.discovered"}, "sinks": ["a"]}],
        },
        {"sinks": LOG, "routes": [{"match": {"phase": "f*"}, "sinks": ["a"]}, {"sinks": ["a"]}]},
        {"sinks": LOG, "routes": [{"match": {"labels": {"team": ""}}, "sinks": ["a"]}]},
        {"sinks": LOG, "routes": [{"match": {"state": "[[]x[!a][]]"}, "sinks": ["a"]}]},
        watch(stuck_after="never"),
        watch(stuck_after={"AtAWS/InProgress": "3d", "AtAWS/*": "14d", "waiting": "never"}),
        watch(stuck_after={"*/InProgress": "3d", "At*": None, "Unknown/*": "1d", "default": "9d"}),
        panorama(stuck_after={"PENDING": "30m", "P?NDING": "1h", "unknown": "1h", "default": "2h"}),
        panorama(stuck_after={"*": "2h", "PENDING": "1h"}),
        watch(labels={"team": "a"}) | {"metrics": {"per_job": True, "job_labels": ["team"]}},
        {
            "watches": [{**GLUE, "interval_with_hints": "10m"}],
            "hints": [
                {"queue_url": QUEUE},
                {"queue_url": "http://[::1]:4566/123456789012/q", "region": "eu-west-1"},
            ],
        },
        {"store": "sqlite:x.db"},
        {"store": "sqlite:////x.db"},
        {"store": "postgresql://u@h/d"},
        {"store": "postgresql:///d?host=/run"},
        {"server": {"listen": "[::]:0"}},
        {"server": {"hosts": ["monitor", "Monitor.example.com.", "a_b.svc"]}},
        {"server": {"external_url": "https://Tools.example.com:8443/a.b/jobs-1/"}},
        {"server": {"external_url": "http://[::1]:9847"}},
        watch(labels={"team": "a"}) | {"metrics": {"watch_labels": ["team"]}},
        {"accounts": {"a": {"role_arn": "arn:aws-cn:iam::123456789012:role/path/x"}}},
        {"accounts": {"a": {"endpoint_urls": {"importexport": "https://vpce-1.example.com"}}}},
    ],
)
def test_what_is_right_is_not_complained_of(told, tree):
    assert told(**tree) == []


ENDS = {"kind": "job.state_changed", "phase": "failed"}
LATE = "routes[0].match.kind: misses jobs that ended before their first poll (add job.discovered)"


@pytest.mark.parametrize(
    ("routes", "warned"),
    [
        ([{"match": {"kind": "job.state_changed"}, "sinks": ["a"]}], True),
        ([{"match": {"kind": ["job.state_*", "job.stuck"]}, "sinks": ["a"]}], True),
        ([{"match": ENDS, "sinks": ["a"]}], True),
        ([{"match": ENDS, "sinks": ["a"]}, {"match": {"phase": "running"}, "sinks": ["a"]}], True),
        ([{"match": {"kind": ["job.state_changed", "job.discovered"]}, "sinks": ["a"]}], False),
        ([{"match": {"kind": "job.*"}, "sinks": ["a"]}], False),
        ([{"match": {"kind": "job.stuck"}, "sinks": ["a"]}], False),
        ([{"match": ENDS | {"phase": "running"}, "sinks": ["a"]}], False),
        ([{"match": {"phase": "failed"}, "sinks": ["a"]}], False),
        # What this one leaves, the next one sends to the same sink.
        ([{"match": ENDS, "sinks": ["a"]}, {"sinks": ["a"]}], False),
    ],
    ids=str,
)
def test_a_route_that_misses_jobs_that_ended_before_their_first_poll_is_warned_of(
    told, routes, warned
):
    lines = list(told(**watch(discover=True), sinks=LOG, routes=routes))
    assert [LATE in line for line in lines] == ([True] if warned else [])


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h", "h:80", "https://", f"http://u:{CANARY}@h", f"https://h/?{CANARY}",
        f"https://h#{CANARY}", "http://h:99999", f"http://[{CANARY}", "http://a b", "", "http://h:0",
    ],
)  # fmt: skip
def test_an_endpoint_that_is_no_plain_url_is_refused_and_not_repeated(told, url):
    (line,) = told(accounts={"a": {"endpoint_urls": {"sts": url}}})
    assert "accounts.a.endpoint_urls.sts: is not a plain http or https URL" in line
    assert CANARY not in line


@pytest.mark.parametrize(
    "host",
    [
        "importexport-fips.amazonaws.com",
        "fips.importexport.amazonaws.com",
        "importexport.us-gov-west-1.amazonaws.com",
        "importexport.dualstack.us-east-1.amazonaws.com",
        "importexport.us-east-1.api.aws",
        "importexport.cn-north-1.amazonaws.com.cn",
    ],
)
def test_import_export_has_no_special_endpoints(told, host):
    (line,) = told(accounts={"a": {"endpoint_urls": {"importexport": f"https://{host}"}}})
    assert "importexport has no FIPS, dual-stack, GovCloud or China endpoint" in line
    assert told(accounts={"a": {"endpoint_urls": {"sts": f"https://{host}"}}}) == []


@pytest.mark.parametrize(
    "store",
    [
        f"mysql://u:{CANARY}@h/d", f"postgres://u:{CANARY}@h/d", "sqlite://x.db", "sqlite:",
        "sqlite:///", "sqlite::memory:", "/var/x.db", "", f"postgresql:{CANARY}",
    ],
)  # fmt: skip
def test_a_store_that_is_none_is_refused_and_not_repeated(told, store):
    (line,) = told(store=store)
    assert line.startswith("1: store: ")
    assert CANARY not in line


RDS = "postgresql://ops@jobs.c1a2b3.eu-west-1.rds.amazonaws.com/jobs"
TLS = "sslmode=verify-full&sslrootcert=system"


@pytest.mark.parametrize(
    ("store", "line"),
    [
        ({"url": f"mysql://u:{CANARY}@h/d"}, "store.url: is not a store URL (write sqlite:///"),
        ({"url": f"postgresql://u:{CANARY}/@h/d"}, "store.url: not a PostgreSQL URL (write post"),
        (f"postgresql://u:{CANARY}@h/d?sslmode=on", "store: has an unknown sslmode (use one of"),
        (f"postgresql://u:{CANARY}@h/d?sslmod=on", 'store: has the unknown parameter "sslmod"'),
        ({"url": "sqlite:a.db", "password_file": "/x"},
         "store.password_file: has no effect on a store in SQLite (remove it)"),
        ({"url": "sqlite:a.db", "iam_auth": True},
         "store.iam_auth: has no effect on a store in SQLite (remove it)"),
        ({"url": f"postgresql://u:{CANARY}@h/d", "password_file": "{secret}"},
         "store.password_file: the URL has a password too (remove it from the URL"),
        ({"url": "postgresql://u@h/d", "password_file": CANARY},
         "store.password_file: the value ("),
        ({"url": "postgresql://u@h/d", "password_file": "/dev/null"},
         "store.password_file: /dev/null is not a regular file"),
        ({"url": "postgresql://u@h/d", "region": "eu-west-1"},
         "store.region: has no effect without iam_auth (add iam_auth: true, or remove it)"),
        ({"url": RDS, "iam_auth": True}, "store.iam_auth: needs TLS: the token is sent as it is"),
        ({"url": f"{RDS}?sslmode=prefer", "iam_auth": True}, "store.iam_auth: needs TLS: the"),
        ({"url": f"{RDS}?{TLS}", "iam_auth": True, "password_file": "{secret}"},
         "store.iam_auth: stands beside a password (keep one of them)"),
        ({"url": f"postgresql://ops@db.example.com/d?{TLS}", "iam_auth": True},
         "store.iam_auth: needs a region, which the host's name does not show (add region: to"),
        ({"url": f"{RDS}?{TLS}".replace("ops@", ""), "iam_auth": True},
         "store.iam_auth: needs a user in the URL"),
        ({"url": f"postgresql://u@a,b/d?{TLS}", "iam_auth": True, "region": "eu-west-1"},
         "store.iam_auth: needs a single host, which the token is for (name the cluster"),
        ({"url": f"{RDS}?{TLS}", "iam_auth": True, "account": "prd"},
         'store.account: unknown account "prd" (known: default)'),
    ],
)  # fmt: skip
def test_a_wrong_login_is_told_in_one_line_and_repeats_no_secret(told, tmp_path, store, line):
    (tmp_path / "secret").write_text("x", "utf-8")
    if isinstance(store, dict) and store.get("password_file") == "{secret}":
        store = {**store, "password_file": str(tmp_path / "secret")}
    (found,) = told(store=store)
    assert found.startswith(f"1: {line}") or f": {line}" in found
    assert CANARY not in found


@pytest.mark.parametrize(
    "store",
    [
        {"url": "sqlite:x.db"},
        {"url": f"{RDS}?{TLS}", "iam_auth": True},
        {"url": f"postgresql://u@db/d?{TLS}", "iam_auth": True, "region": "eu-west-1"},
        f"postgresql://u@a:5433,b:5433/d?{TLS}&target_session_attrs=read-write",
    ],
)
def test_a_right_login_is_taken(told, store):
    assert told(store=store) == []


def secret_places(name):
    hook = {"type": "webhook", "url": "https://h"}
    role = "arn:aws:iam::123456789012:role/x"
    return [
        {"store": {"url": "postgresql://u@h/d", "password_file": name}},
        {"sinks": {"a": {**hook, "secret_files": [name]}}},
        {"sinks": {"a": {**hook, "header_files": {"X-Key": name}}}},
        {"accounts": {"a": {"role_arn": role, "external_id_file": name}}},
    ]


def test_a_secret_that_cannot_be_read_is_told_without_its_content(told, tmp_path):
    files = {
        "missing": "does not name an existing file", "empty": "is empty", "blank": "is empty",
        "directory": "is not a regular file", "pipe": "is not a regular file",
        "nul\0": "does not name an existing file",
    }  # fmt: skip
    (tmp_path / "empty").touch()
    (tmp_path / "blank").write_text(" \n\n", "utf-8")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, reason in files.items():
        for tree in secret_places(str(tmp_path / name)):
            (line,) = told(**tree)
            assert reason in line


def test_a_secret_that_can_be_read_is_not_told(told, tmp_path):
    (tmp_path / "good").write_text(CANARY, "utf-8")
    for tree in secret_places(str(tmp_path / "good")):
        assert told(**tree) == []


def test_a_calls_quota_is_shared_by_the_watches_of_one_account_and_region(told):
    watches = [{**WATCH, "name": f"w{n}", "jobs": [f"J{n}"], "interval": "3s"} for n in range(4)]
    lines = told(watches=watches)
    assert len(lines) == 1
    assert "needs at least 1.33 requests a second" in lines[0]


def test_problems_of_settings_that_were_not_loaded_have_no_place(job_types):

    (problem,) = validation.problems(Settings(), job_types)
    assert (problem.place, problem.path, problem.warning) == ("", "watches", True)


def test_the_work_of_checking_grows_with_the_number_of_watches_and_not_its_square(job_types):
    def spent(many):
        watches = [{**WATCH, "name": f"w{n}", "jobs": [f"J{n}"]} for n in range(many)]
        settings = Settings.model_validate({"watches": watches})
        begun = process_time()
        assert len(validation.problems(settings, job_types)) == 1
        return process_time() - begun

    assert spent(4000) < 10 * spent(1000)


def test_a_built_in_type_that_the_models_do_not_fit_is_reported_as_its_own_problem(tmp_path):
    plain = service_models.loader({})
    model = plain.load_service_model("glacier", "service-2")
    operations = {name: one for name, one in model["operations"].items() if name != "DescribeJob"}
    folder = tmp_path / "glacier" / "2012-06-01"
    folder.mkdir(parents=True)
    (folder / "service-2.json").write_text(json.dumps({**model, "operations": operations}))
    models = service_models.loader({"AWS_DATA_PATH": str(tmp_path)})
    vault = {"name": "v", "type": "glacier.job", "regions": ["us-east-1"], "jobs": ["v/j"]}
    settings = Settings.model_validate({"watches": [vault]})

    _, problems = everything.validate(settings, models)

    (problem,) = problems
    assert (problem.place, problem.path) == ("glacier.job.yaml:7", "describe.operation")
