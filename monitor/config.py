"""Every setting, its unit and its default."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(value: Any) -> float:
    """Turn ``30s``, ``5m``, ``2h``, ``3d`` or ``1h30m`` into seconds.

    Raises:
        ValueError: the text is not a duration.
    """
    text = str(value).strip()
    if not text or _DURATION.sub("", text):
        raise ValueError("not a duration; write it as 30s, 5m, 2h or 3d")
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
"""Seconds, written as 30s, 5m, 2h or 3d."""


class Section(BaseModel):
    """A part of the configuration: immutable, and strict about its keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


class Account(Section):
    """A set of credentials; without any key, the ambient ones."""

    profile: str | None = None
    """A profile of the AWS configuration files."""
    role_arn: str | None = None
    """A role to assume, from the profile's or the ambient credentials."""
    external_id_file: str | None = None
    """A file with the external id that the role's trust policy asks for."""
    session_name: str = "job-monitor"
    """The name of the assumed role's session, as CloudTrail shows it."""
    endpoint_urls: dict[str, str] = {}
    """Service name → URL, for emulators and private endpoints."""


class Discover(Section):
    """Which of the jobs that an account lists are followed."""

    include: list[str] = ["*"]
    """Globs on the job id, of which one must match."""
    exclude: list[str] = []
    """Globs on the job id, of which none may match."""
    max_age: Duration | None = None
    """Only jobs created within this time."""


class Watch(Section):
    """A request to watch jobs of one type."""

    name: str
    """A unique name, shown in labels, logs and messages."""
    type: str
    """A job type, such as ``panorama.package-import``."""
    account: str = "default"
    """One of ``accounts``, or ``default`` for the ambient credentials."""
    regions: list[str] = []
    """AWS regions; may be left out for types with one global endpoint."""
    jobs: list[str] = []
    """Job ids to follow."""
    discover: bool | Discover = False
    """Follow every job that the account lists."""
    interval: Duration | None = None
    """Time between two looks at a job; by default the job type's."""
    stuck_after: Duration | None = None
    """Tell when a job's state has not changed for so long."""
    missing_after: Duration = 3600.0
    """For how long AWS must deny three times that a job exists before it is told."""
    final_grace: Duration | None = None
    """For how long an ended job that may still change is looked at; by default the type's."""
    labels: dict[str, str] = {}
    """Carried by every event of the watch, for routes and receivers."""
    include_tracking_number: bool = False
    """Keep the whole tracking number instead of its last four characters."""


class SinkSettings(Section):
    """What every kind of sink can be told."""

    timeout: Duration = 15.0
    """Deadline of one attempt."""
    max_age: Duration = 3 * 86400.0
    """How long a transition is tried before it is dead."""
    concurrency: int = Field(default=4, ge=1, le=64)
    """Attempts under way at once."""


class LogSink(SinkSettings):
    """One JSON line per transition."""

    type: Literal["log"]
    path: str | None = None
    """A file to append to; by default standard output."""


class WebhookSink(SinkSettings):
    """An HTTP POST of each CloudEvent, signed after Standard Webhooks."""

    type: Literal["webhook"]
    url: SecretStr
    """Where to post; its path may be a secret, so only scheme and host are ever shown."""
    secret_files: list[str] = []
    """Files with signing secrets (``whsec_…``); all sign, so that keys can be rotated."""
    headers: dict[str, str] = {}
    """More headers, with values that are no secret."""
    header_files: dict[str, str] = {}
    """More headers, with values read from files."""
    allow_http: bool = False
    """Permit plain http."""
    allow_networks: list[str] = []
    """Networks in CIDR form that may be reached although private, loopback or reserved."""


Sink = Annotated[LogSink | WebhookSink, Field(discriminator="type")]

OneOrMany = Annotated[
    list[str], BeforeValidator(lambda value: value if isinstance(value, list) else [value])
]


class Match(Section):
    """What a route takes: globs, of which one must match for every key given."""

    kind: OneOrMany = []
    """Such as ``job.state_changed``. ``job.discovered`` is sent only where it is named here."""
    phase: OneOrMany = []
    state: OneOrMany = []
    severity: OneOrMany = []
    type: OneOrMany = []
    account: OneOrMany = []
    region: OneOrMany = []
    labels: dict[str, OneOrMany] = {}


class Route(Section):
    """Which transitions go to which sinks; the first match wins."""

    match: Match = Match()
    sinks: list[str]
    """Names of ``sinks``; an empty list drops what matches."""
    continue_: bool = Field(default=False, alias="continue")
    """Go on to the next routes as well."""


class Quota(Section):
    """The request budget of one service in one account and region."""

    rate: float = Field(gt=0)
    """Requests per second."""
    burst: int = Field(default=1, ge=1)
    """Requests that may be made at once after a pause."""


class Server(Section):
    """The HTTP side: metrics, health, readiness."""

    listen: str = "127.0.0.1:9847"
    """Address and port; ``[::1]:9847`` for IPv6."""
    web_config_file: None = None
    """Reserved: TLS and basic auth are not available yet."""


class Log(Section):
    """What the daemon says of itself, on standard error."""

    format: Literal["json", "console"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        env_prefix="JOB_MONITOR_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    accounts: dict[str, Account] = {}
    watches: list[Watch] = []
    sinks: dict[str, Sink] = {}
    routes: list[Route] = []
    """Without any, everything goes to every sink."""
    quotas: dict[str, Quota] = {}
    """Service name → budget; by default the job type's."""
    store: str = "sqlite:///var/lib/job-monitor/state.db"
    """``sqlite:///absolute/path.db``, ``sqlite:relative.db`` or ``postgresql://user@host/db``."""
    job_types_dir: str | None = None
    """A directory of your own job type declarations."""
    retention: Duration = 30 * 86400.0
    """How long delivered history is kept."""
    server: Server = Server()
    log: Log = Log()
