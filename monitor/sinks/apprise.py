"""The sink ``apprise``: notifications through the library Apprise."""

from __future__ import annotations

import asyncio
import importlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from monitor.config import named_files
from monitor.errors import ConfigurationError, SendError, SendReason
from monitor.model import Severity
from monitor.sinks import template
from monitor.sinks.settings_reader import Reader
from monitor.sinks.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor.config import AppriseSink
    from monitor.errors import Problem

_BREAK = "\x1e"
"""Parts the title from the body in what is rendered at once."""
_TYPES = {Severity.ERROR: "failure", Severity.WARNING: "warning", Severity.INFO: "info"}


@dataclass(frozen=True, slots=True)
class Notification:
    """What is told and to whom; the services hold secrets."""

    source: template.Source
    services: Any = field(repr=False)
    timeout: float
    """Seconds for one attempt."""


class Apprise:
    """Notifies all services of one configuration of Apprise."""

    batch_size = 1

    def __init__(self, target: Notification) -> None:
        """Start nothing yet."""
        self._target = target
        self._renderer = template.Renderer(target.source, {})

    async def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Notify once; return when every service has taken it.

        Raises:
            SendError: a service has not; which one, and why, Apprise does not say.
        """
        (event,) = events
        try:
            async with asyncio.timeout(self._target.timeout):
                title, body = parts(await self._renderer.render(event))
                kind = _TYPES[Severity(event["data"]["severity"])]
                taken = await in_thread(lambda: self._notify(title, body, kind), "apprise-sink")
        except TimeoutError:
            message = f"Apprise did not end within {self._target.timeout:g} s"
            raise SendError(SendReason.TIMEOUT, message) from None
        if not taken:
            raise SendError(SendReason.CONNECTION, "Apprise says that it was not taken")

    async def aclose(self) -> None:
        """End the process that renders."""
        await self._renderer.aclose()

    def _notify(self, title: str, body: str, kind: str) -> bool:
        """Blocks; what Apprise raises may hold a URL."""
        try:
            services, timeout = self._target.services, self._target.timeout
            return bool(services.notify(body, title, notify_type=kind, timeout=timeout))
        except Exception:  # noqa: BLE001 -- the code of some hundred services
            return False


def load(name: str, settings: AppriseSink, _before: Notification | None = None) -> Notification:
    """Read the files that ``settings`` name, and try the templates.

    Blocks on the file system.

    Raises:
        ConfigurationError: with every problem found.
    """
    reader = Reader(name)
    source = _source(settings, reader)
    services = _services(settings, reader)
    if reader.problems:
        raise ConfigurationError(reader.problems)
    return Notification(source, services, settings.timeout)


def problems(name: str, settings: AppriseSink) -> list[Problem]:
    """Return what is wrong with ``settings``; no text repeats a secret."""
    try:
        load(name, settings)
    except ConfigurationError as error:
        return list(error.problems)
    return []


def parts(text: str) -> tuple[str, str]:
    """Part title and body of what was rendered; the title is one line."""
    title, _, body = text.partition(_BREAK)
    return " ".join(title.split()), body


def _source(settings: AppriseSink, reader: Reader) -> template.Source:
    for key, text in (("title", settings.title), ("body", settings.body)):
        try:
            template.try_out(template.Source(key, text, "text"), ())
        except template.TemplateError as error:
            line = f"line {error.line}: " if error.line else ""
            reader.problem(key, f"{line}{error.message}")
    return template.Source("title and body", f"{settings.title}{_BREAK}{settings.body}", "text")


def _services(settings: AppriseSink, reader: Reader) -> Any:
    try:
        library = importlib.import_module("apprise")
    except ImportError:
        remedy = "install it with: pip install 'aws-job-monitor[apprise]'"
        reader.problem("type", "needs the package apprise", remedy)
        return None
    logging.getLogger("apprise").disabled = True  # it writes URLs and texts
    asset = library.AppriseAsset(
        app_id="AWS job monitor",
        allow_templates=False,
        http_redirects=False,
        pem_autogen=False,
        pgp_autogen=False,
        storage_mode="memory",
    )
    services = library.Apprise(asset=asset)
    for index, path in enumerate(settings.url_files):
        key = f"url_files[{index}]"
        url = reader.file(key, path)
        if url is not None and (len(url.split()) > 1 or not services.add(url)):
            remedy = "see what its documentation says of this service"
            message = f"{named_files.called(path)} holds no URL that Apprise knows"
            reader.problem(key, message, remedy)
    return services
