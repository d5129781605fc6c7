"""Checks of the setting ``store``: the URL, its parameters and files, and how to log in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.config import postgresql_url
from monitor.config.settings import StoreSettings
from monitor.validation.problems import SettingProblem, check_secret, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.config.settings import Settings
    from monitor.config.yaml_document import Path

_FORMS = "write sqlite:///absolute/path.db, sqlite:relative.db or postgresql://user@host/db"


def check(settings: Settings) -> Iterator[SettingProblem]:
    """Yield every problem of the setting ``store``; none repeats the URL."""
    store, path = settings.database, ("store",)
    here = (*path, "url") if isinstance(settings.store, StoreSettings) else path
    scheme, _, rest = store.url.partition(":")
    if scheme in {"postgres", "postgresql+asyncpg"}:
        yield SettingProblem(here, "has an unknown scheme", "begin it with postgresql://")
    elif scheme == "postgresql" and not rest.startswith("//"):
        yield SettingProblem(here, "is not a database URL", _FORMS)
    elif scheme == "postgresql":
        try:
            url = postgresql_url.parse(store.url)
        except postgresql_url.PostgresqlUrlError as error:
            yield SettingProblem(here, error.message, error.remedy)
            return
        for message, remedy in postgresql_url.troubles(url):
            yield SettingProblem(here, message, remedy)
        yield from _login(path, settings, store, url)
    elif scheme == "sqlite":
        yield from _sqlite(here, rest)
        for key in sorted(StoreSettings.model_fields.keys() - {"url"}):
            if getattr(store, key) != StoreSettings.model_fields[key].default:
                message = "has no effect on a store in SQLite"
                yield SettingProblem((*path, key), message, "remove it")
    else:
        yield SettingProblem(here, "is not a store URL", _FORMS)


def _sqlite(path: Path, rest: str) -> Iterator[SettingProblem]:
    if rest.startswith("//") and not rest.startswith("///"):
        yield SettingProblem(path, "has two slashes, which would name a host", _FORMS)
    elif not rest.strip("/") or ":memory:" in rest:
        yield SettingProblem(path, "names no file, so nothing would survive a restart", _FORMS)


def _login(
    path: Path, settings: Settings, store: StoreSettings, url: postgresql_url.PostgresqlUrl
) -> Iterator[SettingProblem]:
    if store.password_file is not None:
        here = (*path, "password_file")
        if url.has_password:
            remedy = "remove it from the URL, where more people see it"
            yield SettingProblem(here, "the URL has a password too", remedy)
        yield from check_secret(here, store.password_file)
    if not store.iam_auth:
        for key in ("region", "account"):
            if getattr(store, key) != StoreSettings.model_fields[key].default:
                message = "has no effect without iam_auth"
                yield SettingProblem((*path, key), message, "add iam_auth: true, or remove it")
    else:
        yield from _iam(path, settings, store, url)


def _iam(
    path: Path, settings: Settings, store: StoreSettings, url: postgresql_url.PostgresqlUrl
) -> Iterator[SettingProblem]:
    here = (*path, "iam_auth")
    if url.has_password or store.password_file is not None:
        yield SettingProblem(here, "stands beside a password", "keep one of them")
    if not url.requires_tls:
        remedy = (
            "add ?sslmode=verify-full&sslrootcert=FILE to the URL, with AWS's CA bundle for RDS"
        )
        yield SettingProblem(here, "needs TLS: the token is sent as it is", remedy)
    if not url.user:
        remedy = "write postgresql://user@host/db"
        yield SettingProblem(here, "needs a user in the URL, whom the token is for", remedy)
    if "," in url.host:
        message, remedy = "needs a single host, which the token is for", "name the cluster endpoint"
        yield SettingProblem(here, message, remedy)
    elif not (store.region or url.aws_region):
        remedy = "add region: to store, or write the host as RDS shows it"
        yield SettingProblem(here, "needs a region, which the host's name does not show", remedy)
    if store.account not in {"default", *settings.accounts}:
        known = {"default", *settings.accounts}
        yield unknown((*path, "account"), "account", store.account, known)
