"""The check of a declaration against the service's model, which reports every mistake.

What the model says is not repeated in a declaration: paging, rows, and what a row shows of a job
come from there. So the check also compiles the operations.
"""

from __future__ import annotations

import re
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.model import ListShape, MapShape, OperationNotFoundError, Shape, StructureShape

from monitor.aws import service_models
from monitor.aws.errors import normal_code
from monitor.config.yaml_document import shown
from monitor.errors import ConfigurationError, Problem
from monitor.sources import compiler, console_url, jmespath_check, params_check
from monitor.sources.inference import Paginators
from monitor.sources.jmespath_check import Many, parse, suggestion
from monitor.sources.job_type import (
    DescribeOperation,
    ItemForm,
    ListOperation,
    ParentOperation,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from botocore.loaders import Loader
    from botocore.model import OperationModel, ServiceModel

    from monitor.sources.declaration import Declaration, ListForm, NextForm, ParentForm
    from monitor.sources.jmespath_check import ExpressionCheck
    from monitor.sources.job_type import JobType

_TIMES = ("timestamp", "string", "long", "integer", "double", "float")
"""Types of a member that can hold a time; numbers count seconds or milliseconds."""

_TAG = re.compile("<[^>]+>")
_DEFAULT_FILTER = re.compile(
    r"(?:(?:do not|don't) specify [^.]*, only|default status filter is) ([A-Z_]{3,})\b"
)
"""The prose of models about a filter that applies where none is given."""

_ALIKE = 0.8
"""The likeness from which an error code that the model lacks is a misspelt one."""


def checked(form: Declaration, models: Loader, place: str, *, drifts: bool = False) -> JobType:
    """Return the job type that ``form``, read from the file ``place``, declares.

    A state of the model without a phase is a warning if the model may have drifted since: another
    SDK must not stop a daemon whose type nobody has touched.

    Raises:
        ConfigurationError: with every mistake that the service's model shows.
    """
    check = _Check(form, place, drifts=drifts)
    made = check.run(models)
    if check.problems or made is None:
        raise ConfigurationError(check.problems)
    return replace(made, warnings=tuple(check.warnings))


class _Check:
    """Gathers the problems of one declaration, and compiles its operations."""

    def __init__(self, form: Declaration, place: str, *, drifts: bool) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._form = form
        self._place = place
        self._drifts = drifts
        self._secrets: frozenset[tuple[str, str]] = frozenset()
        self._revealed: frozenset[tuple[str, str]] = frozenset()

    def run(self, models: Loader) -> JobType | None:
        # Without the model first, so that these are reported even where there is none.
        self._declared()
        form, name = self._form, self._form.service
        try:
            service = service_models.service_model(models, name)
        except (UnknownServiceError, DataNotFoundError, OSError, ValueError):
            # The last two: the SDK opens a file of this name, which may not be a file name at all.
            known = models.list_available_services("service-2")
            message = f'the SDK has no service model for "{shown(name)}"'
            self._report("service", message, suggestion(name, known))
            return None
        self._error_codes(service)
        describe = self._describe(service)
        paginators = Paginators(models, name)
        places = ["list"] if len(form.listings) == 1 else None
        listings = [
            self._list(service, paginators, one, places[0] if places else f"list[{number}]")
            for number, one in enumerate(form.listings)
        ]
        parents = [self._parent(service, paginators, name, one) for name, one in form.of.items()]
        if self.problems or describe is None:
            return None
        return compiler.job_type(
            form,
            describe,
            tuple(one for one in listings if one),
            next(iter(parents), None),
        )

    def _report(self, path: str, message: str, remedy: str = "") -> None:
        self.problems.append(Problem(self._place, path, message, remedy))

    # The declaration against itself

    def _declared(self) -> None:
        """Check the states, the placeholders and the parents that the declaration names."""
        form = self._form
        entries = [entry for named in form.phases.values() for entry in named]
        fixed = [entry for entry in entries if isinstance(entry, str)]
        states = [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]
        for state in sorted({state for state in fixed if fixed.count(state) > 1}):
            self._report("phases", f'"{state}" is in more than one phase')
        late = [
            state
            for number, state in enumerate(states)
            if isinstance(entries[number], dict) and state in entries[:number]
        ]
        for state in late:
            remedy = "put conditions before the phase that has the state alone"
            self._report("phases", f'a condition on "{state}" is never reached', remedy)
        self._known("aliases", form.aliases.values(), states)
        self._known("severity", form.severity, states)
        self._known("phase_from", [form.decisive], form.state)
        for code, parts in form.errors.items():
            self._known(f"errors.{code}", parts, form.state)
            if form.decisive in parts:
                self._known(f"errors.{code}", [parts[form.decisive]], states)
        for number, condition in enumerate(form.final):
            self._known(f"final[{number}]", condition, form.state)
            self._known(f"final[{number}]", condition.get(form.decisive, ()), states)
        for phase in form.irrevocable:
            if not phase.terminal:
                self._report("irrevocable", f'"{phase}" is not a final phase')
        self._placeholders()
        if form.console_url is not None:
            names = (*form.id.parts, *re.compile(form.id.whole_pattern).groupindex, *form.fields)
            if fault := console_url.problem(form.console_url, names):
                self._report("console_url", *fault)

    def _placeholders(self) -> None:
        """Check what fills the parameters of a describe, and the parts of an id in an event."""
        form = self._form
        groups = re.compile(form.id.whole_pattern).groupindex
        known = {"id", *form.id.parts, *groups}
        used = params_check.placeholders(form.describe.params)
        self._known("describe.params", used, known)
        if not used:
            remedy = 'write "{id}" where it goes'
            self._report("describe.params", "no parameter takes the id", remedy)
        if form.events is not None:
            # A path alone is that of the whole id, which only an id of one part is.
            paths = form.events.id if isinstance(form.events.id, dict) else list(form.id.parts)[:1]
            self._known("events.id", paths, form.id.parts)
            if lacking := [name for name in form.id.parts if name not in paths]:
                remedy = f"write id: {{{lacking[0]}: PATH}}"
                self._report("events.id", f"no path for the part {', '.join(lacking)}", remedy)
        parents = {one.of for one in form.listings if one.of}
        for name in form.of.keys() - parents:
            self._report(f"of.{name}", "no listing is sent for it", f"write of: {name} in a list")
        if len(parents) > 1:
            self._report("list", "all listings must be of one kind of parent")

    def _known(self, path: str, names: Iterable[str], known: Iterable[str]) -> None:
        known = list(known)
        for name in names:
            if name not in known:
                self._report(path, f'"{name}" is not declared', suggestion(name, known))

    # The operations

    def _operation(
        self, service: ServiceModel, path: str, name: str, params: Mapping[str, Any]
    ) -> tuple[OperationModel, Mapping[str, Any]] | None:
        """Return an operation, if there is one, with its parameters made ready to be filled."""
        try:
            operation = service.operation_model(name)
        except OperationNotFoundError:
            remedy = suggestion(name, service.operation_names)
            self._report(f"{path}.operation", f'there is no operation "{shown(name)}"', remedy)
            return None
        # The SDK does not validate parameters here, so AWS alone would refuse a request.
        ready, problems = params_check.ready(operation.input_shape, params)
        for message, remedy in problems:
            self._report(f"{path}.params", message, remedy)
        return operation, ready

    def _error_codes(self, service: ServiceModel) -> None:
        """Refuse a code that the model lacks where it has one that is nearly the same."""
        declared = [*(one.code for one in self._form.missing), *self._form.errors]
        usual = {normal_code(code) for code in declared}
        # First the shapes of such names, which most codes are: a service has a thousand of them.
        listed = _errors(
            service, [name for name in service.shape_names if normal_code(name) in usual]
        )
        if usual <= set(map(normal_code, listed)):
            return
        listed = _errors(service, service.shape_names)
        known = set(map(normal_code, listed))
        for code in declared:
            near = get_close_matches(code, listed, n=1, cutoff=_ALIKE)
            if near and normal_code(code) not in known:
                key = f"errors.{code}" if code in self._form.errors else "missing"
                message = f'{service.service_name} has no error "{shown(code)}"'
                self._report(key, message, f'did you mean "{near[0]}"?')

    def _describe(self, service: ServiceModel) -> DescribeOperation | None:
        form, describe = self._form, self._form.describe
        found = self._operation(service, "describe", describe.operation, describe.params)
        if found is None:
            return None
        operation, params = found
        output = operation.output_shape
        item, many = output, False
        if describe.items is not None:
            item, many = self._items("describe.items", describe.items, output)
            if not many and not isinstance(item, StructureShape | None):
                self._report("describe.items", f"a {_type(item)}", "name a structure or a list")
                item = None
        # Before anything is read: whatever else is read must not be one of the secrets.
        declared = self._members("secret", form.secret, item)
        self._revealed = frozenset(self._members("reveal", form.reveal, item)) - declared
        if output is not None:
            self._secrets = (jmespath_check.sensitive(output) | declared) - self._revealed
        self._read("describe.missing_if", describe.missing_if, output)
        unprocessed = self._read("describe.unprocessed", describe.unprocessed, output, ("list",))
        if unprocessed is not None and not many:
            remedy = "leave it out, as the response is about one job"
            self._report("describe.unprocessed", "the items are not a list", remedy)
        self._id(item, many=many)
        for name, path in form.state.items():
            self._state(name, path, item)
        for path in self._conditions():
            self._follow("phases", path, item)
        self._common("", form, item)
        for name, field in form.fields.items():
            self._field(f"fields.{name}", field.path, field.as_, item)
        secrets = jmespath_check.paths(item, self._secrets) if item is not None else ()
        return DescribeOperation(
            operation=describe.operation,
            params=params,
            items=compiler.maybe(describe.items),
            many=many,
            at_once=describe.at_once,
            slot=self._slot(operation, params, many=many),
            missing_if=compiler.maybe(describe.missing_if),
            unprocessed=compiler.maybe(describe.unprocessed),
            item=ItemForm(
                id={name: compiler.maybe(path) for name, path in form.id.parts.items()},
                state={name: parse(path) for name, path in form.state.items()},
                updated_at=compiler.maybe(form.updated_at),
                created_at=compiler.maybe(form.created_at),
                reason=compiler.maybe(form.reason),
                secrets=tuple(map(parse, secrets)),
            ),
        )

    def _id(self, item: Shape | None, *, many: bool) -> None:
        parts = self._form.id.parts
        for name, path in parts.items():
            key = "id.path" if name == "id" else f"id.{name}"
            self._read(key, path, item, () if name == "id" else ("string",))
        if many and not any(parts.values()):
            remedy = "give the id a path, or name one item: items: jobs[0]"
            self._report("id", "the items are a list, and none shows whose it is", remedy)

    def _slot(
        self, operation: OperationModel, params: Mapping[str, Any], *, many: bool
    ) -> params_check.Slot:
        """Return the place of the list that takes several ids, if jobs share a describe."""
        at_once = self._form.describe.at_once
        if at_once == 1:
            return ()
        slots = params_check.slots(params)
        if not many or len(slots) != 1:
            remedy = "it needs items that are a list, and one parameter that is a list of one id"
            self._report("describe.at_once", "the operation cannot take several ids", remedy)
            return ()
        most = params_check.longest(operation.input_shape, slots[0])
        if most is not None and at_once > most:
            self._report("describe.at_once", f"the operation takes at most {most} ids")
        return slots[0]

    def _members(self, key: str, paths: Iterable[str], shape: Shape | None) -> set[tuple[str, str]]:
        """Return the last member that each path reads."""
        found: set[tuple[str, str]] = set()
        for number, path in enumerate(paths):
            found.update(self._follow(f"{key}[{number}]", path, shape).touched[-1:])
        return found

    def _conditions(self) -> list[str]:
        entries = [entry for named in self._form.phases.values() for entry in named]
        return [path for one in entries if isinstance(one, dict) for path in one.values()]

    def _state(self, name: str, path: str, item: Shape | None) -> None:
        """Check one part of the state: every value of the model needs a phase, and no other."""
        form = self._form
        reading = self._read(f"state.{name}", path, item, ("string",))
        if reading is None or name != form.decisive or not isinstance(reading.gives, Shape):
            return
        values = getattr(reading.gives, "enum", ())
        entries = [entry for named in form.phases.values() for entry in named]
        states = {next(iter(one)) if isinstance(one, dict) else one for one in entries}
        if missing := [one for one in values if one not in {*states, *form.aliases}]:
            message = f"no phase is given for {', '.join(missing)}"
            if self._drifts:
                self.warnings.append(Problem(self._place, "phases", message, warning=True))
            else:
                self._report("phases", message)
        for state in sorted(states - {*values, *form.aliases.values()}) if values else ():
            # Whatever a newer or an older SDK has, the author of a shipped type knew it.
            if not self._drifts:
                message = f'the model has no state "{shown(state)}"'
                self._report("phases", message, suggestion(state, values))

    def _items(self, place: str, path: str, output: Shape | None) -> tuple[Shape | None, bool]:
        """Return what the items of a response are, and whether they are a list."""
        given = self._follow(place, path, output).gives
        if isinstance(given, Many):
            return given.of, True
        if isinstance(given, ListShape):
            return given.member, True
        return given, False

    def _common(self, prefix: str, form: Declaration | ListForm, shape: Shape | None) -> None:
        self._read(f"{prefix}updated_at", form.updated_at, shape, _TIMES)
        self._read(f"{prefix}created_at", form.created_at, shape, _TIMES)
        self._read(f"{prefix}reason", form.reason, shape, ("string",))

    # The listings

    def _list(
        self, service: ServiceModel, paginators: Paginators, form: ListForm, place: str
    ) -> ListOperation | None:
        try:
            operation = service.operation_model(form.operation)
            following = form.next or (None if form.id else paginators.next_page(operation))
            size = form.page_size or (None if form.id else paginators.page_size(operation))
        except OperationNotFoundError:
            operation, following, size = None, form.next, form.page_size
        used = params_check.placeholders(form.params)
        known = {"since", "since_ms", *filter(None, [form.of])}
        self._known(f"{place}.params", used, known)
        if form.of and form.of not in used:
            remedy = f'write "{{{form.of}}}" where it goes'
            self._report(f"{place}.params", f"no parameter takes the {form.of}", remedy)
        params: dict[str, Any] = {**form.params, **({size.param: size.value} if size else {})}
        token = {following.param: params_check.ANY} if following else {}
        found = self._operation(service, place, form.operation, {**params, **token})
        if found is None or operation is None:
            return None
        output, ready = operation.output_shape, found[1]
        self._default_filter(operation, {*params, *token}, place)
        path = form.items or paginators.items(operation)
        if path is None:
            remedy = "name them: items: PATH"
            self._report(f"{place}.items", "the model does not say what the rows are", remedy)
            return None
        row, many = self._items(f"{place}.items", path, output)
        if not many and row is not None:
            self._report(f"{place}.items", f"a {_type(row)} instead of a list")
            return None
        if output is not None:
            self._secrets |= jmespath_check.sensitive(output) - self._revealed
        # A row has another shape than an item, and the same secrets where it has such members.
        for secret in filter(lambda one: self._fits(one, row), self._form.secret):
            self._secrets |= set(jmespath_check.check(secret, row).touched[-1:])
        self._next(place, following, output, row)
        read = self._older_row(place, form, row) if form.id else self._row(place, form, row)
        return ListOperation(
            operation=form.operation,
            parent=form.of,
            params={name: value for name, value in ready.items() if name not in token},
            page_size=size.value if size else None,
            items=parse(path),
            row=read,
            paging=compiler.paging(following),
            lists_states=read.state.keys() >= self._form.state.keys(),
        )

    def _next(
        self, place: str, form: NextForm | None, output: Shape | None, row: Shape | None
    ) -> None:
        if form is not None:
            self._read(f"{place}.next.path", form.path, output, ("string",))
            self._read(f"{place}.next.more", form.more, output, ("boolean",))
            self._read(f"{place}.next.last_id", form.last_id, row, ("string",))

    def _older_row(self, place: str, form: ListForm, row: Shape | None) -> ItemForm:
        """Compile a row whose every path is given."""
        self._read(f"{place}.id", form.id, row, ("string",))
        self._known(f"{place}.state", form.state, self._form.state)
        for name, path in form.state.items():
            self._read(f"{place}.state.{name}", path, row, ("string",))
        self._common(f"{place}.", form, row)
        return self._compiled(
            row,
            {"id": form.id},
            form.state,
            {name: getattr(form, name) for name in _OTHERS},
        )

    def _row(self, place: str, form: ListForm, row: Shape | None) -> ItemForm:
        """Compile a row that is read like an item, as far as it has the same members."""
        declared = self._form
        self._known(f"{place}.row", form.row, (*declared.id.parts, "state", *_OTHERS))
        ids: dict[str, str | None] = {}
        for name, path in declared.id.parts.items():
            own = form.row.get(name)
            if isinstance(own, str):
                self._read(f"{place}.row.{name}", own, row, ("string",))
                ids[name] = own
            elif name == form.of:
                ids[name] = None
            elif row is not None and row.type_name == "string":
                ids[name] = "@"
            elif path is not None and name not in form.row and self._fits(path, row):
                ids[name] = path
            else:
                remedy = f"write row: {{{name}: PATH}}"
                self._report(f"{place}.row", f'a row does not show "{name}" of the id', remedy)
        state: Mapping[str, str] = {
            name: path
            for name, path in declared.state.items()
            if self._fits(path, row, ("string",))
        }
        if "state" in form.row:
            own = form.row["state"] or {}
            state = {declared.decisive: own} if isinstance(own, str) else own
            self._known(f"{place}.row.state", state, declared.state)
            for name, path in state.items():
                self._read(f"{place}.row.state.{name}", path, row, ("string",))
        others: dict[str, str | None] = {}
        for name in _OTHERS:
            types = ("string",) if name == "reason" else _TIMES
            path = getattr(declared, name)
            others[name] = path if path and self._fits(path, row, types) else None
            if name in form.row:
                own = form.row[name]
                others[name] = own if isinstance(own, str) else None
                self._read(f"{place}.row.{name}", others[name], row, types)
        return self._compiled(row, ids, state, others)

    def _compiled(
        self,
        row: Shape | None,
        ids: Mapping[str, str | None],
        state: Mapping[str, str],
        others: Mapping[str, str | None],
    ) -> ItemForm:
        secrets = jmespath_check.paths(row, self._secrets)
        return ItemForm(
            id={name: compiler.maybe(path) for name, path in ids.items()},
            state={name: parse(path) for name, path in state.items()},
            **{name: compiler.maybe(path) for name, path in others.items()},
            secrets=tuple(map(parse, secrets)),
            shows_phase=all(self._fits(path, row) for path in self._conditions()),
        )

    def _fits(self, path: str, shape: Shape | None, types: tuple[str, ...] = ()) -> bool:
        """Return whether a path of an item reads the same of a row; reports nothing."""
        if shape is None:
            return False
        reading = jmespath_check.check(path, shape)
        typed = not types or reading.gives is None or _type(reading.gives) in types
        return not reading.problems and typed and not reading.reads_any(self._secrets)

    def _parent(
        self, service: ServiceModel, paginators: Paginators, name: str, form: ParentForm
    ) -> ParentOperation | None:
        place = f"of.{name}"
        self._known(f"{place}.params", params_check.placeholders(form.params), ())
        found = self._operation(service, place, form.operation, form.params)
        if found is None:
            return None
        operation, params = found
        following = form.next or paginators.next_page(operation)
        size = form.page_size or paginators.page_size(operation)
        item, many = self._items(f"{place}.items", form.items, operation.output_shape)
        if item is not None and (not many or item.type_name != "string"):
            remedy = "give the path to their names: Clusters[].Id"
            self._report(f"{place}.items", "not a list of texts", remedy)
        self._next(place, following, operation.output_shape, None)
        return ParentOperation(
            operation=form.operation,
            params={**params, **({size.param: size.value} if size else {})},
            items=parse(form.items),
            paging=compiler.paging(following),
        )

    def _default_filter(self, operation: OperationModel, given: set[str], place: str) -> None:
        """Warn of a parameter that hides jobs if left out; only the model's prose says so."""
        shape = operation.input_shape
        for name, member in shape.members.items() if shape and "filters" not in given else ():
            # The prose is HTML with line breaks anywhere, so it is compared as plain words.
            words = " ".join(_TAG.sub("", member.documentation).split())
            found = None if name in given else _DEFAULT_FILTER.search(words)
            # Another listing of the type may be the one for the rest.
            others = (one for one in self._form.listings if one.operation == operation.name)
            if found and not any(name in one.params for one in others):
                message = f"{operation.name} lists only {found[1]} jobs where {name} is left out"
                remedy = f'see "Listings that leave jobs out" in docs/job-types.md, or set {name}'
                problem = Problem(self._place, f"{place}.params", message, remedy, warning=True)
                self.warnings.append(problem)

    # The expressions

    def _follow(self, place: str, path: str, shape: Shape | None) -> ExpressionCheck:
        reading = jmespath_check.check(path, shape)
        for problem in reading.problems:
            self._report(place, problem)
        return reading

    def _read(
        self, place: str, path: str | None, shape: Shape | None, types: tuple[str, ...] = ()
    ) -> ExpressionCheck | None:
        """Check an expression that must give one value that is not secret."""
        if path is None:
            return None
        reading = self._follow(place, path, shape)
        if reading.reads_any(self._secrets):
            self._report(place, "this would keep a secret", "read another member")
        if types and reading.gives is not None and _type(reading.gives) not in types:
            expected = "time" if types is _TIMES else " or ".join(types)
            self._report(place, f"a {_type(reading.gives)} instead of a {expected}")
        return reading

    def _field(self, place: str, path: str, form: str, output: Shape | None) -> None:
        if form == "count":
            # A count gives away only a number, so it may count what is secret.
            counted = self._follow(place, path, output).gives
            if not isinstance(counted, Many | ListShape | None):
                self._report(place, "not a list, so it cannot be counted")
            return
        many = form == "texts"
        reading = self._read(place, path, output)
        if reading is None or reading.gives is None:
            return
        is_list = isinstance(reading.gives, Many | ListShape)
        if is_list != many:
            self._report(place, "a list" if is_list else "not a list", "see the field's as:")
        elif isinstance(reading.gives, StructureShape | MapShape):
            self._report(place, f"a {_type(reading.gives)}", "name one of its members")


_OTHERS = ("updated_at", "created_at", "reason")
"""What a row may show beside the id and the state."""


def _errors(service: ServiceModel, names: Iterable[str]) -> set[str]:
    """Return the codes of those shapes that are errors."""
    errors = [one for one in map(service.shape_for, names) if one.metadata.get("exception")]
    return {shape.metadata.get("error", {}).get("code", shape.name) for shape in errors}


def _type(kind: Shape | Many) -> str:
    return "list" if isinstance(kind, Many) else str(kind.type_name)
