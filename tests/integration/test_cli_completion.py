"""Completion in real shells: the script is sourced, and Tab is pressed."""

import shutil

import pytest

from monitor import simulator
from tests.acceptance.program import configure, disks, packages, run, running, until
from tests.tmux import NEEDED, program, terminal

pytestmark = [pytest.mark.timeout(600), NEEDED]

SCENARIO = {
    "jobs": [{"id": "pkg-1", "service": "panorama"}, {"id": "EX1", "service": "importexport"}]
}
WATCHES = [
    packages(labels={"team": "vision", "owner": "ops:day"}),
    disks(labels={"team": "storage"}),
]
SHELLS = {
    "bash": (("bash", "--norc", "--noprofile", "-i"), ("source <(job-monitor completion bash)",)),
    "zsh": (
        ("zsh", "-f", "-i"),
        ("autoload -U compinit && compinit -u", "source <(job-monitor completion zsh)"),
    ),
    "fish": (
        ("fish", "--no-config", "-i"),
        (
            "set -g fish_autosuggestion_enabled 0",
            "function fish_prompt; echo -n '> '; end",
            "job-monitor completion fish | source",
        ),
    ),
}
KEY = "panorama.package-import/sim/us-east-1/pkg-1"
LINES = {
    "tran": "transitions",
    "deliveries sh": "deliveries show",
    "jobs --stu": "jobs --stuck",
    "jobs --phase fai": "jobs --phase failed",
    "types show panorama.": "types show panorama.package-import",
    "sinks resume ho": "sinks resume hook",
    "deliveries --sink=ho": "deliveries --sink=hook",
    "jobs --watch-name pa": "jobs --watch-name packages",
    "jobs -l team=vi": "jobs -l team=vision",
    "jobs -l owner=ops:d": "jobs -l owner=ops:day",
    "transitions --job panorama": f"transitions --job {KEY}",
    "wait panorama.package-import p": "wait panorama.package-import pkg-1",
    "check -c monitor.y": "check -c monitor.yaml",
}


@pytest.mark.parametrize("shell", SHELLS)
async def test_a_real_shell_completes_commands_options_and_names(tmp_path, shell):
    command, setup = SHELLS[shell]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{shell} is not installed")
    async with simulator.running(SCENARIO) as sim:
        config = configure(tmp_path, sim, watches=WATCHES)
        async with running("run", "-c", config, directory=tmp_path) as daemon:
            url = await daemon.started()
            await until(lambda: len(daemon.logged("job.transitioned")) >= len(SCENARIO["jobs"]))
            env = {"JOB_MONITOR_SERVER": url, "JOB_MONITOR_CONFIG": str(config)}
            place = {"columns": 200, "path": program(tmp_path, forked=True)}
            async with terminal(tmp_path, *command, **place, PS1="> ", **env) as window:
                for number, line in enumerate((*setup, "echo it-is-ready")):
                    await window.type(line)
                    await window.keys("Enter")
                    if number == len(setup):
                        await window.shows(lambda lines: "it-is-ready" in lines)
                await window.keys("C-l")
                for typed, wanted in LINES.items():
                    await window.type(f"job-monitor {typed}")
                    # A busy machine may not ask the daemon in time: Tab again, as people do.
                    for _ in range(5):
                        await window.keys("Tab")
                        if await window.may_show(lambda lines, w=wanted: _typed(lines, w)):
                            break
                    await window.shows(lambda lines, w=wanted: _typed(lines, w), 1)
                    await window.keys("C-u", "C-l")


def _typed(lines, wanted):
    """Whether the last line is the command, completed; bash and zsh may add a blank."""
    return any(line.endswith(f"job-monitor {wanted}") for line in lines)


@pytest.mark.parametrize("shell", SHELLS)
async def test_a_script_is_printed_as_it_ships(tmp_path, shell):
    code, out, err = await run("completion", shell, directory=tmp_path)
    assert (code, err) == (0, "")
    assert "_JOB_MONITOR_COMPLETE=complete_line" in out.replace(" complete_line", "=complete_line")


async def _names(line, directory, **env):
    asked = {"_JOB_MONITOR_COMPLETE": "complete_line", "_JOB_MONITOR_LINE": line}
    code, out, err = await run(directory=directory, anew=True, **asked, **env)
    assert (code, err) == (0, "")
    return [each.partition("\t")[0] for each in out.split("\n") if each]


async def test_nothing_disturbs_a_half_typed_line(tmp_path):
    """Neither a configuration with a mistake nor a daemon that is down, nor an open quote."""
    broken = tmp_path / "broken.yaml"
    broken.write_text("watches: [")
    env = {"JOB_MONITOR_CONFIG": str(broken), "JOB_MONITOR_SERVER": "http://127.0.0.1:9"}
    for line in ("sinks resume ", "deliveries --job x", "jobs -l ", "jobs --type 'pano"):
        found = await _names(f"job-monitor {line}", tmp_path, **env)
        assert found == (["panorama.package-import"] if "pano" in line else []), line


async def test_options_that_are_given_already_are_not_offered_again(tmp_path):
    found = await _names("job-monitor jobs --limit 3 --li", tmp_path)
    assert found == []
    found = await _names("job-monitor deliveries --s", tmp_path)
    assert found == ["--sink", "--status", "--server"]
