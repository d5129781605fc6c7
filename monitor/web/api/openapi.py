"""The OpenAPI 3.1 document, made from the endpoints and the models of what they take and answer."""

from __future__ import annotations

import inspect
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from pydantic.json_schema import models_json_schema

from monitor.config.docstrings import DescribedSchema
from monitor.web import problems
from monitor.web.api.schema_base import View
from monitor.web.api.schemas import ProblemDetails

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic import BaseModel

    from monitor.web.api.endpoint import Endpoint

_REF = "#/components/schemas/"
_UNREADABLE = 400
# Generated clients name their methods after operation ids, which outlive names in the code.
_OWNERS = {"JobEndpoints": "jobs", "StatusEndpoints": "standing", "WatchEndpoints": "watches"}
_COMMON = {
    400: "A parameter is wrong: `errors` names each. As text: the request is not HTTP, or its "
    "head is longer than 8 KiB.",
    401: "Credentials are missing or wrong.",
    403: "Writing is not configured, or the request comes from another site.",
    404: "Nothing has that name.",
    413: "The body is too large.",
    415: "The body is not `application/json`.",
    421: "The request calls the monitor by a name that is not in `server.hosts`.",
    422: "The body is JSON, but not valid here; `errors` names each mistake.",
    429: "Too many passwords are to be verified already.",
    503: "The store cannot be used.",
}
_DESCRIPTION = """Jobs, transitions, deliveries, sources and sinks of one AWS job monitor.

Times are RFC 3339 in UTC, durations in answers are seconds. Errors are RFC 9457 problems. Every
GET except the event stream returns an `ETag`, and 304 to its `If-None-Match`.
"""


def document(endpoints: Sequence[Endpoint], version: str, prefix: str = "") -> dict[str, Any]:
    """Describe ``endpoints``; ``prefix`` stands before each path."""
    schemas = _schemas(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "AWS job monitor", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": prefix or "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _schemas(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    taken = [(model, "validation") for one in endpoints for model in (one.query, one.body) if model]
    given = [(one.ok, "serialization") for one in endpoints]
    models: Any = dict.fromkeys([*taken, *given, (ProblemDetails, "serialization")])
    _, found = models_json_schema(
        list(models), ref_template=_REF + "{model}", schema_generator=DescribedSchema
    )
    # Clients know the models by their titles, which stay as the names in the code change.
    titles = {name: schema.get("title", name) for name, schema in found["$defs"].items()}
    text = orjson.dumps(found["$defs"]).decode()
    for name, title in titles.items():
        text = text.replace(f'"{_REF}{name}"', f'"{_REF}{title}"')
    return dict(sorted((titles[name], schema) for name, schema in orjson.loads(text).items()))


def _operation(endpoint: Endpoint, schemas: Mapping[str, Any]) -> dict[str, Any]:
    words = inspect.getdoc(endpoint.handler) or ""
    owner = type(getattr(endpoint.handler, "__self__", None)).__name__
    method = getattr(endpoint.handler, "__name__", "")
    operation: dict[str, Any] = {
        "operationId": f"{_OWNERS.get(owner, owner)}_{method}".lower(),
        "summary": words.partition("\n")[0],
        "description": words,
        "parameters": [*_parameters(endpoint, schemas)],
        "responses": _responses(endpoint),
    }
    if endpoint.body:
        operation["requestBody"] = {"required": True, "content": _content(endpoint.body)}
    if endpoint.writes:
        operation["security"] = [{"bearer": []}, {"basic": []}]
    return operation


def _parameters(endpoint: Endpoint, schemas: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    about = {
        "key": "A job's key, `type/account/region/id`; slashes in it may be percent-encoded.",
        "name": "A name.",
    }
    for name, words in about.items():
        if f"{{{name}}}" in endpoint.path:
            given: dict[str, Any] = {"type": "string", "minLength": 1}
            found = {"name": name, "in": "path", "required": True, "description": words}
            yield found | {"schema": given}
    if endpoint.query is None:
        return
    for name, schema in schemas[_title(endpoint.query)].get("properties", {}).items():
        given = {key: value for key, value in schema.items() if key not in {"description", "title"}}
        # In a query nothing is null: that is to leave it out.
        options = [one for one in given.pop("anyOf", []) if one.get("type") != "null"]
        if given.get("default", ...) is None:
            del given["default"]
        given |= options[0] if len(options) == 1 else {"anyOf": options} if options else {}
        words = schema.get("description", "")
        found = {"name": name, "in": "query", "required": False, "description": words}
        yield found | {"schema": given}


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    kind = "text/event-stream" if endpoint.streams else "application/json"
    words = HTTPStatus(endpoint.status).phrase
    found = {str(endpoint.status): {"description": words, "content": _content(endpoint.ok, kind)}}
    if not (endpoint.writes or endpoint.streams):
        found["304"] = {"description": "It has not changed since the `ETag` in `If-None-Match`."}
    own = dict(endpoint.problems)
    # The guard and the body's reader refuse before the handler runs, so on every such path.
    common = [400, 401, 421, 429, 503]
    if endpoint.writes:
        common += [403, 413, 415]
    if endpoint.body:
        common.append(422)
    for status in common:
        own.setdefault(status, _COMMON[status])
    for status, words in sorted(own.items()):
        content = _content(ProblemDetails, problems.CONTENT_TYPE)
        if status == _UNREADABLE:
            content["text/plain"] = {"schema": {"type": "string"}}
        found[str(status)] = {"description": words, "content": content}
    return found


def _content(model: type[BaseModel], kind: str = "application/json") -> dict[str, Any]:
    return {kind: {"schema": {"$ref": _REF + _title(model)}}}


def _title(model: type[BaseModel]) -> str:
    return model.model_config.get("title") or model.__name__


class Document(View):
    """An OpenAPI 3.1 document."""

    openapi: str
