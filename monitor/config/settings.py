"""Every setting with its type, its default and its description."""

from __future__ import annotations

import re
from collections.abc import Callable  # noqa: TC003 - pydantic reads the annotation
from dataclasses import dataclass, field
from importlib import metadata
from typing import Annotated, Any, Literal, Self, get_args

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
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from monitor.config.values import ClockTime, Duration, Limit, TimeZone
from monitor.pacing import STALE_AFTER
from monitor.redaction import HIDDEN, clean_text

_ROLE = re.compile(r"arn:[^:]+:iam::([0-9]{12}):role/.+")


def _shown(value: Any) -> Any:
    """Return a value without the parts that may be secret, such as the path of a URL."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in value.items()}
    return [_shown(item) for item in value] if isinstance(value, list) else value


class Section(BaseModel):
    """A part of the configuration: immutable, and strict about its keys.

    A key without a value counts as not given. Its ``repr`` shows no secret.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # it may be a secret
        allow_inf_nan=False,
        # Schemas are built on first use: a command that reads no settings starts faster.
        defer_build=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, data: Any) -> Any:
        # YAML reads a key whose values are all commented out as null.
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None}
        return {} if data is None else data

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """Show URLs as scheme and host only."""
        return [(name, _shown(value)) for name, value in super().__repr_args__()]


class Account(Section):
    """A set of credentials; without any key, the ambient credentials."""

    profile: str | None = None
    """A profile in the AWS configuration files."""
    role_arn: str | None = None
    """A role to assume with the credentials of the profile, or else the ambient ones."""
    external_id_file: str | None = None
    """A file with the external ID that the trust policy of the role requires."""
    session_name: str = "job-monitor"
    """The session name of the assumed role, which CloudTrail shows."""
    endpoint_urls: dict[str, str] = {}
    """Service name → URL of an emulator or a private endpoint."""
    account_id: str | None = None
    """The 12 digits that AWS gave the account, in quotes, for events, metrics and links. By default
    those in ``role_arn``."""
    fetch_account_id: bool = False
    """Fetch them from AWS once (``sts:GetCallerIdentity``), which needs no permission."""

    @property
    def given_id(self) -> str | None:
        """The id that the configuration says, if only as a part of the role's ARN."""
        role = _ROLE.fullmatch(self.role_arn or "")
        return self.account_id or (role[1] if role else None)


Parents = Annotated[
    Annotated[Literal["all"], Tag("all")] | Annotated[list[str], Tag("names")],
    Discriminator(lambda value: "names" if isinstance(value, list) else "all"),
]


class Discover(Section):
    """The rules for which of an account's jobs are watched."""

    include: list[str] = ["*"]
    """Globs for job IDs; a job is watched if at least one matches."""
    exclude: list[str] = []
    """Globs for job IDs; a job is not watched if one matches."""
    max_age: Duration | None = None
    """Watch only jobs that were created within this time."""
    of: Parents | None = None
    """The parents whose jobs are watched, where AWS lists jobs for each of them, such as
    clusters or queues: their names, or ``all``."""


Following = Annotated[
    Annotated[bool, Tag("flag")] | Annotated[Discover, Tag("rules")],
    Discriminator(lambda value: "rules" if isinstance(value, dict | Discover) else "flag"),
]


StuckAfter = Annotated[
    Annotated[Limit, Tag("one limit")] | Annotated[dict[str, Limit], Tag("limit of each")],
    Discriminator(lambda value: "limit of each" if isinstance(value, dict) else "one limit"),
]


class MaintenanceWindow(Section):
    """A time at which transitions of a watch are recorded and not sent."""

    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = []
    """Days on which it begins. By default every day."""
    from_: ClockTime = Field(alias="from")
    """The time of day at which it begins, such as ``"02:00"``. Quote it."""
    to: ClockTime
    """The time of day at which it ends: on the next day if that is before ``from``. ``"24:00"`` is
    midnight."""
    timezone: TimeZone = "UTC"
    """The time zone of both, such as ``Europe/Berlin``."""

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if self.from_ == self.to:
            raise ValueError('ends when it begins (for a day, write from: "00:00", to: "24:00")')
        return self


class Watch(Section):
    """A set of jobs of one type to watch."""

    name: str
    """A unique name, shown in events, logs and messages."""
    type: str
    """A job type, such as ``panorama.package-import``."""
    account: str = "default"
    """A name in ``accounts``, or ``default`` for the ambient credentials."""
    regions: list[str] = []
    """AWS regions. Leave them out for job types with one global endpoint."""
    jobs: list[str] = []
    """IDs of the jobs to watch."""
    discover: Following = False
    """``true`` to watch every job that the account lists, or a map of ``include``, ``exclude``
    and ``max_age`` to select some of them."""
    interval: Duration | None = None
    """Time between two polls of a job. The default depends on the job type."""
    interval_with_hints: Duration | None = None
    """Time between two polls, and between two sweeps, while a queue in ``hints`` of the same
    account and region can be read. By default the ``interval``."""
    schedule: Literal["fixed", "learned"] = "fixed"
    """``learned`` polls mostly at the ages at which jobs of the account and type left their state
    before, where that sees changes clearly sooner at as many polls. See ``job-monitor lab``."""
    stuck_after: StuckAfter = None
    """Report a job whose state has not changed for this long. A map sets it for each state,
    glob for states, phase or ``default``; ``never`` turns it off."""
    missing_after: Duration = 3600.0
    """Report a job as missing when AWS has answered at least three times over this time that
    it does not exist."""
    blind_after_intervals: int = Field(default=STALE_AFTER, ge=1, le=1000)
    """Intervals, but at least a minute, without data about a job before it is stale (blind)."""
    final_grace: Duration | None = None
    """Time for which an ended job that may still change is polled. The default depends on the
    job type."""
    ended_interval: Duration | None = Field(
        default=None, validation_alias=AliasChoices("ended_interval", "final_interval")
    )
    """Time between two polls of such a job, at least ``interval``. The default depends on the
    job type, and is usually 1h. The former name ``final_interval`` still works."""
    remind_every: Duration | None = None
    """Time after which a job that is still stuck is reported again, each time."""
    confirm: int = Field(default=1, ge=1, le=10)
    """Polls in a row that must show another state before it counts. A job that has ended needs only
    one."""
    maintenance: list[MaintenanceWindow] = []
    """Times at which transitions of its jobs are recorded and not sent."""
    labels: dict[str, str] = {}
    """Labels that every event of the watch carries, for routes and receivers."""
    include_tracking_number: bool = False
    """Keep the whole tracking number, not only its last four characters."""


class Hint(Section):
    """A queue of EventBridge events, each of which makes the poll of its job due at once."""

    queue_url: str
    """The URL of an SQS queue."""
    account: str = "default"
    """The name in ``accounts`` whose credentials and endpoints are used."""
    region: str | None = None
    """The AWS region of the queue. Leave it out where the URL names it."""


class WatchRequest(Watch):
    """A watch as it is added at run time; a configuration file cannot say ``expires``."""

    model_config = ConfigDict(title="Watch")

    expires: Literal["final"] | None = None
    """``final``: the daemon removes the watch a minute after the last wait for its jobs, once all
    of them have ended or are missing, and in any case after a day without a wait. It needs
    ``jobs``, and takes no ``discover``."""

    @model_validator(mode="after")
    def _names_what_ends(self) -> Self:
        if self.expires and self.discover:
            raise ValueError("has both expires and discover (name its jobs: jobs: [ID])")
        return self


class SinkSettings(Section):
    """The settings that every type of sink has."""

    timeout: Duration = 15.0
    """Time limit of one delivery attempt."""
    max_age: Duration = 3 * 86400.0
    """Time for which a delivery is retried before it becomes a dead letter."""
    concurrency: int = Field(default=4, ge=1, le=64)
    """Delivery attempts that may run at once."""


class LogSink(SinkSettings):
    """Writes one line of JSON for each transition."""

    type: Literal["log"]
    path: str | None = None
    """A file to append to. By default, lines go to standard output."""


SecretUrl = Annotated[
    SecretStr,
    PlainSerializer(
        lambda url: clean_text(url.get_secret_value()), return_type=str, when_used="json"
    ),
]
"""A URL whose path may be a secret, so only scheme and host are ever shown."""


class Tls(Section):
    """TLS between the monitor and a receiver: trusted authorities and a client certificate."""

    ca_file: str | None = None
    """Certificates (PEM) of the authorities to trust instead of those of the system."""
    cert_file: str | None = None
    """The client certificate of the monitor (PEM), with any intermediate certificates."""
    key_file: str | None = None
    """The private key of ``cert_file`` (PEM, not encrypted), unless that file holds it."""
    server_name: str | None = None
    """The name that the certificate of the receiver must hold. By default, the host of the URL."""


class WebhookSink(SinkSettings):
    """Sends each event by HTTP POST, as a CloudEvent signed according to Standard Webhooks."""

    type: Literal["webhook"]
    url_file: str | None = None
    """A file with the URL, in place of ``url``."""
    url: SecretUrl | None = Field(default=None, validate_default=True)
    """The URL of the receiver. Its path may be a secret, so only scheme and host are shown."""
    secret_files: list[str] = []
    """Files with signing secrets (``whsec_…``). Every secret signs, so that you can rotate them.
    All files of a webhook are read again when they change."""
    headers: Annotated[
        dict[str, str],
        PlainSerializer(lambda headers: dict.fromkeys(headers, HIDDEN), when_used="json"),
    ] = Field(default={}, repr=False)
    """Additional headers whose values are not secret."""
    header_files: dict[str, str] = {}
    """Additional headers: name → file with the value."""
    allow_http: bool = False
    """Allow plain http."""
    allow_networks: list[str] = []
    """Private, loopback or reserved networks that may be reached, in CIDR form."""
    template: str | None = None
    """The body to send instead of the event: ``slack``, ``teams``, ``pagerduty``, or the path of
    a Jinja template."""
    template_secrets: dict[str, str] = {}
    """Name → file with a value that the template can use as ``secrets.NAME``."""
    success: str | None = Field(default=None, max_length=1000)
    """A JMESPath expression over ``status``, ``headers``, ``text`` and ``json`` that a 2xx
    response must satisfy to count as delivered. By default every 2xx counts; built-in templates
    have their own expression."""
    content_type: str | None = None
    """By default that of CloudEvents, or ``application/json`` with a template."""
    tls: Tls = Tls()
    """Trusted authorities and a client certificate."""
    proxy: SecretUrl | None = None
    """An HTTP proxy, such as ``http://proxy.example.com:3128``."""
    proxy_auth_file: str | None = None
    """A file with ``user:password`` for the proxy."""

    @field_validator("url")
    @classmethod
    def _is_given(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        # Said of ``url``, as of any other key that is required.
        if url is None and info.data.get("url_file") is None:
            raise PydanticCustomError("missing", "Field required")
        return url


class AwsSinkSettings(SinkSettings):
    """The settings that every type of sink in AWS has; the ARN names the region."""

    account: str = "default"
    """The name in ``accounts`` whose credentials and endpoints are used."""


class SnsSink(AwsSinkSettings):
    """Publishes a message to an SNS topic for each transition, with attributes for filters."""

    type: Literal["sns"]
    topic_arn: str
    """The ARN of the topic. A FIFO topic (``.fifo``) keeps the order of each job."""


class SqsSink(AwsSinkSettings):
    """Sends a message to an SQS queue for each transition."""

    type: Literal["sqs"]
    queue_arn: str | None = None
    """The ARN of the queue. A FIFO queue (``.fifo``) keeps the order of each job."""
    queue_url: str | None = None
    """The URL of the queue in AWS, instead of its ARN."""


class EventBridgeSink(AwsSinkSettings):
    """Puts an event on an EventBridge event bus for each transition."""

    type: Literal["eventbridge"]
    event_bus_arn: str
    """The ARN of the event bus."""


class AppriseSink(SinkSettings):
    """Sends a notification by Apprise to one of many services; needs the extra ``apprise``."""

    type: Literal["apprise"]
    url_files: list[str] = Field(min_length=1)
    """Files with one Apprise URL each. An Apprise URL is a secret."""
    title: str = "{{ title }}"
    """A Jinja template for the title."""
    body: str = (
        "{% if data.reason %}{{ data.reason }}\n{% endif %}"
        "{{ account }} · {{ region }} · {{ data.kind }}, seen {{ time }}"
    )
    """A Jinja template for the text."""


BuiltInSink = Annotated[
    LogSink | WebhookSink | SnsSink | SqsSink | EventBridgeSink | AppriseSink,
    Field(discriminator="type"),
]

PLUGINS = "job_monitor.sinks"
"""The entry-point group in which installed packages offer more sinks."""


class PluginSink(SinkSettings):
    """A sink of an installed plug-in, which defines further settings."""

    model_config = ConfigDict(extra="allow")

    type: str
    """The name of the plug-in."""

    @model_serializer(mode="wrap")
    def _hiding(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Show only the names of the plug-in's own settings: any value may be a secret."""
        shown: dict[str, Any] = serialize(self)
        return shown | dict.fromkeys(self.model_extra or {}, HIDDEN)

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """Show nothing of the plug-in's own settings."""
        own = type(self).model_fields
        return [(name, value) for name, value in super().__repr_args__() if name in own]


def plugin_names() -> frozenset[str]:
    """Return the names of the sinks that installed packages offer."""
    return frozenset(entry.name for entry in metadata.entry_points(group=PLUGINS))


def _origin_of_sink(value: Any) -> str:
    """Return who offers a sink; a plug-in cannot take the place of a built-in one."""
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    built_in = get_args(get_args(BuiltInSink)[0])
    known = {name for each in built_in for name in get_args(each.model_fields["type"].annotation)}
    if isinstance(kind, str) and kind not in known and kind in plugin_names():
        return "plug-in"
    return "built-in"


Sink = Annotated[
    Annotated[BuiltInSink, Tag("built-in")] | Annotated[PluginSink, Tag("plug-in")],
    Discriminator(_origin_of_sink),
]

OneOrMany = Annotated[
    list[str], BeforeValidator(lambda value: value if isinstance(value, list) else [value])
]


class RouteMatch(Section):
    """The events that a route takes: for every key given, at least one glob must match."""

    kind: OneOrMany = []
    """Kinds of events, such as ``job.state_changed``. The discovery of an open job is delivered
    only where ``job.discovered`` is named here."""
    phase: OneOrMany = []
    """Phases: waiting, running, succeeded, failed, canceled, expired or unknown."""
    state: OneOrMany = []
    """States as the service names them, such as ``AtAWS/InProgress``."""
    severity: OneOrMany = []
    """Severities: info, warning or error."""
    type: OneOrMany = []
    """Job types, such as ``importexport.*``."""
    account: OneOrMany = []
    """Names in ``accounts``, or ``default``."""
    region: OneOrMany = []
    """AWS regions, such as ``eu-*``."""
    labels: dict[str, OneOrMany] = {}
    """Label → globs for its value. A label that a watch does not have counts as empty."""


class SilenceMatch(RouteMatch):
    """The events that a silence holds; a configuration file cannot say ``job``."""

    model_config = ConfigDict(title="Match")

    job: OneOrMany = []
    """Keys or IDs of jobs."""


class Route(Section):
    """A rule for which events go to which sinks; the first match wins."""

    match: RouteMatch = RouteMatch()
    """The events that it takes. By default, all of them."""
    sinks: list[str]
    """Names in ``sinks``. An empty list drops the events that match."""
    continue_: bool = Field(default=False, alias="continue")
    """Try the next routes as well."""


class OperationQuota(Section):
    """The limit on requests of one operation, within the limit of its service."""

    rate: float = Field(gt=0)
    """Requests per second."""
    burst: int = Field(default=1, ge=1)
    """Requests that may be sent at once after a pause."""


class QuotaSettings(OperationQuota):
    """The limit on requests to one service in one account and region."""

    headroom: float = Field(default=0.0, ge=0, lt=1)
    """Part of every limit that is left to other programs: ``0.2`` leaves them a fifth."""
    operations: dict[str, OperationQuota] = {}
    """Operation → a limit of its own, where AWS has one. Write the name as in the AWS API."""


SHORTEST_TOKEN = 16
"""Characters; a shorter bearer token is refused."""


class ServerSettings(Section):
    """The HTTP server: page, API, metrics, health and readiness."""

    listen: str = "127.0.0.1:9847"
    """Address and port. Write ``[::1]:9847`` for IPv6, and ``:9847`` for every address."""
    max_connections: int | None = Field(default=None, ge=8, le=100_000)
    """Open connections at once. One more closes the connection that is idle the longest. The
    default is 1024, or less if the limit on open files is low."""
    web_config_file: str | None = None
    """A ``web-config.yml`` of the Prometheus exporter toolkit, for TLS and basic auth."""
    token_files: list[str] = []
    """Files with one bearer token each, of at least 16 characters. Each token allows changes."""
    hosts: list[str] = []
    """Host names that clients may use, besides ``localhost``, IP addresses and the names
    in ``listen`` and ``external_url``. Requests for others are answered with 421. Without any,
    every name is allowed."""
    external_url: str | None = None
    """The URL at which users reach the page, such as ``https://tools.example.com/jobs``, for links
    in events and messages. It may have a path: the prefix under which a proxy serves the page."""
    dashboard_url: str | None = None
    """The URL of a dashboard, such as Grafana's, that the page links to."""


class MetricsSettings(Section):
    """Metrics of single jobs, in addition to the totals."""

    per_job: bool = False
    """Expose ``job_info``, ``job_state`` and ``job_last_change_timestamp_seconds``."""
    max_jobs: int = Field(default=1000, ge=1, le=100_000)
    """Jobs with metrics of their own; ``job_series_cut`` counts those beyond."""
    keep_finished: Duration = 3600.0
    """Time for which a job that ended keeps its metrics."""
    job_labels: list[str] = []
    """Labels of the watches that ``job_info`` carries; ``team`` becomes ``label_team``."""
    watch_labels: list[str] = []
    """Labels of the watches that the totals of jobs and watches carry, such as ``team``, so that
    alerts find the owner. At most 5, with 50 values each; all further values are ``other``."""


class LogSettings(Section):
    """The log of the daemon, on standard error."""

    format: Literal["json", "console"] = "json"
    """One JSON object a line, or lines for people."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The lowest level that is written."""


class StoreSettings(Section):
    """The store, where its URL alone is not enough: how to log in to PostgreSQL."""

    url: str
    """As ``store`` itself: ``postgresql://user@host/db``."""
    password_file: str | None = None
    """A file with the password, read at each connection."""
    iam_auth: bool = False
    """Log in to Amazon RDS or Aurora with IAM: each connection gets a token of its own in the
    place of a password. It needs TLS, and the permission ``rds-db:connect``."""
    region: str | None = None
    """The region of the database, for ``iam_auth``. By default the one in the name of its host."""
    account: str = "default"
    """The account whose credentials sign the token: a name in ``accounts``."""


Store = Annotated[
    Annotated[str, Tag("url")] | Annotated[StoreSettings, Tag("settings")],
    Discriminator(lambda value: "settings" if isinstance(value, dict | StoreSettings) else "url"),
]


@dataclass(frozen=True, slots=True)
class Origin:
    """The place where each value was written; settings are equal without it."""

    find: Callable[[tuple[str | int, ...]], str] = field(default=lambda _path: "", compare=False)


ENVIRONMENT_PREFIX = "JOB_MONITOR_"
"""The beginning of every variable that sets something."""


class Settings(BaseSettings, Section):
    """The whole configuration; by itself it reads neither files nor the environment."""

    # ``loader.load`` hands in the values, so the library reads no variables of its own.
    model_config = SettingsConfigDict(case_sensitive=True, validate_default=False)

    accounts: dict[str, Account] = {}
    """Name → credentials. The name is part of the key of every job."""
    watches: list[Watch] = []
    """The jobs to watch."""
    sinks: dict[str, Sink] = {}
    """Name → where transitions are delivered."""
    routes: list[Route] = []
    """Which events go to which sinks. Without routes, everything goes to every sink."""
    hints: list[Hint] = []
    """Queues of EventBridge events that make polls due at once."""
    quotas: dict[str, QuotaSettings] = {}
    """Service name → request limit. The default depends on the job type."""
    store: Store = "sqlite:///var/lib/job-monitor/state.db"
    """``sqlite:///absolute/path.db``, ``sqlite:relative.db`` or ``postgresql://user@host/db``; or a
    map, for what a URL cannot say. Daemons with the same PostgreSQL share the work."""
    job_types_dir: str | None = None
    """A directory with your own job types."""
    retention: Duration = 30 * 86400.0
    """Time for which delivered transitions are kept."""
    server: ServerSettings = ServerSettings()
    """The HTTP server."""
    metrics: MetricsSettings = MetricsSettings()
    """Metrics of single jobs, in addition to the totals."""
    log: LogSettings = LogSettings()
    """The log of the daemon."""

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

    @property
    def database(self) -> StoreSettings:
        """The setting ``store``, whichever way it was written."""
        return (
            self.store if isinstance(self.store, StoreSettings) else StoreSettings(url=self.store)
        )

    def place(self, *path: str | int) -> str:
        """Return where the value at ``path`` was written: ``FILE:LINE`` or ``environment NAME``."""
        return self._origin.find(path)

    def placed(self, origin: Origin) -> Settings:
        """Return the same settings with the places of their values."""
        copy = self.model_copy()
        copy._origin = origin  # noqa: SLF001 - its own, of a copy
        return copy

    def redacted(self) -> dict[str, Any]:
        """Return everything as JSON values without secrets; durations as they are written."""
        plain: dict[str, Any] = _shown(self.model_dump(mode="json", by_alias=True))
        return plain
