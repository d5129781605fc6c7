"""Looks at one job, outside of any watch, for a command that shows it or waits for it."""

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
from monitor.sources.aws_source import AwsSource
from monitor.validation import everything

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from monitor.model import Observation, Verdict
    from monitor.sources.job_type import JobType

_ARN = re.compile(r"arn:[a-z-]+:[a-z0-9-]+:([a-z0-9-]*):.+")
_ARGUMENTS = {"type": "TYPE", "account": "--account", "regions": "--region", "jobs": "ID"}
"""What a watch's keys are called on the command line."""

_NAME_ONE = "name one with --region us-east-1, AWS_REGION, or an ARN as ID"


class DescribeOnce:
    """One look at one job, outside of any watch; nothing is recorded or sent."""

    def __init__(
        self,
        settings: config.Settings,
        type_: str,
        account: str,
        region: str | None,
        job_id: str,
        *,
        profile: str | None = None,
    ) -> None:
        """Choose where to look; ``region`` may be left out for a global endpoint.

        Otherwise an ARN as the id, ``AWS_REGION``, ``AWS_DEFAULT_REGION`` or the profile names it.
        An ARN that ends in the id stands for it. ``profile`` replaces the account's own.

        Raises:
            ConfigurationError: there is no such type or account, no job can have that id, or a
                region is needed.
        """
        self._models = service_models.loader()
        types, wrong = everything.load_job_types(settings, self._models)
        everything.raise_errors(wrong)
        settings = _with_profile(settings, account, profile)
        kind, source = types.get(type_), "--region"
        if kind is not None:
            if region is None and kind.region is None:
                region, source = _region(settings, account, job_id)
            job_id = _id(kind, job_id)
        if region is None and kind is not None and kind.region is None:
            message = f"jobs of type {type_} are in many regions"
            everything.raise_errors([Problem("", "--region", message, _NAME_ONE)])
        regions = [region] if region else []
        asked = config.Watch(
            name="show", type=type_, account=account, regions=regions, jobs=[job_id]
        )
        alone = settings.model_copy(update={"watches": [asked], "sinks": {}, "routes": []})
        problems = validation.problems(alone, types)
        everything.raise_errors(_asked(problem, source) for problem in problems)
        self._settings = settings
        self._awaited: Callable[[], str] = str
        self._type = types[type_]
        self._job = Job(type_, account, self._type.region or region or "", job_id)

    @property
    def job(self) -> Job:
        """Which job is looked at."""
        return self._job

    @property
    def job_type(self) -> JobType:
        """The type of the job."""
        return self._type

    def awaited(self) -> str:
        """Return which credentials a look that is under way waits for, if it does."""
        return self._awaited()

    async def once(self) -> tuple[Observation, Verdict]:
        """Look at the job and say what its state means.

        Raises:
            PollError: AWS told nothing about it.
        """
        async with self.opened() as look:
            seen = await look()
        verdict = self._type.judge(seen.parts, None)
        assert verdict is not None  # noqa: S101 -- nothing was known before
        return seen, verdict

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Callable[[], Awaitable[Observation]]]:
        """Yield what looks once, as often as it is called; it raises PollError alone."""
        async with Clients(self._settings.accounts, models=self._models, patience=None) as clients:
            account, region = self._job.account, self._job.region
            source = AwsSource(self._type, account, region, clients, SystemClock())
            self._awaited = partial(clients.awaited, source.key)
            yield partial(source.describe, self._job)


def _with_profile(settings: config.Settings, account: str, profile: str | None) -> config.Settings:
    if profile is None or account not in {"default", *settings.accounts}:
        return settings
    own = settings.accounts.get(account, config.Account())
    changed = own.model_copy(update={"profile": profile})
    return settings.model_copy(update={"accounts": {**settings.accounts, account: changed}})


def _region(settings: config.Settings, account: str, job_id: str) -> tuple[str | None, str]:
    """Return the region that something else than --region names, and what that is."""
    if (arn := _ARN.fullmatch(job_id)) and arn[1]:
        return arn[1], "ID"
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if found := os.environ.get(name):
            return found, name
    own = settings.accounts.get(account, config.Account())
    return sessions.region(own), "the region of the AWS profile"


def _id(kind: JobType, given: str) -> str:
    """Return the id that an ARN ends in, where the ARN itself is none."""
    if not _ARN.fullmatch(given) or kind.accepts_id(given):
        return given
    ends = (given.rpartition("/")[2], given.rpartition(":")[2])
    return next(filter(kind.accepts_id, ends), given)


def _asked(problem: Problem, region: str) -> Problem:
    """Tell a problem of the one watch of a single look as one of the command's arguments."""
    head, _, key = problem.path.partition("watches[0].")
    if head or not key:
        return problem
    names = _ARGUMENTS | {"regions": region}
    return replace(problem, place="", path=names.get(key.partition("[")[0], key))
