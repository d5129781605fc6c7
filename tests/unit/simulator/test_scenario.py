import pytest
from pydantic import ValidationError

from monitor.simulator import SCENARIOS, Scenario, ScenarioError


def load(tmp_path, text):
    file = tmp_path / "scenario.yaml"
    file.write_text(text, encoding="utf-8")
    return Scenario.load(file)


@pytest.mark.parametrize("name", ["demo", "steady", "chaos"])
def test_each_shipped_scenario_loads_by_name_and_by_path(name):
    assert Scenario.load(name) == Scenario.load(SCENARIOS / f"{name}.yaml")
    assert Scenario.load(name).name == name


def test_every_shipped_scenario_is_known():
    assert {path.stem for path in SCENARIOS.glob("*.yaml")} == {"demo", "steady", "chaos"}


def test_the_demo_shows_something_within_three_seconds():
    first = min(job.starts + job.steps[0].after for job in Scenario.load("demo").jobs)
    assert first <= 3


def test_an_empty_file_is_an_empty_scenario(tmp_path):
    assert load(tmp_path, "") == Scenario()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sped: 2", "sped: Extra inputs are not permitted"),
        ("jobs: [{id: a, service: s3}]", "jobs[0].service: Input should be 'panorama'"),
        ("jobs: [{id: a b, service: panorama}]", "jobs[0]: 'a b' is not a job id of panorama"),
        (
            "jobs: [{id: a, service: panorama, steps: [{after: 1s, set: {Statuss: X}}]}]",
            "jobs[0]: steps[0]: 'Statuss' is not a member of panorama: did you mean Status",
        ),
        (
            "jobs: [{id: a, service: panorama, steps: [{after: soon}]}]",
            "jobs[0].steps[0].after: 'soon' is not a duration",
        ),
        (
            "jobs: [{id: a, service: panorama, steps: [{error: canceled}]}]",
            "only importexport jobs end by an error",
        ),
        (
            "jobs: [{id: a, service: panorama, steps: [{vanish: true, reappear: true}]}]",
            "cannot vanish and reappear",
        ),
        ("jobs: [{id: a, service: importexport, region: eu-west-1}]", "importexport is global"),
        (
            "jobs: [{id: a, service: panorama}, {id: a, service: panorama}]",
            "named twice: job panorama/us-east-1/a",
        ),
        ("generate: [{service: panorama}]", "give count, every or both"),
        ("generate: [{service: panorama, count: 1, profile: eror}]", "'eror' is not a profile"),
        ("faults: [{kind: gone}]", "does not match any of the expected tags"),
        ("faults: [{kind: reset, every: 2, probability: 0.5}]", "exclude each other"),
        ("faults: [{kind: reset, from: 5s, until: 4s}]", "until must be later than from"),
        ("faults: [{kind: torn_page, form: empty, omit: x}]", "omit goes with form: lossy"),
        ("receivers: {a: {secrets: ['whsec_?']}}", "receivers.a.secrets: a secret is base64"),
        ("defaults: {panorama: {Nothing: 1}}", "'Nothing' is not a member of panorama"),
        ("{", "while parsing"),
        ("- a", "Input should be a valid dictionary"),
    ],
)
def test_a_mistake_is_told_with_file_and_place(tmp_path, text, message):
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert all(line.startswith(str(tmp_path)) for line in str(caught.value).splitlines())


def test_all_mistakes_are_told_at_once(tmp_path):
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path, "speed: 0\nkeep: 0")
    assert len(str(caught.value).splitlines()) == 2


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ScenarioError, match="No such file"):
        Scenario.load(tmp_path / "none.yaml")


def test_a_mistake_does_not_echo_a_secret(tmp_path):
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path, "credentials: {K: {secret: {hunter2: hunter2}}}")
    assert "hunter2" not in str(caught.value)


def test_an_account_that_yaml_reads_as_a_number_keeps_its_zeros(tmp_path):
    text = "credentials: {K: {secret: s, account: 12345678901}}"
    assert load(tmp_path, text).credentials["K"].account == "012345678901"


def test_a_dictionary_is_validated_alike():
    with pytest.raises(ValidationError):
        Scenario.model_validate({"jobs": [{"id": "a"}]})
