"""Files of configuration tests: what they test, and every problem in them.

    load ─► the files' shape (pydantic) ─► the configurations ─► ConfigTestCase, ready to be run

The files are as strict as the configuration, and every problem of all of them is reported at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from monitor import config, sinks, validation
from monitor.aws import service_models
from monitor.config import messages, unforeseen, yaml_document, yaml_files
from monitor.config.values import format_duration
from monitor.config.yaml_document import dotted, shown
from monitor.errors import ConfigurationError, Problem
from monitor.model import Job
from monitor.polling.claims import Claims
from monitor.polling.manager import type_of
from monitor.sources.given_answers import AnswerModel
from monitor.tools.config_test_form import ConfigTestFile
from monitor.validation import everything

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from monitor.config.yaml_document import Node
    from monitor.sinks import Renderer
    from monitor.sources.given_answers import Given
    from monitor.sources.job_type import JobType
    from monitor.tools.config_test_form import ConfigTest, ExpectedTransition

LARGEST = 16 * 1024 * 1024
"""Bytes of one file."""
_BESIDE_WATCH = ("type", "account", "labels", "stuck_after")
"""Keys of a test that stand in place of ``watch``."""
_ABOUT_DELIVERY = ("at", "sinks", "payloads")
"""Keys of an expected transition that are not those of the event's data."""


@dataclass(frozen=True, slots=True)
class TestedConfig:
    """A configuration, and what renders the events of its sinks."""

    settings: config.Settings
    types: Mapping[str, JobType]
    renderers: Mapping[str, Renderer]


@dataclass(frozen=True, slots=True)
class Expected:
    """An expected transition; ``data`` is what the event's data must hold."""

    form: ExpectedTransition
    node: Node
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ConfigTestCase:
    """A test whose names are resolved: what to run, and what to expect."""

    form: ConfigTest
    place: str
    tested: TestedConfig
    watch: config.Watch
    job_type: JobType
    job: Job
    answers: Sequence[tuple[float, Given]]
    expected: Sequence[Expected]


def load(
    files: Sequence[Path],
    environ: Mapping[str, str],
    named: Sequence[Path] | None = None,
    fallback: Sequence[Path] | None = None,
) -> list[ConfigTestCase]:
    """Read the tests of files and directories; blocks.

    The configuration ``named`` replaces that of the files; ``fallback`` is for those without one.

    Raises:
        ConfigurationError: with every problem of the files and of their configurations.
    """
    problems: list[Problem] = []
    cases: list[ConfigTestCase] = []
    models = service_models.loader()

    def read(path: Path) -> None:
        form, tree = _form(path)
        own = [path.parent / name for name in form.config]
        paths = named or own or fallback
        if not paths:
            remedy = "add config: [FILE], or give --config"
            problems.append(Problem(tree.place, "config", "no configuration is named", remedy))
            return
        moved = {key: str(path.parent / here) for key, here in form.paths.items()}
        tested = _tested(paths, environ, moved, models)
        reader = _CaseReader(tested, lambda job_type: AnswerModel(job_type, models), problems)
        for number, test in enumerate(form.tests):
            node = tree.get("tests")
            here = node.get(number) if node else None
            case = reader.case(test, here or tree, ("tests", number))
            cases.extend([case] if case else [])

    for path in files:
        try:
            listed = yaml_files.files([path])
        except (OSError, ValueError):
            listed = [path]
        if not listed:
            problems.append(Problem(shown(str(path), 300), "", "holds no *.yaml file", "add one"))
        for file in listed:
            try:
                with unforeseen.refused(str(file), what="the tests"):
                    read(file)
            except ConfigurationError as error:
                problems.extend(error.problems)
    if problems:
        raise ConfigurationError(list(dict.fromkeys(problems)))
    return cases


def _form(path: Path) -> tuple[ConfigTestFile, Node]:
    tree, problems = yaml_document.read_file(path, LARGEST)
    if tree is not None and not isinstance(tree.value, dict):
        problems.append(Problem(tree.place, "", "must be a map of keys to values", "add `tests:`"))
    if tree is None or problems:
        raise ConfigurationError(messages.tidy(problems))
    try:
        form = ConfigTestFile.model_validate(tree.plain())
    except ValidationError as error:
        found = messages.of_shape(error, tree, root=(ConfigTestFile,))
        raise ConfigurationError(messages.tidy(found)) from None
    if not form.tests:
        place = tree.place_of(("tests",))
        raise ConfigurationError([Problem(place, "tests", "is empty", "add a test")])
    return form, tree


def _tested(
    paths: Sequence[Path], environ: Mapping[str, str], moved: Mapping[str, str], models: Any
) -> TestedConfig:
    """Read a configuration without any file that holds a secret."""

    def here(name: str | None) -> str | None:
        for directory, place in moved.items():
            if name is not None and Path(name).is_relative_to(directory):
                return str(place / Path(name).relative_to(directory))
        return name

    settings = config.load(paths, environ)
    templates = {
        name: sink.model_copy(update={"template": here(sink.template)})
        for name, sink in settings.sinks.items()
        if isinstance(sink, config.WebhookSink)
    }
    changed = {
        "job_types_dir": here(settings.job_types_dir),
        "sinks": {**settings.sinks, **templates},
    }
    settings = settings.model_copy(update=changed)
    types, found = everything.load_job_types(settings, models)
    if not found:
        # The rest of a configuration matters to the daemon alone, and its secrets are not here.
        sections = ("watches", "routes")
        problems = validation.problems(settings, types)
        found = [one for one in problems if one.path.startswith(sections)]
    renderers: dict[str, Renderer] = {}

    def check(name: str, sink: config.Sink) -> list[Problem]:
        try:
            renderers[name] = sinks.renderer(name, sink)
        except ConfigurationError as error:
            return list(error.problems)
        return []

    everything.raise_errors(messages.tidy([*found, *everything.check_sinks(settings, check)]))
    return TestedConfig(settings, types, renderers)


class _CaseReader:
    """Resolves the tests of one file against its configuration, and collects their problems."""

    def __init__(
        self,
        tested: TestedConfig,
        answers_of: Callable[[JobType], AnswerModel],
        problems: list[Problem],
    ) -> None:
        self._tested = tested
        self._answers_of = answers_of
        self._problems = problems
        self._names: dict[str, str] = {}

    def case(self, test: ConfigTest, node: Node, path: yaml_document.Path) -> ConfigTestCase | None:
        """Return a test ready to run; ``None`` where it has problems."""
        before = len(self._problems)

        def report(inner: yaml_document.Path, message: str, remedy: str = "") -> None:
            place = node.place_of(inner)
            self._problems.append(Problem(place, dotted((*path, *inner)), message, remedy))

        if test.name in self._names:
            report(("name",), "is given twice", f"it was first given at {self._names[test.name]}")
        self._names[test.name] = node.place
        watch = self._watch(test, report)
        if watch is None:
            return None
        job_type = type_of(watch, self._tested.types)
        region = self._region(test, watch, job_type, report)
        answers = self._answers(test, node, path, job_type, report)
        self._check_expected(test, report)
        expected = node.get("expect")
        rows = expected.value if expected and isinstance(expected.value, list) else []
        if len(self._problems) > before:
            return None
        job = Job(watch.type, watch.account, region, test.job)
        # Of the file, as a key whose value is null is expected to be null.
        plain = [
            {key: value for key, value in row.plain().items() if key not in _ABOUT_DELIVERY}
            for row in rows
        ]
        found = [Expected(*one) for one in zip(test.expect, rows, plain, strict=True)]
        return ConfigTestCase(test, node.place, self._tested, watch, job_type, job, answers, found)

    def _watch(self, test: ConfigTest, report: Callable[..., None]) -> config.Watch | None:
        """Return the watch that a test names, or makes."""
        settings, types = self._tested.settings, self._tested.types
        if test.watch is not None:
            for key in _BESIDE_WATCH:
                if key in test.model_fields_set:
                    report((key,), "has no effect beside watch", "remove it")
            found = {watch.name: watch for watch in settings.watches}
            if test.watch not in found:
                message = f'unknown watch "{shown(test.watch)}"'
                report(("watch",), message, messages.one_of(test.watch, found))
            return found.get(test.watch)
        accounts = {"default", *settings.accounts}
        if test.account not in accounts:
            message = f'unknown account "{shown(test.account)}"'
            report(("account",), message, messages.one_of(test.account, accounts))
        if test.type is None:
            report((), "has neither watch nor type", "add watch: NAME")
        elif test.type not in types:
            message = f'unknown job type "{shown(test.type)}"'
            report(("type",), message, messages.one_of(test.type, types))
        else:
            return config.Watch(
                name="test",
                type=test.type,
                account=test.account,
                jobs=[test.job],
                labels=test.labels,
                stuck_after=test.stuck_after,
            )
        return None

    def _region(
        self, test: ConfigTest, watch: config.Watch, job_type: JobType, report: Callable[..., None]
    ) -> str:
        """Return the region of the job; the watch must be the first that wants the job there."""
        if not job_type.accepts_id(test.job):
            report(("job",), f"cannot be the id of a job of type {watch.type}")
        regions = [job_type.region] if job_type.region else watch.regions
        if test.watch is None:
            known = next(iter(job_type.regions), "us-east-1")
            return job_type.region or test.region or known
        region = test.region or regions[0]
        if region not in regions:
            message = f'"{shown(region)}" is not a region of the watch'
            report(("region",), message, messages.one_of(region, regions))
            return region
        claims: Claims[config.Watch] = Claims()
        for order, each in enumerate(self._tested.settings.watches):
            same = (each.type, each.account) == (watch.type, watch.account)
            if same and (job_type.region or region in each.regions):
                claims.add(order, each, each)
        owner = claims.first(test.job)
        if owner is None:
            message = f'watch "{watch.name}" neither names this job nor discovers it'
            report(("job",), message, "name a job that it watches")
        elif owner[1] is not watch:
            message = f'this job belongs to watch "{owner[1].name}", the first that wants it'
            report(("job",), message, "name that watch, or another job")
        return region

    def _answers(
        self,
        test: ConfigTest,
        node: Node,
        path: yaml_document.Path,
        job_type: JobType,
        report: Callable[..., None],
    ) -> Sequence[tuple[float, Given]]:
        if not test.answers:
            report(("answers",), "is empty", "add what AWS answers: - {at: 0s, response: {…}}")
        model = self._answers_of(job_type)
        found: list[tuple[float, Given]] = []
        for number, answer in enumerate(test.answers):
            here = ("answers", number)
            if found and answer.at <= found[-1][0]:
                report((*here, "at"), "is not later than the answer before", "sort the answers")
            if (answer.response is None) == (answer.error is None):
                message = "needs either response or error"
                report(here, message, "write what one poll returns")
            elif answer.error is not None:
                error = answer.error
                given = model.error(error.code, error.message, error.status, error.members)
                found.append((answer.at, given))
            else:
                inner: Node | None = node
                for key in (*here, "response"):
                    inner = inner.get(key) if inner else None
                response = model.response(inner or node, (*path, *here, "response"), self._problems)
                found.append((answer.at, response))
        return found

    def _check_expected(self, test: ConfigTest, report: Callable[..., None]) -> None:
        times = {answer.at: format_duration(answer.at) for answer in test.answers}
        known = self._tested.settings.sinks
        for number, row in enumerate(test.expect):
            here = ("expect", number)
            if row.at is not None and row.at not in times:
                message = "no answer has this time, and only a poll can see a change"
                report((*here, "at"), message, f"times of answers: {', '.join(times.values())}")
            for index, name in enumerate(row.sinks or ()):
                if name not in known:
                    message = f'unknown sink "{shown(name)}"'
                    report((*here, "sinks", index), message, messages.one_of(name, known))
            for name, payload in row.payloads.items():
                at = (*here, "payloads", name)
                if name not in known:
                    report(at, f'unknown sink "{shown(name)}"', messages.one_of(name, known))
                if not payload.model_fields_set:
                    report(at, "expects nothing", "add contains, text or json")
                for index, part in enumerate(payload.contains):
                    if not isinstance(part, str | dict):
                        remedy = "put it in quotes if it is text"
                        report((*at, "contains", index), "must be text or a map", remedy)
