"""The member of an answer that holds the state, and the phases of its values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from botocore.model import ListShape

from monitor.sources.drafts.shapes import walk
from monitor.sources.drafts.words import guess, singular, stated, words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.model import OperationModel, Shape

    from monitor.model import Phase
    from monitor.sources.drafts.shapes import Place
    from monitor.sources.drafts.words import Words

STATE_WORDS = ("status", "state", "lifecycle")
_NEUTRAL = frozenset((*STATE_WORDS, "code", "current", "last", "overall"))
_OTHER_STATES = frozenset(
    (
        *("secondary", "previous", "desired", "target", "health", "update", "billing", "sub"),
        *("encryption", "policy", "old", "new", "goal", "failover", "publishing", "connection"),
    )
)
"""Words of a state that is not that of the job as a whole."""
_WRAPS = ("detail", "summary", "info", "information", "description", "property", "result")
"""Words of a structure that holds the job as a whole."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a waiter knows of an operation: it overrules every guess."""

    path: tuple[str, ...] = ()
    """The members on the way to the state."""
    states: Mapping[str, tuple[Phase, str]] = field(default_factory=dict)
    """State → its phase, and a mark where that must still be confirmed."""
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find(operation: OperationModel, nouns: Words, given: tuple[str, ...]) -> Place | None:
    """Return the place of the text that most likely is the state of the job.

    It is the one at the path ``given``, if the answer has that.
    """
    best: tuple[int, Place | None] = (0, None)
    for place in walk(operation.output_shape, 4):
        if place[-1][1].type_name != "string":
            continue
        is_given = tuple(name for name, _ in place) == given
        score = 100 if is_given else _score(place, operation.name, nouns)
        if score > best[0]:
            best = score, place
    return best[1]


def phases(
    shape: Shape | None, verdicts: Verdicts
) -> tuple[dict[str, tuple[Phase, str]], list[str]]:
    """Return the phase and the mark of every state that is known, and what to say of them.

    The model's enum names the states; without one, the waiter and the prose of the model do.
    """
    known = list(getattr(shape, "enum", ()))
    prose = [] if known or shape is None else stated(shape)
    notes = list(verdicts.notes)
    if shape is not None and not known:
        where = "its text names these" if prose else "add those of the documentation"
        notes.append(f"the model does not list the states: {where}")
    unknown = [state for state in verdicts.states if known and state not in known]
    notes += (f'left out: the waiter knows "{state}", the model does not' for state in unknown)
    made: dict[str, tuple[Phase, str]] = {}
    for state in dict.fromkeys([*known, *(verdicts.states if not known else ()), *prose]):
        phase, sure = guess(state)
        mark = "confirm: by its name" if sure else "confirm: its name says nothing known"
        made[state] = verdicts.states.get(state, (phase, mark))
    return made, notes


def _score(place: Place, operation: str, nouns: Words) -> int:
    """Return how much a text looks like the state of what the operation reads; 0 is not."""
    name, shape = place[-1]
    own, above = words(name), place[:-1]
    if own in (("code",), ("name",), ("value",)) and above:
        own = words(above[-1][0])  # such as status.code
        own = own if own[-1] in STATE_WORDS else ("none",)
    if own[-1] not in STATE_WORDS and own[-2:] != ("status", "code"):
        return 0
    values = getattr(shape, "enum", ())
    meant = {guess(one)[0] for one in values if guess(one)[1]}
    ends = any(phase.terminal for phase in meant)
    related = {*nouns, "job"}
    qualifiers = set(own) - _NEUTRAL
    score = 12 + (8 if values else 0) + (4 if ends and len(meant) > 1 else 0)
    score -= 6 if values and not ends else 0
    score += 4 if qualifiers <= related else -10
    score -= 10 if qualifiers & _OTHER_STATES else 0
    lists = sum(isinstance(one, ListShape) for _, one in above)
    score -= 2 * max(len(above) - 1, 0) + 3 * max(lists - 1, 0)
    called = words(operation)
    if lists and called == singular(called) and "batch" not in called:
        score -= 5  # a list in the answer about one job is of what that is made of
    for holder, _ in above:
        inside = {*singular(words(holder))} - {*STATE_WORDS, *_WRAPS}
        score += 2 if not inside or inside & related else -12
        score -= 10 if inside & _OTHER_STATES else 0
    return max(score, 1)
