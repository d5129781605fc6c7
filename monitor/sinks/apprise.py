"""The sink ``apprise``: notifications through the library Apprise."""

from __future__ import annotations

import asyncio
import importlib
import logging
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from monitor.config import AppriseSink, named_files
from monitor.errors import ConfigurationError, SendError, SendReason
from monitor.model import Severity
from monitor.sinks import template
from monitor.sinks.kind import Preview, SinkKind
from monitor.sinks.settings_reader import SettingsReader
from monitor.sinks.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_BREAK = "\x1e"
"""Separates the title from the body in what is rendered at once."""
_TYPES = {Severity.ERROR: "failure", Severity.WARNING: "warning", Severity.INFO: "info"}


@dataclass(frozen=True, slots=True)
class AppriseTarget:
    """What is sent and to whom; the services hold secrets."""

    source: template.TemplateSource
    services: Any = field(repr=False)
    timeout: float
    """Seconds for one attempt."""


class AppriseSender:
    """Notifies all services of one configuration of Apprise."""

    batch_size = 1

    def __init__(self, target: AppriseTarget) -> None:
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


def load(name: str, settings: AppriseSink, _before: AppriseTarget | None = None) -> AppriseTarget:
    """Read the files that ``settings`` name, and try the templates.

    Blocks on the file system.

    Raises:
        ConfigurationError: with every problem found.
    """
    reader = SettingsReader(name)
    services = _services(settings, reader)
    return _target(settings, services, reader)


def sample(name: str, settings: AppriseSink) -> AppriseTarget:
    """Try the templates alone: for previews elsewhere; needs neither the files nor the library.

    Raises:
        ConfigurationError: with every problem found.
    """
    return _target(settings, None, SettingsReader(name))


def _target(settings: AppriseSink, services: Any, reader: SettingsReader) -> AppriseTarget:
    for key, text in (("title", settings.title), ("body", settings.body)):
        try:
            template.try_out(template.TemplateSource(key, text, "text"), ())
        except template.TemplateError as error:
            line = f"line {error.line}: " if error.line else ""
            reader.problem(key, f"{line}{error.message}")
    text = f"{settings.title}{_BREAK}{settings.body}"
    source = template.TemplateSource("title and body", text, "text")
    if reader.problems:
        raise ConfigurationError(reader.problems)
    return AppriseTarget(source, services, settings.timeout)


def parts(text: str) -> tuple[str, str]:
    """Split what was rendered into title and body; the title is one line."""
    title, _, body = text.partition(_BREAK)
    return " ".join(title.split()), body


def preview(target: AppriseTarget, events: Sequence[Mapping[str, Any]]) -> list[Preview]:
    """Show title and body of notifications; blocks."""
    rendered = map(parts, template.attempt(target.source, events, {}))
    return [Preview({"title": title}, body) for title, body in rendered]


def _services(settings: AppriseSink, reader: SettingsReader) -> Any:
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


KIND = SinkKind(
    AppriseSink,
    load,
    lambda target, _: aclosing(AppriseSender(target)),
    lambda settings: list(settings.url_files),
    sample=sample,
    preview=preview,
)
