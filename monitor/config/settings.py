"""Every setting, its unit and its default."""

from __future__ import annotations

import re
from collections.abc import Callable  # noqa: TC003 - pydantic reads the annotation
from dataclasses import dataclass, field
from importlib import metadata
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PrivateAttr,
    SecretStr,
    SerializerFunctionWrapHandler,
    Tag,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from monitor.pacing import STALE_AFTER
from monitor.redaction import HIDDEN, clean_text

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
LONGEST = 3650 * 86400.0
"""No duration is longer than ten years, so that no sum of times overflows."""
NEVER = "never"
"""What is written for a time that does not come."""


def parse_duration(value: Any) -> float:
    """Turn ``30s``, ``5m``, ``2h``, ``3d`` or ``1h30m`` into seconds.

    Raises:
        ValueError: the text is not a duration, or one that makes no sense.
    """
    text = str(value).strip()
    if not text or _DURATION.sub("", text):
        raise ValueError("is not a duration (write 30s, 5m, 2h or 3d)")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))
    if not 0 < seconds <= LONGEST:
        raise ValueError("must be more than 0s and at most 3650d")
    return seconds


def format_duration(seconds: float) -> str:
    """Write seconds as ``parse_duration`` reads them, to the millisecond."""
    rest, parts = round(seconds * 1000), []
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, round(size * 1000))
        parts.append(f"{count}{unit}" if count else "")
    return "".join(parts) or "0s"


def parse_limit(value: Any) -> float | None:
    """Turn a duration into seconds, and ``never`` or nothing into ``None``.

    Raises:
        ValueError: as ``parse_duration``.
    """
    return None if value is None or value == NEVER else parse_duration(value)


def _format_limit(seconds: float | None) -> str:
    return NEVER if seconds is None else format_duration(seconds)


def parse_listen(text: str) -> tuple[str, int]:
    """Split ``127.0.0.1:9847`` or ``[::1]:9847`` into host and port.

    ``:9847`` and ``*:9847`` have an empty host: every address, IPv4 and IPv6.

    Raises:
        ValueError: the text is not an address and a port.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else "" if host == "*" else host
    if not colon or bracketed != (":" in bare):
        raise ValueError("is not an address and a port")
    if not re.fullmatch(r"[0-9A-Za-z.:_%-]*", bare) or not re.fullmatch(r"[0-9]{1,5}", port):
        raise ValueError("is not an address and a port")
    if int(port) > 65535:  # noqa: PLR2004 - the highest port there is
        raise ValueError("has a port above 65535")
    return bare, int(port)


def _shown(value: Any) -> Any:
    """Return a value without the parts of its texts that may be secret, as those of a URL."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in value.items()}
    return [_shown(item) for item in value] if isinstance(value, list) else value


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^({_DURATION.pattern})+$"}),
]
"""Seconds, written as 30s, 5m, 2h or 3d."""

Limit = Annotated[
    float | None,
    BeforeValidator(parse_limit),
    PlainSerializer(_format_limit, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^(never|({_DURATION.pattern})+)$"}),
]
"""Seconds, written as a duration; ``None``, written as never or null, for no limit at all."""


class Section(BaseModel):
    """A part of the configuration: immutable, and strict about its keys.

    A key without a value counts as not given. Its ``repr`` shows no secret.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        defer_build=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None}
        return {} if data is None else data

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """Show URLs as scheme and host only."""
        return [(name, _shown(value)) for name, value in super().__repr_args__()]


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


Following = Annotated[
    Annotated[bool, Tag("flag")] | Annotated[Discover, Tag("rules")],
    Discriminator(lambda value: "rules" if isinstance(value, dict | Discover) else "flag"),
]


StuckAfter = Annotated[
    Annotated[Limit, Tag("one limit")] | Annotated[dict[str, Limit], Tag("limit of each")],
    Discriminator(lambda value: "limit of each" if isinstance(value, dict) else "one limit"),
]


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
    discover: Following = False
    """Follow every job that the account lists, or those that ``include``, ``exclude`` and
    ``max_age`` choose."""
    interval: Duration | None = None
    """Time between two looks at a job; by default the job type's."""
    stuck_after: StuckAfter = None
    """Tell when a job's state has not changed for so long; or a map of a state, a glob on states,
    a phase or ``default`` to a duration or ``never``."""
    missing_after: Duration = 3600.0
    """For how long AWS must deny three times that a job exists before it is told."""
    blind_after_intervals: int = Field(default=STALE_AFTER, ge=1, le=1000)
    """Intervals, but at least a minute, without an answer about a job before it counts as blind."""
    final_grace: Duration | None = None
    """For how long an ended job that may still change is looked at; by default the type's."""
    ended_interval: Duration | None = Field(
        default=None, validation_alias=AliasChoices("ended_interval", "final_interval")
    )
    """Time between two polls of such a job, but never less than ``interval``; by default the
    type's, which is 1h unless it says otherwise. ``final_interval`` is its former name."""
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


SecretUrl = Annotated[
    SecretStr,
    PlainSerializer(
        lambda url: clean_text(url.get_secret_value()), return_type=str, when_used="json"
    ),
]
"""A URL whose path may be a secret, so that only scheme and host are ever shown."""


class Tls(Section):
    """How a receiver proves who it is, and the monitor who it is itself."""

    ca_file: str | None = None
    """Certificates (PEM) of the authorities to trust, instead of the system's."""
    cert_file: str | None = None
    """The monitor's own certificate (PEM), with those between it and its authority."""
    key_file: str | None = None
    """The key of ``cert_file`` (PEM, not encrypted), unless that file holds it."""
    server_name: str | None = None
    """The name that the receiver's certificate must hold, if it is not the URL's host."""


class WebhookSink(SinkSettings):
    """An HTTP POST of each CloudEvent, signed after Standard Webhooks."""

    type: Literal["webhook"]
    url: SecretUrl
    """Where to post; its path may be a secret, so only scheme and host are ever shown."""
    secret_files: list[str] = []
    """Files with signing secrets (``whsec_…``); all sign, so that keys can be rotated. They are
    read again when they change, as all files of a webhook are."""
    headers: Annotated[
        dict[str, str],
        PlainSerializer(lambda headers: dict.fromkeys(headers, HIDDEN), when_used="json"),
    ] = Field(default={}, repr=False)
    """More headers, with values that are no secret."""
    header_files: dict[str, str] = {}
    """More headers, with values read from files."""
    allow_http: bool = False
    """Permit plain http."""
    allow_networks: list[str] = []
    """Networks in CIDR form that may be reached although private, loopback or reserved."""
    template: str | None = None
    """What to send instead of the event: ``slack``, ``teams``, ``pagerduty``, or the path of a
    Jinja template."""
    template_secrets: dict[str, str] = {}
    """Name → file with a value that the template may use as ``secrets.NAME``."""
    success: str | None = Field(default=None, max_length=1000)
    """What a reply of 2xx must fulfil to count as a yes: a JMESPath expression over ``status``,
    ``headers``, ``text`` and ``json``; by default any does, and a ready template has its own."""
    content_type: str | None = None
    """By default that of CloudEvents, and ``application/json`` with a template."""
    tls: Tls = Tls()
    """Other authorities than the system's, and a client certificate."""
    proxy: SecretUrl | None = None
    """An HTTP proxy, such as ``http://proxy.example.com:3128``."""
    proxy_auth_file: str | None = None
    """A file with ``user:password`` for the proxy."""


class AwsSinkSettings(SinkSettings):
    """What every kind of sink in AWS can be told; the region is that of its ARN."""

    account: str = "default"
    """One of ``accounts``, whose credentials and endpoints are used; by default the ambient."""


class SnsSink(AwsSinkSettings):
    """A message to an SNS topic for each transition, with attributes to filter by."""

    type: Literal["sns"]
    topic_arn: str
    """The topic; one whose name ends in ``.fifo`` keeps the order of each job."""


class SqsSink(AwsSinkSettings):
    """A message to an SQS queue for each transition."""

    type: Literal["sqs"]
    queue_arn: str | None = None
    """The queue, by its ARN; one whose name ends in ``.fifo`` keeps the order of each job."""
    queue_url: str | None = None
    """The queue, by its URL in AWS, instead of its ARN."""


class EventBridgeSink(AwsSinkSettings):
    """An event on an EventBridge event bus for each transition."""

    type: Literal["eventbridge"]
    event_bus_arn: str
    """The event bus."""


class AppriseSink(SinkSettings):
    """A notification by Apprise, which knows many services; needs the extra ``apprise``."""

    type: Literal["apprise"]
    url_files: list[str] = Field(min_length=1)
    """Files with one Apprise URL each; a URL is a secret."""
    title: str = "{{ title }}"
    """A Jinja template of the title."""
    body: str = (
        "{% if data.reason %}{{ data.reason }}\n{% endif %}"
        "{{ account }} · {{ region }} · {{ data.kind }}, seen {{ time }}"
    )
    """A Jinja template of the text."""


BuiltInSink = Annotated[
    LogSink | WebhookSink | SnsSink | SqsSink | EventBridgeSink | AppriseSink,
    Field(discriminator="type"),
]

PLUGINS = "job_monitor.sinks"
"""The entry-point group in which installed packages offer further sinks."""


class PluginSink(SinkSettings):
    """A sink of an installed plug-in, which says what else can be set."""

    model_config = ConfigDict(extra="allow")

    type: str
    """The plug-in's name."""

    @model_serializer(mode="wrap")
    def _hiding(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Show the names alone of what is the plug-in's: any of it may be a secret."""
        shown: dict[str, Any] = serialize(self)
        return shown | dict.fromkeys(self.model_extra or {}, HIDDEN)

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """Show nothing of what is the plug-in's."""
        own = type(self).model_fields
        return [(name, value) for name, value in super().__repr_args__() if name in own]


def plugin_names() -> frozenset[str]:
    """Return the names of the sinks that installed packages offer."""
    return frozenset(entry.name for entry in metadata.entry_points(group=PLUGINS))


def _maker(value: Any) -> str:
    """Tell whose a sink's settings are; a plug-in cannot take the place of a built-in sink."""
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    built_in = get_args(get_args(BuiltInSink)[0])
    known = {name for each in built_in for name in get_args(each.model_fields["type"].annotation)}
    if isinstance(kind, str) and kind not in known and kind in plugin_names():
        return "plug-in"
    return "built-in"


Sink = Annotated[
    Annotated[BuiltInSink, Tag("built-in")] | Annotated[PluginSink, Tag("plug-in")],
    Discriminator(_maker),
]

OneOrMany = Annotated[
    list[str], BeforeValidator(lambda value: value if isinstance(value, list) else [value])
]


class RouteMatch(Section):
    """What a route takes: globs, of which one must match for every key given."""

    kind: OneOrMany = []
    """Such as ``job.state_changed``. A job that is first seen open is sent only where
    ``job.discovered`` is named here."""
    phase: OneOrMany = []
    """Waiting, running, succeeded, failed, canceled, expired or unknown, in small letters."""
    state: OneOrMany = []
    """The state as the service names it, such as ``AtAWS/InProgress``."""
    severity: OneOrMany = []
    """One of info, warning and error."""
    type: OneOrMany = []
    """A job type, such as ``importexport.*``."""
    account: OneOrMany = []
    """One of ``accounts``, or ``default``."""
    region: OneOrMany = []
    """An AWS region, such as ``eu-*``."""
    labels: dict[str, OneOrMany] = {}
    """Label → globs; a label that a watch does not have counts as empty."""


class Route(Section):
    """Which transitions go to which sinks; the first match wins."""

    match: RouteMatch = RouteMatch()
    """What it takes; everything, if left out."""
    sinks: list[str]
    """Names of ``sinks``; an empty list drops what matches."""
    continue_: bool = Field(default=False, alias="continue")
    """Go on to the next routes as well."""


class QuotaSettings(Section):
    """The request budget of one service in one account and region."""

    rate: float = Field(gt=0)
    """Requests per second."""
    burst: int = Field(default=1, ge=1)
    """Requests that may be made at once after a pause."""


SHORTEST_TOKEN = 16
"""Characters; a shorter bearer token lets nobody in."""


class ServerSettings(Section):
    """The HTTP side: page, API, metrics, health, readiness."""

    listen: str = "127.0.0.1:9847"
    """Address and port; ``[::1]:9847`` for IPv6, ``:9847`` for every address of both families."""
    max_connections: int | None = Field(default=None, ge=8, le=100_000)
    """Connections at once; beyond, the one that is idle the longest is closed. By default 1024, or
    what the limit on open files permits."""
    web_config_file: str | None = None
    """A ``web-config.yml`` as of the Prometheus exporter toolkit, with TLS and basic auth."""
    token_files: list[str] = []
    """Files with one bearer token each, of at least 16 characters; any of them may write."""
    hosts: list[str] = []
    """Names that the monitor may be called by, beside ``localhost``, addresses and the name in
    ``listen``; others are answered with 421. With none here, every name is answered."""


class MetricsSettings(Section):
    """What is counted for each job by itself, beside the totals."""

    per_job: bool = False
    """Show ``job_info``, ``job_state`` and ``job_last_change_timestamp_seconds``."""
    max_jobs: int = Field(default=1000, ge=1, le=100_000)
    """Jobs that are shown so; ``job_series_cut`` counts those beyond."""
    keep_finished: Duration = 3600.0
    """For how long a job that ended is still shown so."""
    job_labels: list[str] = []
    """Labels of the watches that ``job_info`` carries, such as ``team`` as ``label_team``."""


class LogSettings(Section):
    """What the daemon says of itself, on standard error."""

    format: Literal["json", "console"] = "json"
    """One JSON object a line, or lines for the eye."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important kind of line that is written."""


def _nowhere(_path: tuple[str | int, ...]) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Tells where each value came from; no part of what the settings are equal by."""

    find: Callable[[tuple[str | int, ...]], str] = field(default=_nowhere, compare=False)


class Settings(BaseSettings, Section):
    """The whole configuration; of itself it reads neither files nor the environment."""

    model_config = SettingsConfigDict(
        env_prefix="JOB_MONITOR_",
        env_nested_delimiter="__",
        case_sensitive=True,
        validate_default=False,
    )

    accounts: dict[str, Account] = {}
    """Name → the credentials to use; the name is part of every job's key."""
    watches: list[Watch] = []
    """What is watched."""
    sinks: dict[str, Sink] = {}
    """Name → where transitions are told."""
    routes: list[Route] = []
    """Which transitions go to which sinks; without any, everything goes to every sink."""
    quotas: dict[str, QuotaSettings] = {}
    """Service name → budget; by default the job type's."""
    store: str = "sqlite:///var/lib/job-monitor/state.db"
    """``sqlite:///absolute/path.db``, ``sqlite:relative.db`` or ``postgresql://user@host/db``."""
    job_types_dir: str | None = None
    """A directory of your own job type declarations."""
    retention: Duration = 30 * 86400.0
    """How long delivered history is kept."""
    server: ServerSettings = ServerSettings()
    """The HTTP side."""
    metrics: MetricsSettings = MetricsSettings()
    """What is counted for each job by itself, beside the totals."""
    log: LogSettings = LogSettings()
    """What the daemon says of itself."""

    _origin: Origin = PrivateAttr(default_factory=Origin)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what is handed in; ``monitor.config`` hands in its own sources."""
        return (init_settings,)

    def place(self, *path: str | int) -> str:
        """Say where the value at ``path`` was written: ``FILE:LINE`` or ``environment NAME``."""
        return self._origin.find(path)

    def placed(self, origin: Origin) -> Settings:
        """Return the same settings, knowing where each was written."""
        copy = self.model_copy()
        copy._origin = origin  # noqa: SLF001 - its own, of a copy
        return copy

    def redacted(self) -> dict[str, Any]:
        """Return everything as JSON values that may be shown; durations as they are written."""
        plain: dict[str, Any] = _shown(self.model_dump(mode="json", by_alias=True))
        return plain
