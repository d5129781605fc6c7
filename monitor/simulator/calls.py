"""What a request asks: which service, operation and job, as whom and where."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from monitor.simulator import signing
from monitor.simulator.members import Service
from monitor.simulator.signing import HttpRequest

DEFAULT_REGION = "us-east-1"
_IMPORT_JOBS = "/packages/import-jobs"


@dataclass(frozen=True, slots=True)
class Call:
    """One request to AWS; `operation` is None where the service has none like it."""

    service: Service
    operation: str | None = None
    job: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    region: str = DEFAULT_REGION
    access_key: str | None = None


def read(http: HttpRequest) -> Call:
    """Understand a request; the signing scope names the service, else the path does."""
    scope = signing.scope(http.headers)
    if _service(http, scope) == "importexport":
        return _import_export(http, scope)
    return _panorama(http, scope)


def _service(http: HttpRequest, scope: signing.Scope | None) -> Service:
    if scope and scope.service == "panorama":
        return "panorama"
    if scope and scope.service == "IngestionService":
        return "importexport"
    return "importexport" if http.method == "POST" and http.path == "/" else "panorama"


def _panorama(http: HttpRequest, scope: signing.Scope | None) -> Call:
    operation, job = None, None
    if http.method == "GET" and http.path == _IMPORT_JOBS:
        operation = "ListPackageImportJobs"
    elif http.method == "GET" and _is_one_job(http.path):
        operation = "DescribePackageImportJob"
        job = unquote(http.path.removeprefix(f"{_IMPORT_JOBS}/"))
    return Call(
        "panorama",
        operation,
        job,
        # A bare "+" is a space in a query: a client that forgets to encode a token loses it.
        dict(parse_qsl(http.query, keep_blank_values=True)),
        scope.region if scope else DEFAULT_REGION,
        scope.access_key if scope else None,
    )


def _is_one_job(path: str) -> bool:
    prefix, _, job = path.rpartition("/")
    return prefix == _IMPORT_JOBS and bool(job)


def _import_export(http: HttpRequest, scope: signing.Scope | None) -> Call:
    form = dict(parse_qsl(http.body.decode("utf-8", "replace"), keep_blank_values=True))
    return Call(
        "importexport",
        form.get("Action"),
        form.get("JobId"),
        form,
        scope.region if scope else DEFAULT_REGION,
        # Signature version 2 carries the key in the form instead of a header.
        scope.access_key if scope else form.get("AWSAccessKeyId"),
    )
