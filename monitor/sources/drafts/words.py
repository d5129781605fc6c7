"""The words in the names of a service's model: what a state means, and which member is an id."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from monitor.model import Phase

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Set as AbstractSet

    from botocore.model import Shape

Words = tuple[str, ...]

_ID_KINDS = {"identifier": "id", "id": "id", "arn": "arn", "name": "name"}
_PREFERENCE = {"id": 3, "arn": 2, "name": 1}
"""The kind of id that is read where a parameter takes several."""

_NOT_FOUND = re.compile(r"not_?found|no_such|does_?not_exist|not_exist|nonexist|unknown_resource")
_TAG = re.compile("<[^>]+>")

_QUEUED = (
    "queued queueing queuing pending submitted waiting accepted scheduled runnable requested"
    " received awaiting deferred new initial paused suspended"
)
_CANCELED = (
    "canceled cancelled stopped aborted terminated deleted removed withdrawn skipped inactive"
    " disabled archived deprecated closed superseded"
)
_SUCCEEDED = (
    "succeeded succeed success successful complete completed finished done available active ready"
    " ok enabled deployed published passed issued approved healthy created updated imported"
    " exported installed attached associated idle"
)


def _any_of(listed: str) -> str:
    return rf".*\b(?:{'|'.join(listed.split())})\b"


_STATES = (
    (Phase.RUNNING, r".*\b(?:in ?progress|(?:pending|requested) (?:stop|cancel\w*|delet\w*))"),
    (Phase.RUNNING, r".*\b(?:stop|cancel|abort|delete|terminate) (?:pending|requested|submitted)"),
    (Phase.SUCCEEDED, r"(?:complet\w+|succeeded|partial\w*) with\b|partial(?:ly)?(?! fail)\b"),
    (Phase.FAILED, r".*\b(?:failed|fail|failures?|errors?|errored|fault|faulted|unsuccessful)\b"),
    (Phase.FAILED, r".*\b(?:timed ?out|time ?out|interrupted|broken|impaired|incompatible)\b"),
    (Phase.FAILED, r".*\b(?:rollback (?:complete|completed)|rolled back|rejected|invalid)\b"),
    (Phase.EXPIRED, r".*\bexpired\b"),
    (Phase.UNKNOWN, r"unknown"),
    (Phase.WAITING, r"not (?:yet )?started|on hold"),
    (Phase.WAITING, _any_of(_QUEUED)),
    (Phase.RUNNING, r".*\b(?:\w{2,}ing|started|in ?flight|resumed)\b"),
    (Phase.CANCELED, rf"(?:delete|cancel) complete|{_any_of(_CANCELED)}"),
    (Phase.WAITING, r"created|registered"),
    (Phase.SUCCEEDED, rf"(?!not\b)(?!un){_any_of(_SUCCEEDED)}"),
)
"""The first that fits the words of a state counts: what fails in the end has failed."""

_REOPENING = re.compile(
    r"(?:updat|modify|upgrad|resiz|reboot|restart|configur|patch|maintain|scal)\w*ing\b"
    r"|update in progress|maintenance"
)


def words(name: str) -> Words:
    """Split a name such as ``FHIRImportJob`` or ``job-id`` into its words, in lower case."""
    found = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    return tuple(word.lower() for word in found)


def singular(name: Words) -> Words:
    """Return the words with the last one in the singular: ``query executions``."""
    *before, last = name or ("",)
    if last.endswith("ies"):
        last = f"{last[:-3]}y"
    elif last.endswith(("sses", "shes", "ches", "xes")):
        last = last[:-2]
    elif last.endswith("s") and not last.endswith(("ss", "us", "is")):
        last = last[:-1]
    return (*before, last) if last else ()


def split_id(name: str) -> tuple[Words, str | None]:
    """Return the words of an id's name without its kind, and the kind: id, arn, name, or none."""
    found = singular(words(name))
    kind = _ID_KINDS.get(found[-1]) if found else None
    return (found[:-1] if kind else found), kind


def likeness(param: str, member: str, nouns: AbstractSet[str]) -> int:
    """Return how surely ``member`` of an item of these ``nouns`` repeats ``param``; 0 is not.

    10 is the same name, more than 6 the same words, and less a plain ``Id`` of the item.
    """
    if singular(words(param)) == singular(words(member)):
        return 10
    wanted, wanted_kind = split_id(param)
    found, kind = split_id(member)
    loose = wanted_kind is None or singular(words(param))[-1] == "identifier"
    if kind is None or (kind != wanted_kind and not loose):
        return 0
    rank = _PREFERENCE[kind]
    if found == wanted:
        return 6 + rank
    if not found and (not wanted or not nouns or not nouns.isdisjoint(wanted)):
        return 3 + rank
    if not wanted and found[-1] in nouns:
        return 3 + rank
    ends = wanted and (found[-len(wanted) :] == wanted or wanted[-len(found) :] == found)
    return rank if ends else 0


def guess(state: str) -> tuple[Phase, bool]:
    """Return the phase that the words of a state speak for, and whether they speak at all."""
    text = " ".join(words(state))
    phase = next((phase for phase, known in _STATES if re.match(known, text)), None)
    return phase or Phase.RUNNING, phase is not None


def reopens(states: Collection[str]) -> bool:
    """Return whether the states are those of a resource that becomes busy again."""
    return any(_REOPENING.match(" ".join(words(state))) for state in states)


def stated(shape: Shape) -> list[str]:
    """Return the states that the prose of a member without an enum puts in code or a list."""
    found = re.findall(r"<code>\s*([A-Za-z][\w -]{2,40}?)\s*</code>", shape.documentation)
    named = dict.fromkeys(one for one in found if guess(one)[1])
    ends = {guess(one)[0].terminal for one in named}
    # A text that names both an open and an ended state most likely lists them all.
    return list(named) if ends == {True, False} else []


def is_not_found(code: str) -> bool:
    """Return whether an error code says by its words that something does not exist."""
    return _NOT_FOUND.search("_".join(words(code))) is not None


def most_named(shape: Shape) -> int | None:
    """Return the most elements of a list that its prose names, where the model has none."""
    text = " ".join(_TAG.sub("", shape.documentation).split())
    found = re.search(r"(?:up to|maximum of|at most|limit of) (\d+)\b", text)
    return int(found[1]) if found else None
