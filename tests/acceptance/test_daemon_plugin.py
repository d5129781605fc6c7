"""A sink from a package of somebody else, really built, installed and used by the program."""

import json
import shutil
import subprocess
import sys
from signal import SIGTERM

import pytest

from monitor import simulator
from tests import made, once
from tests.acceptance.program import ROOT, configure, disks, packages, run, running, until
from tests.contracts.sink_kit import check

pytestmark = pytest.mark.timeout(600)

SCENARIO = {
    "jobs": [{"id": "pkg", "service": "panorama"}, {"id": "EX1", "service": "importexport"}]
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Build the example and install it into a directory of its own."""

    def install(base):
        shutil.copytree(ROOT / "tests/plugins/example_sink", base / "source")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        command += ["--no-build-isolation", "--target", base / "site", base / "source"]
        subprocess.run(command, check=True, capture_output=True, timeout=120)

    base = once.made(tmp_path_factory, "plugin", install)
    return {"PYTHONPATH": made.search_path(ROOT, base / "site")}


async def test_the_program_tells_a_sink_of_an_installed_package(installed, tmp_path):
    sink = {"type": "directory", "path": str(tmp_path / "told"), "token": "planted-token"}
    routes = [{"match": {"kind": ["job.discovered", "*"]}, "sinks": ["mine"]}]
    async with simulator.running(simulator.Scenario.model_validate(SCENARIO)) as sim:
        # Named jobs are no baseline, so that their discovery is sent.
        watches = [packages(jobs=["pkg"]), disks(jobs=["EX1"])]
        file = configure(tmp_path, sim, sinks={"mine": sink}, routes=routes, watches=watches)
        code, shown, _ = await run(
            "check", "-c", file, "-o", "json", directory=tmp_path, **installed
        )
        assert code == 0
        assert "planted-token" not in shown
        async with running("run", "--config", file, directory=tmp_path, **installed) as program:
            await program.started()
            await until(lambda: len(list((tmp_path / "told/mine").glob("*.json"))) >= 2)
            code, _ = await program.stop(SIGTERM)
    assert code == 0
    assert "planted-token" not in program.err
    for event in (tmp_path / "told/mine").iterdir():
        check(json.loads(event.read_text()))


async def test_a_misspelt_setting_of_a_plug_in_is_told_with_its_line(installed, tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(
        "watches: [{name: w, type: importexport.job, jobs: [A]}]\n"
        "sinks:\n  mine:\n    type: directory\n    path: /tmp\n    tokn: planted\n"
    )
    code, _, told = await run("check", "--config", file, directory=tmp_path, **installed)
    assert code == 2
    assert told == f"error: {file}:6: sinks.mine.tokn: unknown key (known: path, token)\n"


async def test_without_the_package_its_type_is_unknown(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("sinks: {mine: {type: directory, path: /tmp}}\n")
    code, _, told = await run("check", "--config", file, directory=tmp_path)
    assert code == 2
    assert f'{file}:1: sinks.mine.type: unknown value "directory"' in told
