"""Poll one job outside of any watch, for a command that shows it or waits for it."""

from __future__ import annotations

import os
import re
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from monitor import config, validation
from monitor.aws import service_models, sessions
from monitor.aws.clients import Clients
from monitor.clock import SystemClock
from monitor.errors import Problem
from monitor.model import Job
from monitor.sources import loader
from monitor.sources.aws_source import AwsSource
from monitor.validation import everything

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from monitor.model import Observation, Verdict
    from monitor.sources.job_type import JobType

_ARN = re.compile(r"arn:[a-z-]+:[a-z0-9-]+:([a-z0-9-]*):.+")
_ARGUMENTS = {"type": "TYPE", "account": "--account", "regions": "--region", "jobs": "ID"}
"""The keys of a watch, as arguments of the command line."""

_NAME_ONE = "name one with --region us-east-1, AWS_REGION, or an ARN as ID"


class DescribeOnce:
    """A job to poll outside of any watch; nothing is recorded or sent."""

    def __init__(
        self,
        settings: config.Settings,
        type_: str,
        account: str,
        region: str | None,
        job_id: str,
        *,
        profile: str | None = None,
        type_file: Path | None = None,
    ) -> None:
        """Choose where to poll; ``region`` may be left out for a global endpoint.

        Otherwise an ARN as the id, ``AWS_REGION``, ``AWS_DEFAULT_REGION`` or the profile names it.
        An ARN that ends in the id may stand for it. ``profile`` replaces the account's own.
        ``type_file`` declares the job type, beside those that are built in.

        Raises:
            ConfigurationError: there is no such type or account, the file is not valid, no job
                can have that id, or a region is needed.
        """
        self._models = service_models.loader()
        if type_file is None:
            types, wrong = everything.load_job_types(settings, self._models)
            everything.raise_errors(wrong)
        else:
            declared = loader.load_job_type(type_file, self._models)
            if declared.name != type_:
                message = f"is not the type that {type_file} declares"
                everything.raise_errors([Problem("", "TYPE", message, f"write {declared.name}")])
            types = loader.JobTypes({type_: declared}, self._models)
        settings = _with_profile(settings, account, profile)
        kind, source = types.get(type_), "--region"
        if kind is not None:
            if region is None and kind.region is None:
                region, source = find_region(settings, account, job_id)
            if _ARN.fullmatch(job_id) and not kind.accepts_id(job_id):
                ends = (job_id.rpartition("/")[2], job_id.rpartition(":")[2])
                job_id = next(filter(kind.accepts_id, ends), job_id)
        if region is None and kind is not None and kind.region is None:
            message = f"jobs of type {type_} exist in several regions"
            everything.raise_errors([Problem("", "--region", message, _NAME_ONE)])
        regions = [region] if region else []
        only = config.Watch(
            name="show", type=type_, account=account, regions=regions, jobs=[job_id]
        )
        alone = settings.model_copy(update={"watches": [only], "sinks": {}, "routes": []})
        problems = validation.problems(alone, types)
        everything.raise_errors(_as_argument(problem, source) for problem in problems)
        self._settings = settings
        self.pending: Callable[[], str] = str
        """Returns which credentials a poll that is under way waits for, or an empty text."""
        self.job_type: JobType = types[type_]
        self.job = Job(type_, account, self.job_type.region or region or "", job_id)

    async def once(self) -> tuple[Observation, Verdict]:
        """Poll the job, and judge its state.

        Raises:
            PollError: AWS did not report a state.
        """
        async with self.opened() as describe:
            seen = await describe()
        verdict = self.job_type.judge(seen.parts, None)
        assert verdict is not None  # noqa: S101 -- nothing was known before
        return seen, verdict

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Callable[[], Awaitable[Observation]]]:
        """Yield a function that polls once per call, and raises PollError alone."""
        async with Clients(self._settings.accounts, models=self._models, patience=None) as clients:
            account, region = self.job.account, self.job.region
            source = AwsSource(self.job_type, account, region, clients, SystemClock())
            self.pending = partial(clients.awaited, source.key)
            yield partial(source.describe, self.job)


def _with_profile(settings: config.Settings, account: str, profile: str | None) -> config.Settings:
    if profile is None or account not in {"default", *settings.accounts}:
        return settings
    own = settings.accounts.get(account, config.Account())
    changed = own.model_copy(update={"profile": profile})
    return settings.model_copy(update={"accounts": {**settings.accounts, account: changed}})


def find_region(settings: config.Settings, account: str, job_id: str) -> tuple[str | None, str]:
    """Return the region where --region names none, and where it comes from; blocking."""
    if (arn := _ARN.fullmatch(job_id)) and arn[1]:
        return arn[1], "ID"
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if found := os.environ.get(name):
            return found, name
    own = settings.accounts.get(account, config.Account())
    return sessions.region(own), "the region of the AWS profile"


def _as_argument(problem: Problem, region: str) -> Problem:
    """Name the argument of the command in place of the key of the watch made from it."""
    head, _, key = problem.path.partition("watches[0].")
    if head or not key:
        return problem
    names = _ARGUMENTS | {"regions": region}
    return replace(problem, place="", path=names.get(key.partition("[")[0], key))
