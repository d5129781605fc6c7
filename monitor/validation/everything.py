"""The second stage of reading a configuration: does it make sense?

Everything that can be known without the network is checked: references, the rules of the job
types, sinks, and the files that the settings name. All problems are reported at once.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from monitor import config, sinks
from monitor.config import named_files, unforeseen
from monitor.config.messages import tidy
from monitor.config.yaml_document import dotted
from monitor.errors import ConfigurationError, Problem, StopRequested, StoreError
from monitor.sources import loader
from monitor.validation import general, routes, watches
from monitor.web import web_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from botocore.loaders import Loader

    from monitor.sources.job_type import JobType


def validate(
    settings: config.Settings, models: Loader | None = None
) -> tuple[Mapping[str, JobType], Sequence[Problem]]:
    """Return the job types, and every error and warning, in the order of the files.

    Service models are read by ``models``. Block on the file system, and use no network. Where
    there are errors, the user's own job types may be left out.
    """
    types, found = load_job_types(settings, models)
    # With the user's own types left out, whatever refers to them would look wrong as well.
    if not found:
        try:
            found = problems(settings, types)
        except ConfigurationError as error:
            # A built-in type, read only now, does not fit the models of this SDK.
            return types, tidy(error.problems)
        except Exception as error:  # noqa: BLE001 -- the last net; the other checks go on
            found = [unforeseen.problem(error, settings.place(), "", "the configuration")]
    discovered = dict.fromkeys(watch.type for watch in settings.watches if watch.discover)
    listings = (types[name].warnings for name in discovered if name in types)
    more = (*check_sinks(settings), *check_web_config(settings), *chain.from_iterable(listings))
    return types, tidy([*found, *more])


def problems(settings: config.Settings, job_types: Mapping[str, JobType]) -> list[Problem]:
    """Return every problem of the settings themselves, in the order of the files; no secrets."""
    # Only types in use: reading all of them would read the models of fifty services.
    used = {watch.type for watch in settings.watches if watch.type in job_types}
    watched = [job_types[name] for name in used]
    services = {one.service for one in watched} | {name.partition(".")[0] for name in job_types}
    fixed = {one.service for one in watched if one.region}
    found = (
        *general.check(settings, services, fixed),
        *watches.check(settings, job_types),
        *routes.check(settings, list(job_types)),
    )
    return tidy(
        Problem(settings.place(*one.path), dotted(one.path), one.message, one.remedy, one.warning)
        for one in found
    )


def check_sinks(
    settings: config.Settings,
    check: Callable[[str, config.Sink], list[Problem]] | None = None,
) -> Iterator[Problem]:
    """Yield the problems that the sinks find, or ``check`` does, with the lines of the settings."""
    for name, sink in settings.sinks.items():
        try:
            found = (check or sinks.problems)(name, sink)
        except StopRequested:  # a signal while the daemon starts must end it
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- a plug-in is another's code
            found = [unforeseen.problem(error, "", f"sinks.{name}.type", "the sink")]
        for problem in found:
            path = ("sinks", name, *_keys(problem.path.removeprefix(f"sinks.{name}.")))
            yield replace(problem, place=settings.place(*path), path=dotted(path))


def _keys(text: str) -> Iterator[str | int]:
    """Split ``secret_files[0]`` or ``headers.NAME``; a header's name may have dots."""
    key, dot, name = text.partition(".")
    key, bracket, index = key.partition("[")
    yield key
    if bracket:
        yield int(index.removesuffix("]"))
    if dot:
        yield name


def check_web_config(settings: config.Settings) -> Sequence[Problem]:
    """Return the problems of the file that ``server.web_config_file`` names."""
    if settings.server.web_config_file is None:
        return ()
    path, key = Path(settings.server.web_config_file), ("server", "web_config_file")
    try:
        return web_config.read(path).warnings
    except ConfigurationError as error:
        # A problem of the whole file has no line in it: report it where the file is named.
        return [
            replace(
                problem,
                place=settings.place(*key),
                path=dotted(key),
                message=f"{named_files.called(path)} {problem.message}",
            )
            if problem.place == str(path)
            else problem
            for problem in error.problems
        ]
    except Exception as error:  # noqa: BLE001 -- the last net
        return [unforeseen.problem(error, settings.place(*key), dotted(key), "the file")]


def check_store(settings: config.Settings) -> Iterator[Problem]:
    """Yield a warning if the store cannot be used on this machine, which may be another's."""
    from monitor.stores import sqlite  # noqa: PLC0415 -- SQLAlchemy takes time, and only check asks

    url = settings.database.url
    if not url.startswith("sqlite:"):
        return
    try:
        sqlite.check(sqlite.path_of(url))
    except (ConfigurationError, StoreError) as error:
        message, _, remedy = str(error).removeprefix("store ").removesuffix(")").partition(" (")
        yield Problem(settings.place("store"), "store", message, remedy, warning=True)


def raise_errors(found: Iterable[Problem]) -> None:
    """Raise ConfigurationError with those problems that are not mere warnings."""
    errors = [problem for problem in found if not problem.warning]
    if errors:
        raise ConfigurationError(errors)


def load_job_types(
    settings: config.Settings, models: Loader | None
) -> tuple[Mapping[str, JobType], Sequence[Problem]]:
    """Return the job types, and the problems of the user's own; if there are any, without those."""
    directory, key = settings.job_types_dir, ("job_types_dir",)
    try:
        return loader.load_job_types(Path(directory) if directory else None, models), ()
    except ConfigurationError as error:
        # The files name themselves; a problem of the directory is reported where it is named.
        found = [
            problem if problem.place else replace(problem, place=settings.place(*key))
            for problem in error.problems
        ]
    except Exception as error:  # noqa: BLE001 -- the last net
        found = [unforeseen.problem(error, settings.place(*key), dotted(key), "the directory")]
    return loader.load_job_types(None, models), found
