"""Every block of YAML in the documents is what it claims to be: settings, a job type, or values."""

import re
import shutil
import sys

import anyio
import pytest
import yaml

from monitor import config, validation
from monitor.aws import service_models
from monitor.errors import ConfigurationError
from monitor.sources.loader import load_job_type, load_job_types
from monitor.tools import config_test, config_test_file
from tests.contracts import foreign_rigs
from tests.docs import pages

SETTINGS = (
    "README.md",
    "docs/configuration.md",
    "docs/hints.md",
    "docs/metrics.md",
    "docs/operations.md",
    "docs/sinks.md",
    "deploy/iam/README.md",
)
TYPES = "docs/job-types.md"
TESTS = "docs/testing-configuration.md"
VALUES = "docs/kubernetes.md"
"""Installed in test_cluster.py, as they stand."""
WATCH = {"name": "a", "type": "importexport.job", "jobs": ["EX1ID"], "labels": {"team": "vision"}}


def blocks(name):
    return re.findall(
        r"^```yaml\n(.*?)^```$", (pages.ROOT / name).read_text(), re.MULTILINE | re.DOTALL
    )


def is_watches(text):
    return text.startswith("watches:")


EXAMPLES = [
    *((name, text) for name in SETTINGS for text in blocks(name)),
    *((TYPES, text) for text in blocks(TYPES) if is_watches(text)),
]


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Install the sink that the page on sinks shows."""
    (tmp_path / "site").mkdir()
    foreign_rigs.install(tmp_path / "site", monkeypatch)
    yield
    sys.modules.pop("example_sink", None)


def problems(text, directory):
    """Return what is wrong with settings, to which is added what they cannot do without."""
    secrets = directory / "secrets"
    secrets.mkdir()
    for name in set(re.findall(r"/run/secrets/([\w-]+)", text)):
        (secrets / name).write_text("whsec_c2VjcmV0c2VjcmV0c2VjcmV0")
    lacking = {"watches": [WATCH], "sinks": {"audit": {"type": "log"}}}
    given = yaml.safe_load(text)
    added = [yaml.safe_dump({key: value}) for key, value in lacking.items() if key not in given]
    file = directory / "a.yaml"
    file.write_text("".join([text.replace("/run/secrets", str(secrets)), *added]))
    return validation.problems(config.load([file], {}), load_job_types(None))


def test_no_block_is_left_out():
    found = {pages.name(page) for page in pages.documents() if blocks(pages.name(page))}
    assert found == {*SETTINGS, TYPES, TESTS, VALUES}


@pytest.mark.parametrize(
    ("name", "text"), EXAMPLES, ids=[f"{name}-{n}" for n, (name, _) in enumerate(EXAMPLES)]
)
def test_settings_are_without_mistake_or_warning(name, text, plugin, tmp_path):
    assert problems(text, tmp_path) == []


def test_a_mistake_would_be_noticed(tmp_path):
    with pytest.raises(ConfigurationError, match="max_jobs: must be"):
        problems("metrics: {per_job: true, max_jobs: 0}\n", tmp_path)


def test_job_types_and_parts_of_one_are_good(tmp_path):
    whole = [text for text in blocks(TYPES) if text.startswith("name:")]
    parts = [text for text in blocks(TYPES) if text not in whole and not is_watches(text)]
    assert whole
    assert parts
    for text in (*whole, *(with_part(whole[0], part) for part in parts)):
        path = tmp_path / "own.yaml"
        path.write_text(text)
        assert load_job_type(path, service_models.loader({})).name


def with_part(text, part):
    return yaml.safe_dump(yaml.safe_load(text) | yaml.safe_load(part), sort_keys=False)


def test_the_messages_of_lint_are_those_that_are_shown(tmp_path):
    (example,) = [text for text in blocks(TYPES) if text.startswith("name: batch.job")]
    shown = (pages.ROOT / TYPES).read_text().partition("```text\n")[2].partition("```")[0]
    path = tmp_path / "batch.yaml"
    path.write_text(example.replace(", RUNNABLE", "").replace(": createdAt", ": createAt"))
    with pytest.raises(ConfigurationError) as caught:
        load_job_type(path, service_models.loader({}))
    said = "".join(f"error: {problem}\n" for problem in caught.value.problems)
    assert said.replace(f"{tmp_path}/", "") == shown


def test_the_configuration_test_passes(tmp_path):
    (text,) = blocks(TESTS)
    (tmp_path / "tests").mkdir()
    shutil.copy(pages.ROOT / "config/slack.yaml", tmp_path / "job-monitor.yaml")
    (tmp_path / "tests/a.yaml").write_text(text)
    (case,) = config_test_file.load([tmp_path / "tests"], {})
    assert anyio.run(config_test.run, case).differences == []
