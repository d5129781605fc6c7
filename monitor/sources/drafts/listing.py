"""The listing of a drafted job type, and that of the parents that it is sent for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from botocore.model import ListShape, Shape

from monitor.sources import jmespath_check
from monitor.sources.drafts.shapes import (
    SAME_WORDS,
    best_id,
    creation_time,
    operation_words,
    optional,
    path_of,
    takes_text,
    walk,
)
from monitor.sources.drafts.words import likeness, singular, split_id, words
from monitor.sources.jmespath_check import Many

if TYPE_CHECKING:
    from collections.abc import Sequence

    from botocore.model import OperationModel, ServiceModel

    from monitor.sources.drafts.shapes import Subject
    from monitor.sources.inference import Paginators

_LISTS = re.compile(r"(?:List|Describe|Get|Search)[A-Z]")
_SINCE = re.compile(
    r"(?:by_)?(?:creation|created?|submit|submitted|submission)(?:_(?:date|time|at|on))*"
    r"_(?:after|since|from)(?:_time)?|(?:submitted|created)_after_time"
)
"""Parameters that filter by the time of creation and by nothing else."""


class Listings:
    """Looks for the operation that lists the jobs of a draft."""

    def __init__(self, service: ServiceModel, paginators: Paginators) -> None:
        """Take the model of the service, and its paginators."""
        self._service = service
        self._paginators = paginators

    def find(self, subject: Subject) -> tuple[dict[str, Any] | None, list[str]]:
        """Return the listing of a draft, and what must be said of it."""
        notes: list[str] = []
        for operation in self._candidates(subject):
            found, why = self._listing(operation, subject)
            if found is not None:
                return found, self._optional(operation, found)
            notes.append(f"{operation.name} cannot list them: {why}")
        nothing = "the model has no operation that lists these jobs"
        remedy = "write list: {operation: …}; without it only named jobs are watched"
        return None, [*(notes[:3] or [nothing]), remedy]

    def parents(self, parent: str, param: str) -> dict[str, Any] | None:
        """Return the request that lists the parents that fill a parameter, if there is one."""
        core, _ = split_id(param)
        # A List is cheaper than a Describe of everything, and often gives the names alone.
        names = sorted(self._service.operation_names, key=lambda name: not name.startswith("List"))
        for name in names:
            operation = self._service.operation_model(name)
            nouns = operation_words(name)
            if not _lists_many(name) or nouns != (core or singular(words(parent))):
                continue
            rows, shape = self._rows(operation)
            shown = operation.input_shape
            if rows is None or (shown is not None and shown.required_members):
                continue
            if shape is not None and shape.type_name == "string":
                return {"operation": name, "items": rows}
            score, path = best_id(param, shape, frozenset(nouns))
            if score and path:
                return {"operation": name, "items": f"{rows}[].{path}"}
        return None

    def _candidates(self, subject: Subject) -> list[OperationModel]:
        """Return the operations whose name says that they list these jobs, best first."""
        scored = []
        # The parameter may name what is listed more exactly: an image's build version.
        core, _ = split_id(subject.params[subject.own]) if subject.own else ((), None)
        for name in self._service.operation_names:
            nouns = operation_words(name)
            score = 0
            if name == subject.operation:
                score = 9
            elif nouns == core and len(core) > len(subject.nouns):
                score = 13
            elif nouns == subject.nouns:
                score = 12 if name.startswith("List") else 10
            elif nouns[: len(subject.nouns)] == subject.nouns and "for" in nouns:
                score = 7
            elif len(nouns) > 1 and subject.nouns[: len(nouns)] == nouns:
                score = 5
            elif subject.nouns[-1:] == nouns or nouns[-len(subject.nouns) :] == subject.nouns:
                score = 3
            if score and _lists_many(name):
                scored.append((score, name))
        scored.sort(key=lambda one: (-one[0], one[1]))
        return [self._service.operation_model(name) for _, name in scored]

    def _rows(self, operation: OperationModel) -> tuple[str | None, Shape | None]:
        path = self._paginators.items(operation)
        gives = jmespath_check.check(path, operation.output_shape).gives if path else None
        if isinstance(gives, Many):
            return path, gives.of
        return (path, gives.member) if isinstance(gives, ListShape) else (None, None)

    def _listing(
        self, operation: OperationModel, subject: Subject
    ) -> tuple[dict[str, Any] | None, str]:
        """Return the listing by one operation, or why there is none."""
        rows, shape = self._rows(operation)
        if rows is None or shape is None:
            return None, "the model does not say what its rows are"
        given = operation.input_shape.members if operation.input_shape else {}
        needs = list(operation.input_shape.required_members) if operation.input_shape else []
        row, lacking = self._row(shape, subject)
        if not needs and lacking:
            # A parameter that may be left out says whose jobs are listed as well.
            needs = [
                name
                for name in given
                if any(
                    likeness(subject.params[part], name, frozenset()) >= SAME_WORDS
                    for part in lacking
                )
            ]
        if len(needs) > 1:
            return None, f"it requires {', '.join(needs)}"
        listing: dict[str, Any] = {"operation": operation.name}
        params: dict[str, Any] = {}
        if needs:
            if not takes_text(given[needs[0]]):
                return None, f"it requires {needs[0]}"
            parent = self._parent(needs[0], subject)
            slot = f"{{{parent}}}"
            listing["of"] = parent
            params[needs[0]] = [slot] if isinstance(given[needs[0]], ListShape) else slot
            lacking = [part for part in lacking if part != parent]
            row.pop(parent, None)
        if lacking:
            return None, f"its rows do not show {', '.join(lacking)}"
        params |= _since(operation.input_shape)
        if params:
            listing["params"] = params
        if row:
            listing["row"] = row
        return listing, ""

    def _parent(self, param: str, subject: Subject) -> str:
        """Return the name of the parent that fills a parameter: a part of the id, or a new one."""
        for part, known in subject.params.items():
            if part != subject.own and likeness(known, param, frozenset()) >= SAME_WORDS:
                return part
        core, _ = split_id(param)
        name = "_".join(core) or "_".join(words(param))
        return f"{name}_parent" if name in subject.parts else name

    def _row(self, shape: Shape, subject: Subject) -> tuple[dict[str, Any], list[str]]:
        """Return where a row differs from an item, and the parts of the id that it lacks."""
        if shape.type_name == "string":
            return {}, [part for part in subject.parts if part != subject.own]
        row: dict[str, Any] = {}
        lacking = []
        for part, path in subject.parts.items():
            if path and _reads(path, shape, ("string",)):
                continue
            nouns = frozenset(subject.nouns if part == subject.own else ())
            score, found = best_id(subject.params[part], shape, nouns)
            if path and not score:
                score, found = best_id(path.rpartition(".")[2], shape, nouns)
            # A name never stands for an ARN, though the parameter may take either.
            alike = found and (not path or split_id(found)[1] == split_id(path)[1])
            # A plain Id or Name of a row is that of the job, never of its parent.
            if alike and (part == subject.own or score >= SAME_WORDS):
                row[part] = found
            else:
                lacking.append(part)
        if subject.state is not None:
            path, state = subject.state
            values = set(getattr(state, "enum", ()))
            fits = _reads(path, shape, ("string",))
            gives = jmespath_check.check(path, shape).gives if fits else None
            if not fits or set(getattr(gives, "enum", ())) - values:
                # Only a member of the same states shows the state; another one is something else.
                same = (
                    path_of(place)
                    for place in walk(shape, 2)
                    if place[-1][1].type_name == "string"
                    and not any(isinstance(one, ListShape) for _, one in place)
                    and values
                    and set(getattr(place[-1][1], "enum", ())) == values
                )
                found = next(same, None)
                if found or fits:
                    row["state"] = found
        created = subject.created_at
        if created and not _reads(created, shape, ()) and (found := creation_time(shape)):
            row["created_at"] = found
        return row, lacking

    def _optional(self, operation: OperationModel, listing: dict[str, Any]) -> list[str]:
        """Name the parameters that may be left out, among which one may have to be given."""
        params = listing.get("params", {})
        free = optional(operation.input_shape, params)
        prose = " ".join(re.sub("<[^>]+>", "", operation.documentation).split())
        asks = re.search(r"[Yy]ou (?:must|can) specify (?:only one|either|one)", prose)
        notes = [free] if free else []
        if free and not params and asks:
            notes.append("confirm: its documentation asks for one of these; write it into params")
        _, row = self._rows(operation)
        if row is not None and row.type_name == "string":
            notes.append("confirm: each row is a text alone, which must be the id")
        return notes


def _lists_many(operation: str) -> bool:
    """Return whether an operation is named as one that lists: in the plural."""
    called = words(operation)
    return _LISTS.match(operation) is not None and called != singular(called)


def _since(shape: Shape | None) -> dict[str, Any]:
    """Return the parameter that surely filters by the time of creation, if there is one."""
    for place in walk(shape, 2):
        plain = not any(isinstance(one, ListShape) for _, one in place)
        whole = not any(getattr(one, "required_members", ()) for _, one in place[:-1])
        name, member = place[-1]
        dated = member.type_name == "timestamp" and _SINCE.fullmatch("_".join(words(name)))
        if plain and whole and dated:
            value: Any = "{since}"
            for key, _ in reversed(place[1:]):
                value = {key: value}
            return {place[0][0]: value}
    return {}


def _reads(path: str, shape: Shape, types: Sequence[str]) -> bool:
    """Return whether a path of an item reads one value of these types of a row, too."""
    reading = jmespath_check.check(path, shape)
    found = isinstance(reading.gives, Shape) and (not types or reading.gives.type_name in types)
    return found and not reading.problems
