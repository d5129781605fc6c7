"""The archive of the chart is what Helm would pack, and the same each time."""

import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.deploy import shipped, tools
from tests.deploy.charts import CHART, helm

sys.path.insert(0, str(shipped.ROOT / "release"))

import chart

EPOCH = 1_700_000_000
CONF = """\
extends: default
rules:
  braces: {max-spaces-inside: 1}
  brackets: {max-spaces-inside: 1}
  comments: {min-spaces-from-content: 1}
  document-start: disable
  indentation: {spaces: consistent, indent-sequences: whatever}
  line-length: disable
  truthy: {check-keys: false}
"""
"""What `ct lint` of chart-testing asks of values and Chart.yaml, but for its brackets."""


@pytest.fixture
def packed(tmp_path):
    return chart.package(CHART, tmp_path, EPOCH)


def test_it_holds_what_helm_packs_and_renders_the_same(packed, tmp_path):
    (tmp_path / "helm").mkdir()
    theirs = Path(helm("package", str(tmp_path / "helm")))
    assert packed.name == theirs.name
    with tarfile.open(packed) as ours, tarfile.open(theirs) as other:
        assert ours.getnames()[0] == other.getnames()[0] == "job-monitor/Chart.yaml"
        assert set(ours.getnames()) == set(other.getnames())
        for name in set(ours.getnames()) - {"job-monitor/Chart.yaml"}:  # Helm writes it anew
            assert content(ours, name) == content(other, name), name
    values = yaml.safe_load((CHART / "ci" / "full-values.yaml").read_text("utf-8"))
    assert helm("render", values, chart=packed) == helm("render", values)


def content(archive, name):
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def test_it_says_nothing_of_when_and_by_whom_it_was_packed(packed, tmp_path):
    (tmp_path / "again").mkdir()
    again = chart.package(CHART, tmp_path / "again", EPOCH)
    assert packed.read_bytes() == again.read_bytes()
    with tarfile.open(packed) as archive:
        for member in archive:
            assert (member.mtime, member.mode, member.uid) == (EPOCH, 0o644, 0)
            assert (member.uname, member.issym()) == ("", False)


def test_chart_yaml_and_values_are_as_chart_testing_wants_them():
    """It lints them with yamllint, and wants a maintainer, a home and a version."""
    files = [CHART / "Chart.yaml", CHART / "values.yaml", *(CHART / "ci").glob("*-values.yaml")]
    assert len(files) == 4
    done = tools.run(tools.tool("yamllint"), "--strict", "--config-data", CONF, *files)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
    told = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert {"name", "home", "version", "appVersion", "description", "sources"} <= told.keys()
    assert all(each["name"] and each["url"] for each in told["maintainers"])
