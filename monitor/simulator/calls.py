"""Parse a request to AWS: its service, operation and job, its caller and region."""

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
    """Parse a request; the signing scope names the service, else the path does."""
    scope = signing.scope(http.headers)
    region = scope.region if scope else DEFAULT_REGION
    key = scope.access_key if scope else None
    unsigned_query = http.method == "POST" and http.path == "/"
    names = {"panorama": False, "IngestionService": True}
    if names.get(scope.service if scope else "", unsigned_query):
        form = dict(parse_qsl(http.body.decode("utf-8", "replace"), keep_blank_values=True))
        # Signature version 2 carries the key in the form instead of a header.
        key = key or form.get("AWSAccessKeyId")
        return Call("importexport", form.get("Action"), form.get("JobId"), form, region, key)
    operation, job = None, None
    prefix, _, last = http.path.rpartition("/")
    if http.method == "GET" and http.path == _IMPORT_JOBS:
        operation = "ListPackageImportJobs"
    elif http.method == "GET" and prefix == _IMPORT_JOBS and last:
        operation, job = "DescribePackageImportJob", unquote(last)
    # A bare "+" is a space in a query: a client that forgets to encode a token loses it.
    query = dict(parse_qsl(http.query, keep_blank_values=True))
    return Call("panorama", operation, job, query, region, key)
