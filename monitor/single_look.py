"""Looks at one job, outside of any watch, for a command that shows it or waits for it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from monitor import config, configuration, examination
from monitor.aws import service_models
from monitor.aws.clients import Clients
from monitor.clock import SystemClock
from monitor.errors import Problem
from monitor.model import Job
from monitor.sources.aws import AwsSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from monitor.model import Observation, Verdict
    from monitor.sources.job_type import JobType

_ARGUMENTS = {"type": "TYPE", "account": "--account", "regions": "--region", "jobs": "ID"}
"""What a watch's keys are called on the command line."""


class SingleLook:
    """One look at one job, outside of any watch; nothing is recorded or sent."""

    def __init__(
        self, settings: config.Settings, type_: str, account: str, region: str | None, job_id: str
    ) -> None:
        """Choose where to look; ``region`` may be left out for a global endpoint.

        Raises:
            ConfigurationError: there is no such type or account, no job can have that id, or a
                region is needed.
        """
        self._models = service_models.loader()
        types, wrong = examination.job_types(settings, self._models)
        examination.refuse(wrong)
        if region is None and type_ in types and types[type_].region is None:
            message = f"jobs of type {type_} are in many regions"
            examination.refuse(
                [Problem("", "--region", message, "name one, such as --region us-east-1")]
            )
        regions = [region] if region else []
        asked = config.Watch(
            name="show", type=type_, account=account, regions=regions, jobs=[job_id]
        )
        alone = settings.model_copy(update={"watches": [asked], "sinks": {}, "routes": []})
        examination.refuse(map(_asked, configuration.problems(alone, types)))
        self._settings = settings
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

    async def once(self) -> tuple[Observation, Verdict]:
        """Look at the job and say what its state means.

        Raises:
            LookError: AWS told nothing about it.
        """
        async with self.opened() as look:
            seen = await look()
        verdict = self._type.judge(seen.parts, None)
        assert verdict is not None  # noqa: S101 -- nothing was known before
        return seen, verdict

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Callable[[], Awaitable[Observation]]]:
        """Yield what looks once, as often as it is called; it raises LookError alone."""
        async with Clients(self._settings.accounts, models=self._models, patience=None) as clients:
            account, region = self._job.account, self._job.region
            source = AwsSource(self._type, account, region, clients, SystemClock())
            yield partial(source.look, self._job)


def _asked(problem: Problem) -> Problem:
    """Tell a problem of the one watch of a single look as one of the command's arguments."""
    head, _, key = problem.path.partition("watches[0].")
    if head or not key:
        return problem
    return replace(problem, place="", path=_ARGUMENTS.get(key.partition("[")[0], key))
