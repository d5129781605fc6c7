"""The draft of a job type, made from what a service's model says of an operation.

The model names members and values, but not their meaning. So the meaning is guessed from words,
every guess is marked, and what cannot be found is said in a note instead of being invented.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore import xform_name
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.model import StructureShape
from pydantic import ValidationError

from monitor.aws import service_models
from monitor.aws.errors import normal_code
from monitor.config import similar
from monitor.errors import ConfigurationError, Problem
from monitor.sources import model_check
from monitor.sources.declaration import Declaration
from monitor.sources.drafts import request as requests
from monitor.sources.drafts import state as states
from monitor.sources.drafts.listing import Listings
from monitor.sources.drafts.shapes import (
    Subject,
    creation_time,
    is_sensitive,
    lists_in,
    operation_words,
    optional,
    path_of,
    walk,
)
from monitor.sources.drafts.state import Verdicts
from monitor.sources.drafts.words import is_not_found, reopens, words
from monitor.sources.inference import Paginators

if TYPE_CHECKING:
    from collections.abc import Iterable

    from botocore.loaders import Loader
    from botocore.model import OperationModel, ServiceModel

    from monitor.sources.drafts.request import Request

_REASON = re.compile(
    r"(?:\w+_)?(?:reason|cause)|(?:\w+_)*(?:status|state|error|failure)_(?:\w+_)?"
    r"(?:message|reason|details?|description|cause)|message|error"
)
_FIELD = re.compile(
    r"(?:\w+_)?(?:name|type)|(?:\w+_)?(?:percent\w*|progress)(?:_\w+)?"
    r"|(?:\w+_)?(?:started|start|ended|end|completed|completion|finished|stopped)"
    r"(?:_(?:time|date|at|on|timestamp))+"
)
_PROGRESS = re.compile(r"percent|progress")
_MOST_FIELDS = 5
_KEPT = ("string", "timestamp", "integer", "long", "float", "double")
"""Types of members that can be a field."""
_SHOWN = 80
"""Characters of a word that a message repeats."""


@dataclass(slots=True)
class Draft:
    """A draft: the values of a job type, and what must be said of them."""

    values: dict[str, Any] = field(default_factory=dict)
    """Key → its value; ``phases`` maps a state to its phase and its mark."""
    notes: dict[str, list[str]] = field(default_factory=dict)
    """Key → comments that stand above it, or in its place."""

    def note(self, key: str, *comments: str) -> None:
        """Add comments above a key."""
        self.notes.setdefault(key, []).extend(comments)


def service_model(models: Loader, name: str) -> ServiceModel:
    """Return the model of a service.

    Raises:
        ConfigurationError: the SDK has none; it names the nearest.
    """
    known = models.list_available_services("service-2")
    try:
        if name in known:
            return service_models.service_model(models, name)
    except (UnknownServiceError, DataNotFoundError, OSError, ValueError):
        pass
    raise _unknown("SERVICE", "service", name, known)


def draft(
    models: Loader, service: ServiceModel, operation: str, verdicts: Verdicts | None = None
) -> Draft:
    """Return the draft of a job type that polls ``operation``, in the SDK's or the CLI's spelling.

    Raises:
        ConfigurationError: the service has no such operation; it names the nearest.
    """
    names = {xform_name(name, "-"): name for name in service.operation_names}
    name = names.get(operation, operation)
    if name not in service.operation_names:
        raise _unknown("OPERATION", f"operation of {service.service_name}", name, names.values())
    drafter = _Drafter(service, service.operation_model(name), verdicts or Verdicts())
    made = drafter.run(Listings(service, Paginators(models, service.service_name)))
    for problem in _problems(made, models):
        key = re.split(r"[.\[]", problem.path)[0]
        made.note(key, f"{'warning' if problem.warning else 'not valid yet'}: {problem}")
        if key == "missing":
            # A file of waiters may be older or newer than the model.
            codes = [code for code in made.values[key] if f'"{code}"' not in problem.message]
            made.values[key] = codes
        elif key in ("list", "of") and not problem.warning:
            # Without it the draft is valid, and says what is missing.
            made.values.pop("list", None)
            made.values.pop("of", None)
    return made


def _problems(made: Draft, models: Loader) -> list[Problem]:
    """Return what ``types lint`` would say of a draft."""
    phases = made.values["phases"]
    by_phase = {
        its: [state for state, (phase, _) in phases.items() if phase is its]
        for its in {phase for phase, _ in phases.values()}
    }
    try:
        form = Declaration.model_validate({**made.values, "phases": by_phase})
        return list(model_check.checked(form, models, "").warnings)
    except ValidationError:
        return []  # the state is lacking, and a note says so
    except ConfigurationError as error:
        return list(error.problems)


def _unknown(option: str, what: str, word: str, known: Iterable[str]) -> ConfigurationError:
    message = f'unknown {what} "{word[:_SHOWN]}"'
    # Of the names that begin alike, the shortest is the nearest.
    remedy = similar(word, sorted(known, key=len))
    return ConfigurationError([Problem("", option, message, remedy)])


class _Drafter:
    """Reads one operation's model, key after key."""

    def __init__(
        self, service: ServiceModel, operation: OperationModel, verdicts: Verdicts
    ) -> None:
        self._service = service
        self._operation = operation
        self._verdicts = verdicts
        self._nouns = operation_words(operation.name)
        self._draft = Draft()

    def run(self, listings: Listings) -> Draft:
        """Return the draft."""
        draft, service = self._draft, self._service.service_name
        state = states.find(self._operation, self._nouns, self._verdicts.path)
        request = requests.find(self._operation, self._nouns, state)
        if lists_in(request.items) > 1 and not request.shows_own:
            # The states of what a job is made of, such as the routes of a table.
            state = None
            request = requests.find(self._operation, self._nouns, None)
        path = path_of(state[len(request.items) :]) if state else None
        created = creation_time(request.item)
        full = self._service.metadata.get("serviceFullName", service)
        draft.values |= {
            "name": f"{service}.{'-'.join(self._nouns) or 'job'}",
            "service": service,
            "description": f"{full} {' '.join(self._nouns)}",
            "id": dict(request.parts),
        }
        self._describe(request)
        if state and path:
            draft.values["state"] = path if re.fullmatch(r"[\w.]+", path) else {"State": path}
        else:
            draft.note(
                "state",
                "the model has no text here that is called status or state;",
                "write state: PATH, the member of the answer that changes as the job goes on",
            )
        draft.values["phases"], notes = states.phases(
            state[-1][1] if state else None, self._verdicts
        )
        draft.note("phases", *notes)
        if reopens(draft.values["phases"]):
            draft.values["reopens"] = True
            draft.note("reopens", "confirm: what has ended may become busy again")
        if created:
            draft.values["created_at"] = created
        self._texts(request, {path, created, *request.parts.values()})
        self._missing(request)
        if request.own is not None:
            shape = state[-1][1] if state else None
            subject = Subject(
                operation=self._operation.name,
                nouns=self._nouns,
                parts=request.parts,
                params=request.filling,
                own=request.own,
                state=(path, shape) if path and shape else None,
                created_at=created,
            )
            self._list(subject, listings)
        return draft

    def _describe(self, request: Request) -> None:
        """Write the request for a job, and what cannot be found of it."""
        draft, shape = self._draft, self._operation.input_shape
        describe = {"operation": self._operation.name, "params": dict(request.params)}
        if request.items_path:
            describe["items"] = request.items_path
        if str(request.items_path).endswith("[0]"):
            draft.note("describe", "confirm: no item shows the id, so the first item is read")
        several, note = request.at_once()
        if several:
            describe["at_once"] = several
        draft.values["describe"] = describe
        draft.note("describe", *filter(None, [note, optional(shape, request.params)]))
        for name in shape.required_members if shape else ():
            if name not in request.params:
                draft.note("describe", f"{name} is required: write it into params")
        if not request.params:
            draft.note(
                "id",
                "the model does not say which parameter selects a job;",
                'write id: {part: PATH}, and "{part}" where it goes in the params of describe',
            )
        elif silent := [part for part, path in request.parts.items() if path is None]:
            draft.note("id", f"the answer does not repeat {', '.join(silent)}")

    def _list(self, subject: Subject, listings: Listings) -> None:
        """Write the listing, and how its parents are listed."""
        listing, notes = listings.find(subject)
        self._draft.note("list", *notes)
        if listing is None:
            return
        self._draft.values["list"] = listing
        parent = listing.get("of")
        if parent is None:
            return
        found = listings.parents(parent, next(iter(listing["params"])))
        if found is not None:
            self._draft.values["of"] = {parent: found}
        else:
            self._draft.note(
                "of",
                f"the model does not say how each {parent} is listed: name them in the watch,",
                f"discover: {{of: [NAME]}}, or write of: {{{parent}: {{operation: …, items: …}}}}",
            )

    def _texts(self, request: Request, taken: set[str | None]) -> None:
        """Write the reason, and a few fields that help to recognise a job."""
        plain = [
            place
            for place in sorted(walk(request.item, 3), key=len)
            if not lists_in(place)
            and not isinstance(place[-1][1], StructureShape)
            and path_of(place) not in taken
        ]
        for place in plain:
            name, shape = place[-1]
            own = "_".join(words(name))
            if own in ("message", "error") and len(place) > 1:
                # A message within something may be about anything, but that of an error is not.
                own = f"{'_'.join(words(place[-2][0]))}_{own}"
            fixed = shape.type_name != "string" or getattr(shape, "enum", ())
            if not fixed and _REASON.fullmatch(own):
                self._draft.values["reason"] = path_of(place)
                break
        members = request.item.members if isinstance(request.item, StructureShape) else {}
        hidden = [
            name
            for name, shape in members.items()
            if is_sensitive(shape) and _REASON.fullmatch("_".join(words(name)))
        ]
        if "reason" not in self._draft.values and hidden:
            comment = f"the model marks {hidden[0]} as sensitive; to keep it all the same, write"
            self._draft.note("reason", comment, f"reason: {hidden[0]} and reveal: [{hidden[0]}]")
        fields: dict[str, Any] = {}
        for place in plain:
            name, shape = place[-1]
            called = "_".join(words(name))
            if len(place) > 1 or shape.type_name not in _KEPT or not _FIELD.fullmatch(called):
                continue
            label = re.sub(r"\W", "", name[:1].upper() + name[1:])
            # Each step of progress would else be reported as a change.
            steps = {"path": path_of(place), "watch": False}
            fields[label] = steps if _PROGRESS.search(called) else path_of(place)
        if fields:
            self._draft.values["fields"] = dict(list(fields.items())[:_MOST_FIELDS])

    def _missing(self, request: Request) -> None:
        """Write the errors that say that there is no such job."""
        codes = list(self._verdicts.missing)
        for shape in self._operation.error_shapes:
            code = str(shape.metadata.get("error", {}).get("code") or shape.name)
            core = set(words(re.sub("Exception$|Fault$|Error$", "", code))) - {"not", "found"}
            related = {"resource", "entity", "object", *self._nouns}
            for part in request.parts:
                related |= set(part.split("_"))
            if is_not_found(code) and (core & related or not core):
                codes.append(code)
        named: dict[str, str] = {}
        for code in codes:
            named.setdefault(normal_code(code), code)
        if named:
            self._draft.values["missing"] = list(named.values())
        elif not lists_in(request.items):
            self._draft.note(
                "missing",
                'the model lists no error of this operation that means "not found";',
                "write missing: [CODE], the error that AWS gives for an unknown id",
            )
