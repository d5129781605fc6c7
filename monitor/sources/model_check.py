"""The check of a declaration against the service's model, which reports every mistake."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.model import ListShape, MapShape, OperationNotFoundError, Shape, StructureShape

from monitor.aws import service_models
from monitor.config.yaml_document import shown
from monitor.errors import ConfigurationError, Problem
from monitor.sources import compiler, jmespath_check
from monitor.sources.jmespath_check import Many, parse, suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable

    from botocore.loaders import Loader
    from botocore.model import OperationModel, ServiceModel

    from monitor.sources.declaration import Declaration, ListForm
    from monitor.sources.jmespath_check import Expression, ExpressionCheck
    from monitor.sources.job_type import JobType

_TIMES = ("timestamp", "string", "long", "integer", "double", "float")
"""Types of a member that can hold a time; numbers count seconds or milliseconds."""

_TAG = re.compile("<[^>]+>")
_DEFAULT_FILTER = re.compile(
    r"(?:(?:do not|don't) specify [^.]*, only|default status filter is) ([A-Z_]{3,})\b"
)
"""The prose of models about a filter that applies where none is given."""


def checked(form: Declaration, models: Loader, place: str) -> JobType:
    """Return the job type that ``form``, read from the file ``place``, declares.

    Raises:
        ConfigurationError: with every mistake that the service's model shows.
    """
    check = _Check(form, place)
    check.run(models)
    if check.problems:
        raise ConfigurationError(check.problems)
    made = compiler.job_type(form, check.secrets, check.row_secrets)
    return replace(made, warnings=tuple(check.warnings))


class _Check:
    """Gathers the problems of one declaration."""

    def __init__(self, form: Declaration, place: str) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.secrets: tuple[Expression, ...] = ()
        self.row_secrets: tuple[Expression, ...] = ()
        self._form = form
        self._place = place
        self._secrets: frozenset[tuple[str, str]] = frozenset()

    def run(self, models: Loader) -> None:
        # Without the model first, so that these are reported even where there is none.
        self._declared()
        name = self._form.service
        try:
            service = service_models.service_model(models, name)
        except (UnknownServiceError, DataNotFoundError, OSError, ValueError):
            # The last two: the SDK opens a file of this name, which may not be a file name at all.
            known = models.list_available_services("service-2")
            message = f'the SDK has no service model for "{shown(name)}"'
            self._report("service", message, suggestion(name, known))
            return
        self._describe(service)
        if self._form.listing is not None:
            self._list(service, self._form.listing)

    def _report(self, path: str, message: str, remedy: str = "") -> None:
        self.problems.append(Problem(self._place, path, message, remedy))

    def _declared(self) -> None:
        """Check the declaration against itself: its states, and the placeholders of the id."""
        form = self._form
        states = [state for named in form.phases.values() for state in named]
        for state in sorted({state for state in states if states.count(state) > 1}):
            self._report("phases", f'"{state}" is in more than one phase')
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
        known = {"id", *re.compile(form.id.pattern).groupindex}
        used = re.findall(r"\{(\w+)\}", str(form.describe.params))
        self._known("describe.params", used, known)
        if not used:
            remedy = 'write "{id}" where it goes'
            self._report("describe.params", "no parameter takes the id", remedy)

    def _known(self, path: str, names: Iterable[str], known: Iterable[str]) -> None:
        known = list(known)
        for name in names:
            if name not in known:
                self._report(path, f'"{name}" is not declared', suggestion(name, known))

    def _operation(
        self, service: ServiceModel, path: str, name: str, params: Iterable[str]
    ) -> StructureShape | None:
        """Return the shape of the operation's answer, if there is such an operation."""
        try:
            operation = service.operation_model(name)
        except OperationNotFoundError:
            remedy = suggestion(name, service.operation_names)
            self._report(f"{path}.operation", f'there is no operation "{shown(name)}"', remedy)
            return None
        shape, given = operation.input_shape, list(params)
        self._known(f"{path}.params", given, shape.members if shape else {})
        # The SDK does not validate parameters here, so AWS alone would refuse a request.
        for required in shape.required_members if shape else ():
            if required not in given:
                self._report(f"{path}.params", f'"{required}" is required')
        return operation.output_shape

    def _describe(self, service: ServiceModel) -> None:
        form, describe = self._form, self._form.describe
        output = self._operation(service, "describe", describe.operation, describe.params)
        if output is None:
            return
        # Before anything is read: whatever else is read must not be one of the secrets.
        declared = set()
        for number, path in enumerate(form.secret):
            declared.update(self._follow(f"secret[{number}]", path, output).touched[-1:])
        self._secrets = jmespath_check.sensitive(output) | declared
        self.secrets = tuple(map(parse, jmespath_check.paths(output, self._secrets)))
        self._read("id.path", form.id.path, output)
        self._read("describe.missing_if", describe.missing_if, output)
        for name, path in form.state.items():
            reading = self._read(f"state.{name}", path, output, ("string",))
            if reading and name == form.decisive and isinstance(reading.gives, Shape):
                declared_states = {*chain.from_iterable(form.phases.values()), *form.aliases}
                values = getattr(reading.gives, "enum", ())
                if missing := [value for value in values if value not in declared_states]:
                    self._report("phases", f"no phase is given for {', '.join(missing)}")
        self._common("", form, output)
        for name, field in form.fields.items():
            self._field(f"fields.{name}", field.path, field.as_, output)

    def _common(self, prefix: str, form: Declaration | ListForm, shape: Shape | None) -> None:
        self._read(f"{prefix}updated_at", form.updated_at, shape, _TIMES)
        self._read(f"{prefix}created_at", form.created_at, shape, _TIMES)
        self._read(f"{prefix}reason", form.reason, shape, ("string",))

    def _list(self, service: ServiceModel, form: ListForm) -> None:
        extra = (form.page_size, form.next)
        params = [*form.params, *(one.param for one in extra if one is not None)]
        output = self._operation(service, "list", form.operation, params)
        if output is None:
            return
        self._default_filter(service.operation_model(form.operation), params)
        reading = self._follow("list.items", form.items, output)
        rows = reading.gives
        row = rows.of if isinstance(rows, Many) else None
        if isinstance(rows, ListShape):
            row = rows.member
        self._secrets |= jmespath_check.sensitive(output)
        self.row_secrets = tuple(map(parse, jmespath_check.paths(row, self._secrets)))
        if form.next is not None:
            self._read("list.next.path", form.next.path, output, ("string",))
            self._read("list.next.more", form.next.more, output, ("boolean",))
            self._read("list.next.last_id", form.next.last_id, row, ("string",))
        self._read("list.id", form.id, row, ("string",))
        self._known("list.state", form.state, self._form.state)
        for name, path in form.state.items():
            self._read(f"list.state.{name}", path, row, ("string",))
        self._common("list.", form, row)

    def _default_filter(self, operation: OperationModel, given: list[str]) -> None:
        """Warn of a parameter that hides jobs if left out; only the model's prose says so."""
        shape = operation.input_shape
        for name, member in shape.members.items() if shape and "filters" not in given else ():
            # The prose is HTML with line breaks anywhere, so it is compared as plain words.
            words = " ".join(_TAG.sub("", member.documentation).split())
            found = None if name in given else _DEFAULT_FILTER.search(words)
            if found:
                message = f"{operation.name} lists only {found[1]} jobs where {name} is left out"
                remedy = f'see "Listings that leave jobs out" in docs/job-types.md, or set {name}'
                place = self._place
                self.warnings.append(Problem(place, "list.params", message, remedy, warning=True))

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

    def _field(self, place: str, path: str, form: str, output: Shape) -> None:
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


def _type(kind: Shape | Many) -> str:
    return "list" if isinstance(kind, Many) else str(kind.type_name)
