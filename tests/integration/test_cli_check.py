"""``job-monitor check``: mistakes in a configuration, as its author meets them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.program import ROOT, SECRET, run
from tests.certificates import certificate

pytestmark = pytest.mark.timeout(600)

EXAMPLES = sorted(set((ROOT / "config").glob("*.yaml")) - {ROOT / "config/web.yaml"})
SECRETS = re.compile(r"/run/secrets/[a-z.-]+")
CONTENTS = {"proxy-auth": "user:password", "matrix-url": "matrixs://user:password@example.com/room"}
CONTENTS["slack-url"] = "https://hooks.slack.com/services/T00/B00/x"
"""What no signing key would do for."""


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
async def test_every_example_is_valid(tmp_path, example):
    """Secrets that an example names are put where it would find them."""
    text = example.read_text()
    for secret in SECRETS.findall(text):
        path = tmp_path / Path(secret).name
        if path.suffix:
            certificate(path, "monitor", days=1)
        else:
            path.write_text(CONTENTS.get(path.name, SECRET))
    if (tmp_path / "monitor.key").exists():
        # A file made here holds a certificate and its key; both names must lead to one pair.
        (tmp_path / "monitor.key").write_bytes((tmp_path / "monitor.pem").read_bytes())
    file = tmp_path / "monitor.yaml"
    file.write_text(text.replace("/run/secrets/", f"{tmp_path}/"))
    code, out, err = await run("check", "--config", file, directory=tmp_path)
    assert (code, err) == (0, "")
    assert "The configuration is valid." in out


async def test_a_directory_is_one_configuration(tmp_path):
    code, out, err = await run("check", "-c", ROOT / "config" / "conf.d", directory=tmp_path)
    assert (code, err) == (0, "")
    assert "watch camera-packages" in out
    assert "watch disks" in out


async def test_the_file_may_be_named_by_the_environment(tmp_path):
    file = str(ROOT / "config" / "minimal.yaml")
    code, out, _ = await run("check", directory=tmp_path, JOB_MONITOR_CONFIG=file)
    assert code == 0
    assert "camera-packages" in out


async def test_it_prints_json_on_request(tmp_path):
    file = ROOT / "config" / "minimal.yaml"
    code, out, _ = await run("check", "-c", file, "--output", "json", directory=tmp_path)
    told = json.loads(out)
    assert code == 0
    assert told["warnings"] == []
    assert told["configuration"]["watches"][0]["type"] == "panorama.package-import"


BROKEN: dict[str, tuple[str, list[tuple[Any, str, str]]]] = {
    "an unknown key": ("watchs: []\n", [(1, "watchs", "watches")]),
    "an unknown type": (
        "watches:\n- name: a\n  type: panorama.package-imports\n  discover: true\n",
        [(3, "type", "panorama.package-import")],
    ),
    "a missing region": (
        "watches:\n- name: a\n  type: panorama.package-import\n  discover: true\n",
        [(2, "regions", "us-east-1")],
    ),
    "a bad id": (
        "watches:\n- name: a\n  type: importexport.job\n  jobs: ['not an id!']\n",
        [(4, "jobs[0]", "look like")],
    ),
    "a bad duration": (
        "watches:\n- {name: a, type: importexport.job, discover: true, interval: soon}\n",
        [(2, "interval", "30s")],
    ),
    "an unknown account": (
        "watches:\n- {name: a, type: importexport.job, jobs: [E], account: prood}\n",
        [(2, "account", "known: default")],
    ),
    "an unknown sink in a route": (
        "sinks:\n  audit: {type: log}\nroutes:\n- sinks: [audti]\n",
        [(4, "routes[0].sinks[0]", "audit")],
    ),
    "an unreadable secret": (
        "sinks:\n  a: {type: webhook, url: https://h.example/,\n   secret_files: [/nonexistent/x]}",
        [(3, "secret_files[0]", "does not name an existing file")],
    ),
    "plain http": (
        "sinks:\n  ops:\n    type: webhook\n    url: http://hooks.example.com/x\n",
        [(4, "sinks.ops.url", "allow_http")],
    ),
    "several mistakes": (
        "log: {level: loud}\nretention: never\nsinks: {ops: {type: webhok}}\n",
        [(1, "log.level", "info"), (2, "retention", "30s"), (3, "sinks.ops.type", "webhook")],
    ),
    "no YAML": ("watches: [\n", [(2, "", "")]),
    "a tab": ("watches:\n\t- name: a\n", [(2, "", "")]),
    "no map": ("- a\n- b\n", [(1, "", "watches:")]),
    "nothing": ("", [(None, "", "empty")]),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_each_mistake_is_one_line_with_its_place_and_a_remedy(tmp_path, name):
    text, mistakes = BROKEN[name]
    file = tmp_path / "monitor.yaml"
    file.write_text(text)
    code, out, err = await run("check", "--config", file, directory=tmp_path)
    assert (code, out) == (2, ""), err
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == len(mistakes), err
    for said, (line, path, hint) in zip(lines, mistakes, strict=True):
        place = f"{file}:{line}: " if line else f"{file}"
        assert said.startswith(f"error: {place}"), said
        assert path in said
        assert hint in said
        assert re.search(r"\(.+\)$", said), f"no remedy: {said}"


SEVEN = """\
retentoin: 30d
watches:
- name: packages
  type: panorama.package-import
  regions: [us-east-1]
  discover: true
  interval: soon
- name: disks
  type: importexport.job
  jobs: [EX1ID, not an id!]
  account: prood
- type: importexport.job
  jobs: [EX2ID]
sinks:
  ops:
    type: webhook
    url: https://hooks.example.com/x
    timeout: 5s
    secret_files: [/nonexistent/hook]
  audit: {type: log}
routes:
- sinks: [ops, audit, audti]
"""


@pytest.mark.parametrize("command", ["check", "run"])
async def test_all_mistakes_of_shape_are_told_at_once_and_then_all_others(tmp_path, command):
    file = tmp_path / "monitor.yaml"

    async def told(text):
        file.write_text(text)
        code, out, err = await run(command, "--config", file, directory=tmp_path)
        assert (code, out) == (2, "")
        return [line.removeprefix(f"error: {file}:").split(": ")[:2] for line in err.splitlines()]

    assert await told(SEVEN) == [
        ["1", "retentoin"],
        ["7", "watches[0].interval"],
        ["12", "watches[2].name"],
    ]
    repaired = SEVEN.replace("retentoin", "retention").replace("soon", "5m")
    assert await told(
        repaired.replace("- type: importexport", "- name: more\n  type: importexport")
    ) == [
        ["10", "watches[1].jobs[1]"],
        ["11", "watches[1].account"],
        ["20", "sinks.ops.secret_files[0]"],
        ["23", "routes[0].sinks[2]"],
    ]


async def test_warnings_are_told_beside_mistakes(tmp_path):
    file = tmp_path / "monitor.yaml"
    file.write_text("sinks:\n  audit: {type: log}\nroutes:\n- sinks: [audti]\n")
    code, out, err = await run("check", "--config", file, directory=tmp_path)
    assert (code, out) == (2, "")
    assert [line.split(":")[0] for line in err.splitlines()] == ["warning", "warning", "error"]
    assert f"warning: {file}:2: sinks.audit: no route uses this sink" in err


async def test_a_file_that_is_not_there_is_named(tmp_path):
    code, out, err = await run("check", "-c", tmp_path / "no.yaml", directory=tmp_path)
    assert (code, out) == (2, "")
    assert err == (
        f"error: {tmp_path}/no.yaml: cannot be read: no such file or directory"
        " (check the path and its permissions)\n"
    )


async def test_a_mistake_in_the_environment_names_the_variable(tmp_path):
    file = ROOT / "config" / "minimal.yaml"
    code, _, err = await run("check", "-c", file, directory=tmp_path, JOB_MONITOR_RETENTION="ever")
    assert code == 2
    assert "JOB_MONITOR_RETENTION" in err
    assert len(err.splitlines()) == 1


async def test_many_mistakes_fill_no_more_than_a_screen(tmp_path):
    file = tmp_path / "monitor.yaml"
    file.write_text("".join(f"unknown_{number}: 1\n" for number in range(60)))
    code, _, err = await run("check", "-c", file, directory=tmp_path)
    assert code == 2
    assert len(err.splitlines()) <= 24
    assert "more" in err.splitlines()[-1]


ROUTED = """
watches:
- {name: disks, type: importexport.job, discover: true}
sinks: {ops: {type: log}, audit: {type: log}}
routes:
- {match: {phase: [failed, expired]}, sinks: [ops], continue: true}
- {match: {labels: {team: nobody}}, sinks: [ops]}
- {match: {state: "AtAWS/*"}, sinks: [audit]}
"""


async def test_it_tells_which_way_every_kind_of_event_goes(tmp_path):
    file = tmp_path / "monitor.yaml"
    file.write_text(ROUTED)
    code, out, err = await run("check", "-c", file, directory=tmp_path)
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == (
        f"warning: {file}:7: routes[1]: matches no event of any watch (correct its match)"
    )
    assert "routes of disks:" in lines
    assert "job.discovered waiting, running, unknown -> no sink" in lines
    assert (
        "first sight: jobs that the first complete sweep finds are recorded, not sent;"
        " a job that has already ended when a later poll finds it is sent like any other change"
    ) in lines
    assert any(line.endswith("failed, expired -> ops, (audit)") for line in lines)
    assert "source.unavailable, source.recovered - -> no sink" in lines
    code, out, _ = await run("check", "-c", file, "-o", "json", directory=tmp_path)
    ways = {(row["kind"], row["phase"]): row["sinks"] for row in json.loads(out)["routes"]}
    assert ways["job.state_changed", "failed"] == [
        {"sink": "ops", "certain": True},
        {"sink": "audit", "certain": False},
    ]


async def test_a_store_that_cannot_be_there_is_a_warning(tmp_path):
    file = tmp_path / "monitor.yaml"
    watch = "watches: [{name: w, type: importexport.job, discover: true}]\n"
    file.write_text(f"{watch}store: sqlite://{tmp_path}/none/state.db\n")
    line = (
        f"warning: {file}:2: store: {tmp_path}/none/state.db: its directory does not exist"
        f" (make it: mkdir -p {tmp_path}/none; or name another path)"
    )
    code, out, err = await run("check", "-c", file, directory=tmp_path)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == line
    code, out, err = await run("check", "-c", file, "--strict", directory=tmp_path)
    assert (code, err) == (1, "error: 1 warning, and --strict allows none\n")
    assert out.splitlines()[0] == line
    (tmp_path / "none").mkdir()
    assert (await run("check", "-c", file, "--strict", directory=tmp_path))[0] == 0


async def test_nothing_watched_is_a_warning_that_strict_does_not_pass(tmp_path):
    file = tmp_path / "monitor.yaml"
    file.write_text(f"sinks: {{a: {{type: log}}}}\nstore: sqlite://{tmp_path}/state.db\n")
    code, out, _ = await run("check", "-c", file, directory=tmp_path)
    assert code == 0
    assert f"warning: {file}:1: watches: nothing is watched (add a watch)" in out
    assert (await run("check", "-c", file, "--strict", directory=tmp_path))[0] == 1


async def test_it_says_what_is_kept_though_the_model_marks_it_as_sensitive(tmp_path):
    file = tmp_path / "monitor.yaml"
    file.write_text(
        "watches:\n"
        "- {name: a, type: stepfunctions.execution, regions: [us-east-1], discover: {of: all}}\n"
        "- {name: b, type: glue.job-run, regions: [us-east-1], discover: {of: all}}\n"
    )
    code, out, _ = await run("check", "-c", file, directory=tmp_path)
    assert code == 0
    assert out.count("keeps error, which AWS marks as sensitive") == 1
