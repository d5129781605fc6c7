"""Answers of AWS that somebody wrote down, as the SDK would have parsed them.

They are written as the AWS CLI prints them, so times are texts. The model of the operation says
which members there are, and turns texts into what the SDK makes of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from botocore.model import ListShape, MapShape, StructureShape

from monitor.aws import service_models
from monitor.aws.lenient_parser import lenient_moment
from monitor.config.yaml_document import dotted
from monitor.errors import Problem
from monitor.sources.jmespath_check import suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.loaders import Loader
    from botocore.model import OperationModel, Shape

    from monitor.aws.clients import ResponseMeta
    from monitor.config.yaml_document import Node, Path
    from monitor.model import SourceKey
    from monitor.sources.job_type import JobType

_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "structure": ((), "must be a map in a response of AWS; write `key: value` pairs"),
    "map": ((), "must be a map in a response of AWS; write `key: value` pairs"),
    "list": ((), "must be a list in a response of AWS; write it as [a, b]"),
    "string": ((str,), "must be text in a response of AWS; put it in quotes"),
    "integer": ((int,), "must be a whole number in a response of AWS"),
    "long": ((int,), "must be a whole number in a response of AWS"),
    "float": ((int, float), "must be a number in a response of AWS"),
    "double": ((int, float), "must be a number in a response of AWS"),
    "boolean": ((bool,), "must be true or false in a response of AWS"),
    "timestamp": ((datetime,), "is not a time; write it as 2026-01-01T00:00:00Z"),
}
"""Type of a shape → the types of its value, and what is wrong with any other; the remedy."""
_STATUS = 400
"""HTTP status of an error whose model names none."""

Given = dict[str, Any] | Exception
"""A parsed response, or what the SDK raises."""


class GivenAnswers:
    """Returns one given answer for every request, in place of AWS; fits ``AwsCalls``."""

    def __init__(self) -> None:
        """Start without an answer."""
        self.answer: Given = {}

    async def ready(self, source: SourceKey) -> None:
        """Need no credentials."""

    async def ask(
        self,
        source: SourceKey,  # noqa: ARG002 -- whatever is asked, as in the next two
        operation: str,  # noqa: ARG002
        params: Mapping[str, Any],  # noqa: ARG002
        exchange: ResponseMeta,
    ) -> Mapping[str, Any]:
        """Return the answer, or raise it."""
        if isinstance(self.answer, ClientError):
            exchange.status = self.answer.response["ResponseMetadata"]["HTTPStatusCode"]
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def prepare(
        self,
        source: SourceKey,
        operation: str,
        params: Mapping[str, Any],
        job_id: str = "",
    ) -> None:
        """Prepare nothing."""

    async def parse(self, *_: Any) -> Mapping[str, Any]:
        """Parse nothing, as nothing is prepared."""
        raise NotImplementedError


class AnswerModel:
    """The answers that the describe of a job type can have."""

    def __init__(self, job_type: JobType, models: Loader) -> None:
        """Read the model of the operation."""
        model = service_models.service_model(models, job_type.service)
        self._operation: OperationModel = model.operation_model(job_type.describe.operation)

    def response(self, node: Node, path: Path, problems: list[Problem]) -> dict[str, Any]:
        """Return a response as the SDK parses it; ``problems`` gets what does not fit."""
        shape = self._operation.output_shape
        parsed = _parsed(shape, node, path, problems) if shape is not None else {}
        return parsed if isinstance(parsed, dict) else {}

    def error(
        self, code: str, message: str, status: int | None, members: Mapping[str, Any]
    ) -> ClientError:
        """Return an error as the SDK raises it; the model may know the HTTP status of its code."""
        declared = (
            shape.metadata.get("error", {})
            for shape in self._operation.error_shapes
            if code in {shape.name, shape.metadata.get("error", {}).get("code")}
        )
        known = next((found.get("httpStatusCode") for found in declared), None)
        meta = {"HTTPStatusCode": status or known or _STATUS}
        response = {**members, "Error": {"Code": code, "Message": message}}
        return ClientError({**response, "ResponseMetadata": meta}, self._operation.name)


def _parsed(shape: Shape, node: Node, path: Path, problems: list[Problem]) -> Any:
    """Return a value as the SDK's parsers do; one that does not fit the shape is left out."""
    value = node.value
    match shape:
        case StructureShape() if shape.is_document_type:
            return node.plain()
        case StructureShape() if isinstance(value, dict):
            unknown = [name for name in value if name not in shape.members]
            for name in unknown:
                remedy = suggestion(name, shape.members)
                message = "the response of AWS has no such member"
                problems.append(Problem(value[name].place, dotted((*path, name)), message, remedy))
            # The SDK leaves out a member that is null.
            return {
                name: _parsed(shape.members[name], child, (*path, name), problems)
                for name, child in value.items()
                if name not in unknown and child.value is not None
            }
        case MapShape() if isinstance(value, dict):
            return {
                name: _parsed(shape.value, child, (*path, name), problems)
                for name, child in value.items()
            }
        case ListShape() if isinstance(value, list):
            return [
                _parsed(shape.member, child, (*path, number), problems)
                for number, child in enumerate(value)
            ]
    types, words = _KINDS.get(shape.type_name, ((object,), ""))
    moment = lenient_moment(value) if shape.type_name == "timestamp" else value
    # A bool counts as an int in Python, and not to AWS.
    if isinstance(moment, types) and (bool in types or not isinstance(moment, bool)):
        return moment
    message, _, remedy = words.partition("; ")
    problems.append(Problem(node.place, dotted(path), message, remedy))
    return None
