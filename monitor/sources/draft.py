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
from botocore.model import ListShape, Shape, StructureShape
from pydantic import ValidationError

from monitor.aws import service_models
from monitor.aws.errors import normal_code
from monitor.config import similar
from monitor.errors import ConfigurationError, Problem
from monitor.model import Phase
from monitor.sources import model_check
from monitor.sources.declaration import NO_PARTS, Declaration
from monitor.sources.draft_listing import Listings
from monitor.sources.draft_model import (
    Place,
    Subject,
    best_id,
    creation_time,
    inner,
    is_paging,
    is_sensitive,
    operation_words,
    optional,
    path_of,
    takes_text,
    walk,
)
from monitor.sources.draft_words import (
    guess,
    most_named,
    reopens,
    singular,
    split_id,
    stated,
    words,
)
from monitor.sources.inference import Paginators

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from botocore.loaders import Loader
    from botocore.model import OperationModel, ServiceModel

_STATE_WORDS = ("status", "state", "lifecycle")
_OTHER_STATES = frozenset(
    [
        "secondary",
        "previous",
        "desired",
        "target",
        "health",
        "update",
        "billing",
        "encryption",
        "policy",
        "old",
        "new",
        "goal",
        "failover",
        "publishing",
        "substatus",
        "sub",
        "connection",
        "activity",
    ]
)
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
_NOT_FOUND = re.compile(r"not_?found|no_such|does_?not_exist|not_exist|nonexist|unknown_resource")
_MODEST = 4
"""The likeness from which an optional parameter is taken for the one of the id."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a waiter knows of an operation: it overrules every guess."""

    path: tuple[str, ...] = ()
    """The members on the way to the state."""
    states: Mapping[str, tuple[Phase, str]] = field(default_factory=dict)
    """State → its phase, and a mark where that must still be confirmed."""
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Draft:
    """A draft: the values of a job type, and what must be said of them."""

    values: dict[str, Any] = field(default_factory=dict)
    """Key → its value, in the order of the file; ``phases`` maps a state to (phase, mark)."""
    notes: dict[str, list[str]] = field(default_factory=dict)
    """Key → comments that stand above it, or in its place."""

    def note(self, key: str, *comments: str) -> None:
        """Add comments above a key."""
        self.notes.setdefault(key, []).extend(comments)


@dataclass(frozen=True, slots=True)
class _Request:
    """One way to read an item: where it is, and how its id fills the request."""

    items: Place
    item: Shape | None
    score: int
    parts: Mapping[str, str | None]
    filling: Mapping[str, str]
    """Part → the parameter that it fills."""
    params: Mapping[str, Any]
    own: str | None
    several: Shape | None
    """The list that takes several ids, if there is one."""


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
    paginators = Paginators(models, service.service_name)
    made = _Drafter(service, service.operation_model(name), paginators, verdicts).run()
    for problem in _problems(made, models):
        key = re.split(r"[.\[]", problem.path)[0]
        made.note(key, f"{'warning' if problem.warning else 'not valid yet'}: {problem}")
        if key in ("list", "of") and not problem.warning:
            # Without it the draft is valid, and says what is missing.
            made.values.pop("list", None)
            made.values.pop("of", None)
    return made


def _problems(made: Draft, models: Loader) -> list[Problem]:
    """Return what types lint would say of a draft."""
    values = dict(made.values)
    phases = values["phases"]
    values["phases"] = {
        its: [state for state, (phase, _) in phases.items() if phase is its]
        for its in {phase for phase, _ in phases.values()}
    }
    try:
        return list(model_check.checked(Declaration.model_validate(values), models, "").warnings)
    except ValidationError:
        return []  # the state or the id is lacking, and a note says so
    except ConfigurationError as error:
        return list(error.problems)


def is_not_found(code: str) -> bool:
    """Return whether an error code says by its words that something does not exist."""
    return _NOT_FOUND.search("_".join(words(code))) is not None


def _unknown(option: str, what: str, word: str, known: Iterable[str]) -> ConfigurationError:
    remedy = similar(word, known)
    return ConfigurationError([Problem("", option, f'unknown {what} "{word[:80]}"', remedy)])


class _Drafter:
    """Reads one operation's model, key after key."""

    def __init__(
        self,
        service: ServiceModel,
        operation: OperationModel,
        paginators: Paginators,
        verdicts: Verdicts | None,
    ) -> None:
        self._service = service
        self._operation = operation
        self._listings = Listings(service, paginators)
        self._verdicts = verdicts or Verdicts()
        self._nouns = operation_words(operation.name)
        self._draft = Draft()

    def run(self) -> Draft:
        """Return the draft, with its keys in the order of a file."""
        values, service = self._draft.values, self._service.service_name
        state = self._state()
        request = self._request(state)
        if _lists(request.items) > 1 and not request.parts.get(request.own or ""):
            # The states of what a job is made of, such as the routes of a table.
            state = None
            request = self._request(None)
        values["name"] = f"{service}.{'-'.join(self._nouns) or 'job'}"
        values["service"] = service
        full = self._service.metadata.get("serviceFullName", service)
        values["description"] = f"{full} {' '.join(self._nouns)}"
        values["id"] = dict(request.parts)
        self._describe(request)
        path = path_of(state[len(request.items) :]) if state else None
        created = creation_time(request.item)
        subject = Subject(
            operation=self._operation.name,
            nouns=self._nouns,
            parts=request.parts,
            params=request.filling,
            own=request.own,
            item=request.item,
            state=(path, state[-1][1]) if state and path else None,
            created_at=created,
        )
        self._listing(subject)
        if state and path:
            plain = re.fullmatch(r"\w+(\.\w+)*", path)
            values["state"] = path if plain else {"State": path}
        else:
            self._draft.note(
                "state",
                "state: the model has no text that is called status or state here;",
                "write state: PATH, the member of the answer that changes as the job goes on",
            )
        self._phases(state[-1][1] if state else None)
        if created:
            values["created_at"] = created
        self._texts(request, path, created)
        self._missing(request)
        return self._draft

    # The state

    def _state(self) -> Place | None:
        """Return the place of the member that most likely is the state of the job."""
        best: tuple[int, Place | None] = (0, None)
        for place in walk(self._operation.output_shape, 4):
            names = tuple(name for name, _ in place)
            name, shape = place[-1]
            if shape.type_name != "string":
                continue
            score = self._state_score(place)
            if names == self._verdicts.path:
                score = 100
            if score > best[0]:
                best = score, place
        return best[1]

    def _state_score(self, place: Place) -> int:
        """Return how much a text looks like the state of what the operation reads; 0 is not."""
        name, shape = place[-1]
        own, above = words(name), place[:-1]
        if own in (("code",), ("name",), ("value",), ("status", "code")) and above:
            holder = words(above[-1][0])
            own = holder if holder[-1] in _STATE_WORDS else own
        is_state = own[-1] in _STATE_WORDS or own[-2:] == ("status", "code")
        if not is_state:
            return 0
        qualifiers = set(own) - {*_STATE_WORDS, "code", "current", "last", "overall"}
        values = getattr(shape, "enum", ())
        ends = {guess(one)[0] for one in values if guess(one)[1]}
        score = 12 + (8 if values else 0)
        score += 4 if any(phase.terminal for phase in ends) and len(ends) > 1 else 0
        if values and not any(phase.terminal for phase in ends):
            score -= 6
        nouns = {*self._nouns, "job"}
        score += 4 if not qualifiers or qualifiers <= nouns else -4
        score -= 10 if qualifiers & _OTHER_STATES else 0
        lists = [one for one in above if isinstance(one[1], ListShape)]
        score -= 2 * max(len(above) - 1, 0) + 3 * max(len(lists) - 1, 0)
        # A list in the answer about one job is of something that the job is made of.
        score -= 5 if lists and self._is_about_one() else 0
        for holder, _ in above:
            inside = {*singular(words(holder))} - {*_STATE_WORDS, "detail", "summary"}
            score += 2 if not inside or inside & nouns else -4
            score -= 10 if inside & _OTHER_STATES else 0
        return max(score, 1)

    def _is_about_one(self) -> bool:
        """Return whether the operation is named in the singular, as in GetJobRun."""
        name = words(self._operation.name)
        return name == singular(name) and "batch" not in name

    def _phases(self, shape: Shape | None) -> None:
        """Draft the phase of every state that the model, the waiter or the prose names."""
        known = list(getattr(shape, "enum", ()) or ())
        prose = [] if known or shape is None else stated(shape)
        told = dict(self._verdicts.states)
        if known:
            for state in told.keys() - set(known):
                self._draft.note("phases", f'the waiter knows "{state}", which the model has not')
                del told[state]
        phases: dict[str, tuple[Phase, str]] = {}
        for state in dict.fromkeys([*known, *told, *prose]):
            phase, sure = guess(state)
            mark = "confirm: by its name" if sure else "confirm: its name says nothing known"
            phases[state] = told.get(state, (phase, mark))
        if shape is not None and not known:
            where = "its prose names these" if prose else "its documentation names them"
            comment = f"the model does not list the states; {where}"
            self._draft.note(
                "phases", f"{comment}; a state without a phase is passed on as unknown"
            )
        self._draft.values["phases"] = phases
        if reopens(phases):
            self._draft.values["reopens"] = True
            self._draft.note("reopens", "confirm: what has ended may become busy again")

    # The request

    def _request(self, state: Place | None) -> _Request:
        """Choose the structure or list that the paths start at: the one that shows the id."""
        output = self._operation.output_shape
        options: list[Place] = []
        if state:
            lists = [n for n, one in enumerate(state[:-1]) if isinstance(one[1], ListShape)]
            if lists:
                options = [state[: lists[-1] + 1]]
            else:
                wraps = [words(name)[-1] not in _STATE_WORDS for name, _ in state[:-1]]
                options = [state[: n + 1] for n in range(len(wraps)) if all(wraps[: n + 1])] + [()]
        else:
            whole = [
                one for one in walk(output, 1) if isinstance(inner(one[-1][1]), StructureShape)
            ]
            options = [*(whole if len(whole) == 1 else []), ()]
        made = [
            self._identified(items, inner(items[-1][1]) if items else output) for items in options
        ]
        return max(made, key=lambda one: one.score)

    def _identified(self, items: Place, item: Shape | None) -> _Request:
        """Find the parameters that make the id, and what an item repeats of each."""
        nouns = frozenset(
            {*self._nouns[-1:], *(singular(words(items[-1][0]))[-1:] if items else ())}
        )
        takers = list(self._takers(self._operation.input_shape, ()))
        plural = bool(items) and isinstance(items[-1][1], ListShape)
        shown = any(best_id(place[-1][0], item, nouns)[0] for place in takers)
        if not takers or (plural and not shown):
            takers += self._optional_taker(item, nouns)
        ranked: list[tuple[int, int, int]] = []
        for number, place in enumerate(takers):
            core, _ = split_id(place[-1][0])
            aligned = 2 if core and core[-1] in nouns else 0 if core else 1
            ranked.append((aligned, best_id(place[-1][0], item, nouns)[0], number))
        own = max(ranked)[2] if ranked else None
        # The job's own part comes last: what is before it says where the job is.
        order = sorted(range(len(takers)), key=lambda number: number == own and max(ranked)[0] > 0)
        parts: dict[str, str | None] = {}
        filling: dict[str, str] = {}
        params: dict[str, Any] = {}
        own_part, several, total = None, None, 0
        for number in order:
            place = takers[number]
            name, shape = place[-1]
            score, path = best_id(name, item, nouns if number == own else frozenset())
            if path in parts.values() or (number != own and score <= 6):  # noqa: PLR2004  # not the same words
                score, path = 0, None
            part = self._part_name(name, parts)
            parts[part], filling[part] = path, name
            total += score * (2 if number == own else 1)
            slot: Any = f"{{{part}}}"
            if isinstance(shape, ListShape):
                slot = [slot]
            if number == own:
                own_part, several = part, shape if isinstance(shape, ListShape) else None
            _put(params, place, slot)
        if not takers and (found := self._filter(item)):
            part, path, filters = found
            parts, params, own_part, total = {part: path}, filters, part, 5
            filling = {part: path}
        return _Request(items, item, total, parts, filling, params, own_part, several)

    def _takers(self, shape: Shape | None, above: Place) -> Iterator[Place]:
        """Yield the places of the required parameters that take texts, at any depth."""
        if not isinstance(shape, StructureShape):
            return
        for name in shape.required_members:
            member = shape.members[name]
            if takes_text(member):
                yield (*above, (name, member))
            elif isinstance(member, StructureShape) and len(above) < 2:  # noqa: PLR2004  # deeper ones are no ids
                yield from self._takers(member, (*above, (name, member)))

    def _optional_taker(self, item: Shape | None, nouns: frozenset[str]) -> list[Place]:
        """Return the parameter that selects jobs by id though it may be left out."""
        best: tuple[int, list[Place]] = (_MODEST - 1, [])
        for place in walk(self._operation.input_shape, 1):
            name, shape = place[-1]
            fixed = getattr(inner(shape), "enum", ())
            if inner(shape).type_name != "string" or is_paging(name) or fixed:
                continue
            like = best_id(name, item, nouns)[0]
            aligned = like and not nouns.isdisjoint(split_id(name)[0][-1:])
            score = 2 * like + isinstance(shape, ListShape) + (20 if aligned else 0)
            if score > best[0]:
                best = score, [place]
        return best[1]

    def _filter(self, item: Shape | None) -> tuple[str, str, dict[str, Any]] | None:
        """Return the id and the parameters of an operation that selects by filters with names."""
        for place in walk(self._operation.input_shape, 1):
            name, shape = place[-1]
            keys = {key.lower(): key for key in getattr(inner(shape), "members", ())}
            if not isinstance(shape, ListShape) or not {"name", "values"} <= keys.keys():
                continue
            prose = re.sub("<[^>]+>", " ", shape.documentation)
            for found in walk(item, 1):
                core, kind = split_id(found[-1][0])
                hyphened = "-".join((*core, kind or ""))
                if kind in ("id", "arn") and core and re.search(rf"(?<![\w-]){hyphened}\b", prose):
                    part = self._part_name(found[-1][0], {})
                    values = {keys["name"]: hyphened, keys["values"]: [f"{{{part}}}"]}
                    return part, path_of(found), {name: [values]}
        return None

    def _part_name(self, param: str, taken: Mapping[str, Any]) -> str:
        """Return the name of the part that fills a parameter: ``job`` for JobName."""
        core, _ = split_id(param)
        own = singular(words(param))[-1:]
        names = ["_".join(core), self._nouns[-1] if own != ("name",) and self._nouns else ""]
        names += ["_".join(words(param)), f"{'_'.join(words(param))}_part"]
        banned = {*NO_PARTS, *taken, "pattern", "max_length", "path", ""}
        return next((name for name in names if name not in banned), f"part{len(taken) + 1}")

    def _describe(self, request: _Request) -> None:
        """Write the request for a job, and what cannot be found of it."""
        draft = self._draft
        describe: dict[str, Any] = {
            "operation": self._operation.name,
            "params": dict(request.params),
        }
        many = _lists(request.items) > 0
        if request.items:
            shows = request.own and request.parts.get(request.own)
            flat = "[]" if _lists(request.items) > 1 else ""
            describe["items"] = path_of(request.items) + (flat if shows or not many else "[0]")
            many = bool(many and shows)
        if many and request.several is not None:
            most, told = request.several.metadata.get("max"), most_named(request.several)
            if isinstance(most, int) and most > 1:
                describe["at_once"] = min(most, 1000)
            elif told and 1 < told <= 1000:  # noqa: PLR2004  # the most of the form
                describe["at_once"] = told
                draft.note("describe", "confirm: at_once is what the prose of the model says")
            elif most is None:
                draft.note("describe", "at_once: N, if N ids may share a request; see its limits")
        if not request.params:
            draft.note(
                "id",
                "the model does not say which parameter selects a job;",
                'write id: {part: PATH}, and describe.params with "{part}" where it goes',
            )
        shape = self._operation.input_shape
        for name in shape.required_members if shape else ():
            if name not in request.params:
                draft.note("describe", f"{name} is required: write it into params")
        if free := optional(shape, request.params):
            draft.note("describe", free)
        silent = [part for part, path in request.parts.items() if path is None]
        if silent:
            draft.note("id", f"the answer does not repeat {', '.join(silent)}")
        draft.values["describe"] = describe

    def _listing(self, subject: Subject) -> None:
        """Write the listing, and how its parents are listed."""
        if subject.own is None:
            return
        listing, notes = self._listings.find(subject)
        self._draft.note("list", *notes)
        if listing is None:
            return
        self._draft.values["list"] = listing
        parent = listing.get("of")
        if parent is None:
            return
        param = next(iter(listing["params"]))
        found = self._listings.parents(parent, param)
        if found is not None:
            self._draft.values["of"] = {parent: found}
        else:
            self._draft.note(
                "of",
                f"the model does not say how each {parent} is listed; name them in the watch,",
                f"discover: {{of: [NAME]}}, or write of: {{{parent}: {{operation: …, items: …}}}}",
            )

    # What else is kept

    def _texts(self, request: _Request, state: str | None, created: str | None) -> None:
        """Write the reason, and a few fields that help to recognise a job."""
        taken = {state, created, *request.parts.values()}
        plain = [
            place
            for place in walk(request.item, 3)
            if not any(isinstance(shape, ListShape | StructureShape) for _, shape in place[-1:])
            and not any(isinstance(shape, ListShape) for _, shape in place)
            and path_of(place) not in taken
        ]
        plain.sort(key=len)
        for place in plain:
            name, shape = place[-1]
            own = "_".join(words(name))
            inside = "_".join(words(place[-2][0])) + "_" + own if len(place) > 1 else own
            if shape.type_name == "string" and not getattr(shape, "enum", ()):
                if _REASON.fullmatch(own if own not in ("message", "error") else inside):
                    self._draft.values["reason"] = path_of(place)
                    break
        hidden = self._hidden_reason(request.item)
        if "reason" not in self._draft.values and hidden:
            comment = f"reason: {hidden} is marked as sensitive; reveal: [{hidden}] would keep it"
            self._draft.note("reason", comment)
        fields: dict[str, Any] = {}
        for place in plain:
            name, shape = place[-1]
            scalar = shape.type_name in (
                "string",
                "timestamp",
                "integer",
                "long",
                "float",
                "double",
            )
            known = _FIELD.fullmatch("_".join(words(name)))
            if len(place) > 1 or not scalar or not known or len(fields) == _MOST_FIELDS:
                continue
            label = re.sub(r"\W", "", name[:1].upper() + name[1:])
            if _PROGRESS.search("_".join(words(name))):
                # Each step of it would else be reported as a change.
                fields[label] = {"path": path_of(place), "watch": False}
            else:
                fields[label] = path_of(place)
        if fields:
            self._draft.values["fields"] = fields

    def _hidden_reason(self, item: Shape | None) -> str | None:
        """Return the reason that the model marks as sensitive, if there is one."""
        members = item.members if isinstance(item, StructureShape) else {}
        hidden = (name for name, shape in members.items() if is_sensitive(shape))
        return next((name for name in hidden if _REASON.fullmatch("_".join(words(name)))), None)

    def _missing(self, request: _Request) -> None:
        """Write the errors of the operation that say that there is no such job."""
        codes = list(self._verdicts.missing)
        for shape in self._operation.error_shapes:
            code = str(shape.metadata.get("error", {}).get("code") or shape.name)
            if not is_not_found(code):
                continue
            core = set(words(re.sub("Exception$|Fault$|Error$", "", code)))
            related = {"resource", "entity", "object", *self._nouns, *request.parts}
            if core & related or not core - {"not", "found"}:
                codes.append(code)
        named = {normal_code(code): code for code in reversed(codes)}
        if named:
            self._draft.values["missing"] = list(reversed(named.values()))
        elif not _lists(request.items):
            self._draft.note(
                "missing",
                'missing: the model lists no error of this operation that means "not found";',
                "write missing: [CODE], the error code that AWS gives for an unknown id",
            )
        for note in self._verdicts.notes:
            self._draft.note("phases", note)


def _lists(place: Place) -> int:
    """Return the number of lists on the way to a place."""
    return sum(isinstance(shape, ListShape) for _, shape in place)


def _put(params: dict[str, Any], place: Place, value: Any) -> None:
    """Put a value at its place among nested parameters."""
    for name, _ in place[:-1]:
        params = params.setdefault(name, {})
    params[place[-1][0]] = value
