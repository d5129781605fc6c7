from __future__ import annotations

import pytest
from botocore.model import ServiceModel

from monitor.sources import jmespath_check

MODEL = ServiceModel(
    {
        "metadata": {},
        "operations": {},
        "shapes": {
            "Answer": {
                "type": "structure",
                "members": {
                    "Status": {"shape": "Text"},
                    "Token": {"shape": "Hidden"},
                    "Jobs": {"shape": "Jobs"},
                    "Tags": {"shape": "Tags"},
                    "Vault": {"shape": "Vault"},
                },
            },
            "Jobs": {"type": "list", "member": {"shape": "Job"}},
            "Job": {
                "type": "structure",
                "members": {
                    "Id": {"shape": "Text"},
                    "Password": {"shape": "Hidden"},
                    "Parent": {"shape": "Job"},
                },
            },
            "Tags": {"type": "map", "key": {"shape": "Text"}, "value": {"shape": "Text"}},
            "Vault": {"type": "map", "key": {"shape": "Text"}, "value": {"shape": "Hidden"}},
            "Text": {"type": "string"},
            "Hidden": {"type": "string", "sensitive": True},
        },
    }
)
ANSWER = MODEL.shape_for("Answer")
SECRETS = jmespath_check.sensitive(ANSWER)


@pytest.mark.parametrize(
    "text",
    [
        "Status",
        "Jobs[].Id",
        "Jobs[0].Id",
        "Jobs[-1:].Id",
        "Jobs[*].Parent.Parent.Id",
        "Jobs[?Id == 'x'].Id | [0]",
        "Tags.anything",
        "length(Jobs)",
        "join('/', Jobs[].Id)",
        "Status || Jobs[0].Id",
        "Status && 'x' || `null`",
        "[Status, Jobs[0].Id]",
        "{a: Status}",
        "Tags.*",
        "!Status",
        "sort_by(Jobs[].{i: Id}, &i)",
    ],
)
def test_a_good_expression_has_no_problem_and_no_secret(text):
    reading = jmespath_check.check(text, ANSWER)

    assert reading.problems == []
    assert not reading.reads_any(SECRETS)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Statsu", 'did you mean "Status"?'),
        ("Jobs[].Idd", 'did you mean "Id"?'),
        ("Jobs[?Iid == 'x'].Id", 'did you mean "Id"?'),
        ("join('/', Jobs[].Idd)", 'did you mean "Id"?'),
        ("Status && Statsu", "Statsu"),
        ("Jobs.Id", "write [] after it"),
        ("Status.Id", "a single value"),
        ("Status[0]", "a list is read"),
    ],
)
def test_a_misread_member_is_a_problem(text, problem):
    assert problem in " ".join(jmespath_check.check(text, ANSWER).problems)


@pytest.mark.parametrize(
    "text",
    [
        "Token",
        "Jobs[].Password",
        "Jobs[0]",
        "Jobs",
        "@",
        "to_string(@)",
        "values(@)",
        "*",
        "Jobs[].Parent",
        "Status || Token",
        "Jobs[0] || Status",
        "Token && Status",
        "Token == 'x'",
        "{a: Token}",
        "[Jobs]",
        "join('', Jobs[].Password)",
        "Jobs[?Password == 'x'].Id",
        "Vault.x",
        "Vault.*",
        "merge(Jobs[0], Jobs[1])",
    ],
)
def test_a_secret_cannot_be_read_in_any_way(text):
    assert jmespath_check.check(text, ANSWER).reads_any(SECRETS)


def test_every_secret_has_a_path():
    paths = set(jmespath_check.paths(ANSWER, SECRETS))

    assert paths == {'"Token"', '"Jobs"[]."Password"', '"Vault"'}


def test_an_expression_that_is_none_is_told_in_one_line():
    with pytest.raises(ValueError, match=r"^not a JMESPath expression: [^\n]+$"):
        jmespath_check.parse("Jobs[")


def test_a_suggestion_is_the_nearest_name_or_all_of_them():
    assert jmespath_check.suggestion("statsu", ["Status", "status"]) == 'did you mean "status"?'
    assert jmespath_check.suggestion("x", ["b", "a"]) == "known: a, b"
