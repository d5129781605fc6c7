"""The dashboards against Grafana's own types, by the TypeScript compiler."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy import shipped

TYPES = Path(__file__).parent / "dashboard.ts"
OPTIONS = {
    "compilerOptions": {
        "strict": True,
        "noEmit": True,
        "skipLibCheck": True,
        "module": "esnext",
        "moduleResolution": "bundler",
        "target": "es2022",
        "types": [],
    }
}

each_board = pytest.mark.parametrize("path", shipped.BOARDS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def modules():
    """Where npm put the compiler and @grafana/schema; absent in CI is a failure, else a skip."""
    folder = Path(os.environ.get("TEST_GRAFANA_SCHEMA") or shipped.ROOT / ".node") / "node_modules"
    wanted = (folder / ".bin" / "tsc", folder / "@grafana" / "schema" / "package.json")
    if shutil.which("node") is None or not all(each.exists() for each in wanted):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "there is no @grafana/schema with typescript; .ci/run installs them"
        )
    return folder


@pytest.fixture
def complaints(modules, tmp_path):
    """Return what the compiler has to say of the JSON text of a dashboard."""
    shutil.copy(TYPES, tmp_path)
    (tmp_path / "tsconfig.json").write_text(json.dumps(OPTIONS))
    (tmp_path / "node_modules").symlink_to(modules)

    def compile_(text):
        head = "import type { Board } from './dashboard';\nexport default "
        (tmp_path / "board.ts").write_text(f"{head}{text.strip()} satisfies Board;\n")
        command = [modules / ".bin" / "tsc", "--project", tmp_path]
        found = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False
        )
        return found.stdout + found.stderr if found.returncode else ""

    return compile_


@each_board
def test_a_dashboard_is_what_grafana_takes(complaints, path):
    assert complaints(path.read_text()) == ""


@each_board
def test_it_is_of_the_schema_that_the_types_are_of(modules, path):
    defaults = modules / "@grafana" / "schema" / "dist" / "esm" / "raw" / "dashboard" / "x"
    text = (defaults / "types.gen.mjs").read_text()
    versions = re.findall(r"schemaVersion: (\d+)", text)
    assert [str(shipped.board(path)["schemaVersion"])] == versions


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('"colorMode": "background"', '"colorMode": "loud"'),
        ('"graphMode"', '"graphMod"'),
        ('"fillOpacity"', '"fillOpactiy"'),
        ('"noValue"', '"noValu"'),
        ('"cellHeight": "sm"', '"cellHeight": "small"'),
        ('"custom.cellOptions"', '"custom.celOptions"'),
        ('"uid": "${datasource}"', '"uid": "P1234"'),
        ('"expr"', '"query"'),
        ('"type": "stat"', '"type": "singlestat"'),
    ],
)
def test_a_mistake_in_a_dashboard_is_noticed(complaints, right, wrong):
    text = (shipped.GRAFANA / "dashboards" / "job-monitor-overview.json").read_text()
    assert right in text
    assert "board.ts" in complaints(text.replace(right, wrong, 1))
