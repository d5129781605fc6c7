"""A configuration that was validated: settings, job types, and digests of other files."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from monitor import config, sinks
from monitor.aws import sessions
from monitor.config import file_digest
from monitor.delivery.manager import SinkSpec
from monitor.errors import Problem
from monitor.validation import everything
from monitor.web.links import EventLinks, PageLinks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from botocore.loaders import Loader

    from monitor.sources.job_type import JobType

_REMEDY = "restart to change it"


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration without mistakes; ``accounts`` tells of the files behind each account."""

    settings: config.Settings
    types: Mapping[str, JobType]
    warnings: Sequence[Problem]
    sinks: Mapping[str, SinkSpec]
    accounts: Mapping[str, bytes]
    links: EventLinks


def prepare(settings: config.Settings, models: Loader | None = None) -> LoadedConfig:
    """Validate ``settings``; block on the file system, and use no network.

    Raises:
        ConfigurationError: with everything that is wrong.
    """
    # Before anything else is read: what changes meanwhile is then seen as changed next time.
    specs = {
        name: SinkSpec(sink, file_digest.digest(sinks.files(sink)))
        for name, sink in settings.sinks.items()
    }
    accounts = {
        name: file_digest.digest(sessions.files(account))
        for name, account in ({"default": config.Account()} | settings.accounts).items()
    }
    types, found = everything.validate(settings, models)
    everything.raise_errors(found)
    warnings = [each for each in found if each.warning]
    # For the types in use alone: reading others would block.
    used = {watch.type: types[watch.type] for watch in settings.watches if watch.type in types}
    event_links = EventLinks(PageLinks.of(settings.server), used)
    return LoadedConfig(settings, types, warnings, specs, accounts, event_links)


def generation(configured: config.Settings, loaded: LoadedConfig) -> str:
    """Return a short name of a configuration, the same wherever sources and sinks are the same."""
    # Each replica has an address and a log of its own.
    text = configured.model_dump_json(exclude={"server", "log", "store"})
    contents = (each.contents for each in loaded.sinks.values())
    digest = sha256(b"\n".join((text.encode(), *contents, *loaded.accounts.values())))
    return digest.hexdigest()[:12]


def lasting(before: config.Settings, after: config.Settings) -> Iterator[Problem]:
    """Yield what differs although it cannot change while the monitor runs."""
    message = "cannot change while the monitor runs"
    if before.store != after.store:
        yield Problem(after.place("store"), "store", message, _REMEDY)
    for key in config.ServerSettings.model_fields:
        if getattr(before.server, key) != getattr(after.server, key):
            yield Problem(after.place("server", key), f"server.{key}", message, _REMEDY)
