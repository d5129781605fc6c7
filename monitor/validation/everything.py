"""Everything that can be known of a configuration without asking the network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from monitor import config, sinks, validation
from monitor.config import named_files, unforeseen
from monitor.config.gaps import NO_GAPS, Gaps
from monitor.config.messages import tidy
from monitor.config.yaml_document import dotted
from monitor.errors import ConfigurationError, Problem, StopRequested, StoreError
from monitor.sources import loader
from monitor.web import web_config

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from botocore.loaders import Loader

    from monitor.sources.job_type import JobType


def examine(
    draft: config.Draft, models: Loader | None = None
) -> tuple[Mapping[str, JobType], Sequence[Problem]]:
    """Return the job types, and every mistake and warning there is, in the order of the files.

    Service models are read by ``models``. Asks nothing of the network, and blocks on the file
    system. Where there are mistakes, the user's own job types may be left out.
    """
    settings, gaps = draft.settings, draft.gaps
    types, wrong = job_types(settings, models)
    if wrong:
        gaps = gaps.also(("job_types_dir",))
    found: Sequence[Problem]
    try:
        found = validation.problems(settings, types, gaps)
    except Exception as error:  # noqa: BLE001 -- the last net; what else is wrong is told as well
        found = [unforeseen.problem(error, settings.place(), "", "the configuration")]
    more = (*of_sinks(settings, gaps), *of_web_config(settings), *of_listings(settings, types))
    return types, tidy([*draft.problems, *wrong, *found, *more])


def of_listings(settings: config.Settings, types: Mapping[str, JobType]) -> Iterator[Problem]:
    """Yield what may be wrong with the listings of the job types that watches discover with."""
    for name in dict.fromkeys(watch.type for watch in settings.watches if watch.discover):
        if name in types:
            yield from types[name].warnings


def of_sinks(settings: config.Settings, gaps: Gaps = NO_GAPS) -> Iterator[Problem]:
    """Yield what the sinks themselves find, as if the settings' own checks had found it.

    Of a sink with gaps in what is its kind's own, nothing: any such key may matter to another.
    """
    for name, sink in settings.sinks.items():
        own = type(sink).model_fields.keys() - config.SinkSettings.model_fields.keys()
        doubtful = gaps.doubt([("sinks", name, key) for key in own])
        for problem in () if doubtful else _of_sink(name, sink):
            path = ("sinks", name, *_keys(problem.path.removeprefix(f"sinks.{name}.")))
            yield replace(problem, place=settings.place(*path), path=dotted(path))


def _of_sink(name: str, sink: config.Sink) -> Sequence[Problem]:
    try:
        return sinks.problems(name, sink)
    except StopRequested:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- a plug-in is another's code
        return [unforeseen.problem(error, "", f"sinks.{name}.type", "the sink")]


def of_web_config(settings: config.Settings) -> Sequence[Problem]:
    """Return what is wrong with the file that ``server.web_config_file`` names."""
    if settings.server.web_config_file is None:
        return ()
    path = Path(settings.server.web_config_file)
    try:
        return web_config.read(path).warnings
    except ConfigurationError as error:
        return [_named(problem, path, settings) for problem in error.problems]
    except Exception as error:  # noqa: BLE001 -- the last net
        key = ("server", "web_config_file")
        return [unforeseen.problem(error, settings.place(*key), dotted(key), "the file")]


def of_store(settings: config.Settings) -> Iterator[Problem]:
    """Yield a warning if the store cannot be used on this machine, which may be another's."""
    from monitor.stores import sqlite  # noqa: PLC0415 -- SQLAlchemy takes time, and only check asks

    if not settings.store.startswith("sqlite:"):
        return
    try:
        sqlite.check(sqlite.path_of(settings.store))
    except (ConfigurationError, StoreError) as error:
        message, _, remedy = str(error).removeprefix("store ").removesuffix(")").partition(" (")
        yield Problem(settings.place("store"), "store", message, remedy, warning=True)


def _named(problem: Problem, path: Path, settings: config.Settings) -> Problem:
    """Tell of a whole file where it was named; it has no line of its own."""
    if problem.place != str(path):
        return problem
    key = ("server", "web_config_file")
    message = f"{named_files.called(path)} {problem.message}"
    return replace(problem, place=settings.place(*key), path=dotted(key), message=message)


def _keys(text: str) -> Iterator[str | int]:
    """Take ``secret_files[0]`` or ``headers.NAME`` apart; a header's name may have dots."""
    key, dot, name = text.partition(".")
    key, bracket, index = key.partition("[")
    yield key
    if bracket:
        yield int(index.removesuffix("]"))
    if dot:
        yield name


def refuse(found: Iterable[Problem]) -> None:
    """Raise ConfigurationError with those problems ``found`` that are no mere warnings."""
    mistakes = [problem for problem in found if not problem.warning]
    if mistakes:
        raise ConfigurationError(mistakes)


def job_types(
    settings: config.Settings, models: Loader | None
) -> tuple[Mapping[str, JobType], Sequence[Problem]]:
    """Return the job types, and what is wrong with the user's own; if anything, without those."""
    directory = settings.job_types_dir
    try:
        return loader.load_job_types(Path(directory) if directory else None, models), ()
    except ConfigurationError as error:
        problems = [_placed(problem, settings) for problem in error.problems]
    except Exception as error:  # noqa: BLE001 -- the last net
        key = ("job_types_dir",)
        problems = [unforeseen.problem(error, settings.place(*key), dotted(key), "the directory")]
    return loader.load_job_types(None, models), problems


def _placed(problem: Problem, settings: config.Settings) -> Problem:
    """Say where the directory was named; its files name themselves."""
    return problem if problem.place else replace(problem, place=settings.place("job_types_dir"))


def job_type(file: Path) -> JobType:
    """Return the job type that a file declares.

    Raises:
        ConfigurationError: with every mistake in it.
    """
    return loader.load_job_type(file)
