from pathlib import Path

import pytest
import yaml

from monitor import config, validation
from monitor.config import docstrings, reference_docs, schema
from monitor.sources.loader import load_job_types

ROOT = Path(__file__).parents[3]
OTHERS = {"web.yaml", "tests"}
"""What is an example of another file than the configuration."""
EXAMPLES = sorted(
    path
    for path in (ROOT / "config").iterdir()
    if not path.name.startswith(".") and path.name not in OTHERS
)


@pytest.fixture(scope="module")
def job_types():
    return load_job_types(None)


def copied(example, target):
    """Copy an example, with its secrets' directory replaced by one that exists."""
    secrets = target / "secrets"
    secrets.mkdir()
    for name in ("external-id", "hook", "hook-authorization", "api-token", "database"):
        (secrets / name).write_text("whsec_c2VjcmV0c2VjcmV0", "utf-8")
    for file in config.files([example]):
        text = file.read_text("utf-8").replace("/run/secrets", str(secrets))
        (target / file.name).write_text(text, "utf-8")
    return target


def test_there_are_examples():
    assert {path.name for path in EXAMPLES} >= {"minimal.yaml", "full.yaml", "conf.d"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_a_configuration_without_mistake_or_warning(example, tmp_path, job_types):
    settings = config.load([copied(example, tmp_path)], {})
    assert validation.problems(settings, job_types) == []
    assert settings.watches


def test_the_full_example_has_every_key():
    tree = yaml.safe_load((ROOT / "config/full.yaml").read_text("utf-8"))
    given = set(_keys(tree))
    for path, section in schema.every_section():
        for key in schema.fields(section):
            assert key in given, f"{path}.{key}"


def _keys(value):
    if isinstance(value, dict):
        yield from value
        for item in value.values():
            yield from _keys(item)
    if isinstance(value, list):
        for item in value:
            yield from _keys(item)


def test_the_reference_is_that_of_the_settings():
    document = (ROOT / "docs/configuration.md").read_text("utf-8")
    renewed = reference_docs.renewed(document)
    assert document == renewed, "run: python -m monitor.config.reference_docs docs/configuration.md"


def test_every_setting_says_what_it_means():
    for path, section in schema.every_section():
        assert {*section.model_fields} - docstrings.of_fields(section).keys() <= {"type"}, path


def test_the_examples_in_the_documentation_are_configurations(tmp_path, job_types):
    document = (ROOT / "docs/configuration.md").read_text("utf-8")
    blocks = [block.split("```")[0] for block in document.split("```yaml\n")[1:]]
    assert blocks
    for block in blocks:
        path = tmp_path / "a.yaml"
        path.write_text(block, "utf-8")
        assert validation.problems(config.load([path], {}), job_types) == []
