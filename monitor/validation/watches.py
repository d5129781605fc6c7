"""Checks of the watches, by the rules of their job types."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from typing import TYPE_CHECKING

from monitor.aws import queues
from monitor.config.messages import similar
from monitor.config.settings import Discover
from monitor.config.values import format_duration
from monitor.config.yaml_document import shown
from monitor.validation import stuck_after
from monitor.validation.problems import SettingProblem, check_globs, check_name, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from monitor.config.settings import Settings, Watch
    from monitor.config.yaml_document import Path
    from monitor.sources.job_type import JobType

AMBIENT = "default"
"""The account that exists without being configured."""
SHORTEST_INTERVAL = 1.0
"""Seconds below which an interval is worth a warning."""
DAY = 24 * 60
"""Minutes."""
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}")
_OTHER_PARTITION = re.compile(r"us-gov-|us-iso|cn-")


def check(settings: Settings, job_types: Mapping[str, JobType]) -> Iterator[SettingProblem]:
    """Check every watch, and what several of them add up to."""
    if not settings.watches:
        yield SettingProblem(("watches",), "nothing is watched", "add a watch", warning=True)
    for index, watch in enumerate(settings.watches):
        here = ("watches", index)
        yield from _general(here, watch, settings)
        job_type = job_types.get(watch.type)
        if job_type is None:
            yield unknown((*here, "type"), "job type", watch.type, job_types)
            continue
        yield from _regions(here, watch, job_type, settings)
        yield from _jobs(here, watch, job_type)
        yield from _times(here, watch, job_type, settings)
        yield from _reminders(here, watch, watch.interval or job_type.interval)
        yield from _maintenance(here, watch)
        account = settings.accounts.get(watch.account)
        if job_type.service == "importexport" and account and account.role_arn:
            message = "Import/Export reportedly refuses the credentials of an assumed role"
            remedy = "use an account with the long-term key that the jobs were created with"
            yield SettingProblem((*here, "account"), message, remedy, warning=True)
    yield from _learned(settings, job_types)
    yield from _repeated(settings, job_types)
    yield from _quotas(settings, job_types)


def _learned(settings: Settings, job_types: Mapping[str, JobType]) -> Iterator[SettingProblem]:
    """Warn where a learned schedule has no effect."""
    for index, watch in enumerate(settings.watches):
        kind = job_types.get(watch.type)
        if watch.schedule == "fixed" or kind is None:
            continue
        here = ("watches", index, "schedule")
        if kind.at_once > 1:
            message = "has no effect: jobs of this type share their describes"
            yield SettingProblem(here, message, "leave it out", warning=True)
        elif watch.discover and kind.polls_by_sweep:
            message = "has no effect: a sweep of the listing polls these jobs"
            yield SettingProblem(here, message, "leave it out, or name the jobs", warning=True)


def _general(path: Path, watch: Watch, settings: Settings) -> Iterator[SettingProblem]:
    yield from check_name((*path, "name"), watch.name)
    accounts = {AMBIENT, *settings.accounts}
    if watch.account not in accounts:
        yield unknown((*path, "account"), "account", watch.account, accounts)
    if not watch.jobs and not watch.discover:
        message, remedy = "has neither jobs nor discover", "add jobs: [ID] or discover: true"
        yield SettingProblem(path, message, remedy)
    if isinstance(watch.discover, Discover):
        here = (*path, "discover", "include")
        yield from check_globs(here, watch.discover.include)
        yield from check_globs((*path, "discover", "exclude"), watch.discover.exclude)
        if not watch.discover.include:
            yield SettingProblem(here, "is empty, so no job is watched", 'write ["*"] for all')


def _regions(
    path: Path, watch: Watch, job_type: JobType, settings: Settings
) -> Iterator[SettingProblem]:
    if job_type.region:
        yield from _needless_regions(path, watch, job_type.region)
        return
    if not watch.regions:
        first = next(iter(job_type.regions), "us-east-1")
        yield SettingProblem((*path, "regions"), "is missing", f"add regions: [{first}]")
    account = settings.accounts.get(watch.account)
    own_endpoint = account is not None and job_type.service in account.endpoint_urls
    for index, region in enumerate(watch.regions):
        here = (*path, "regions", index)
        if region in watch.regions[:index]:
            yield SettingProblem(here, f'"{shown(region)}" is named twice', "keep one")
        elif not _REGION.fullmatch(region):
            yield unknown(here, "region", region, job_type.regions or ["us-east-1"])
        # A private endpoint or an emulator may serve any region.
        elif job_type.regions and region not in job_type.regions and not own_endpoint:
            yield unknown(here, f"region of {job_type.service}", region, job_type.regions)


def _needless_regions(path: Path, watch: Watch, region: str) -> Iterator[SettingProblem]:
    for index, named in enumerate(watch.regions):
        message = ""
        if _OTHER_PARTITION.match(named):
            message = f'"{shown(named)}" is in GovCloud, China or an isolated region'
            message = f"{message}, where {watch.type} does not exist"
        elif named != region:
            message = f"{watch.type} has one global endpoint, and requests are signed for {region}"
        if message:
            yield SettingProblem((*path, "regions", index), message, "leave regions out")


def _jobs(path: Path, watch: Watch, job_type: JobType) -> Iterator[SettingProblem]:
    if watch.discover and not job_type.listings:
        message = f"jobs of type {job_type.name} cannot be listed"
        yield SettingProblem((*path, "discover"), message, "name them: jobs: [ID]")
    elif watch.discover:
        yield from _parents((*path, "discover"), watch, job_type)
    for index, job in enumerate(watch.jobs):
        here = (*path, "jobs", index)
        if len(job) > job_type.id_max_length:
            remedy = f"use at most {job_type.id_max_length} characters"
            yield SettingProblem(here, f'"{shown(job)}" is too long for a job ID', remedy)
        elif not job_type.id_pattern.fullmatch(job):
            remedy = f"it must look like {shown(job_type.id_form)}"
            message = f'"{shown(job)}" is not a valid {job_type.name} ID'
            yield SettingProblem(here, message, remedy)


def _parents(path: Path, watch: Watch, job_type: JobType) -> Iterator[SettingProblem]:
    of = watch.discover.of if isinstance(watch.discover, Discover) else None
    kind = job_type.parent
    every = " or of: all" if job_type.parent_operation else ""
    if kind is None and of is not None:
        message = f"AWS lists all jobs of type {job_type.name} at once"
        yield SettingProblem((*path, "of"), message, "leave of out")
    elif kind is not None and not of:
        message = f"AWS lists jobs of type {job_type.name} for one {kind} at a time"
        yield SettingProblem(path, message, f"write discover: {{of: [{kind.upper()}]}}{every}")
    elif of == "all" and not every:
        message = f"the {kind}s of {job_type.name} cannot be listed"
        yield SettingProblem((*path, "of"), message, f"name them: of: [{str(kind).upper()}]")


def _hinted(
    path: Path, watch: Watch, job_type: JobType, settings: Settings
) -> Iterator[SettingProblem]:
    """Warn where hints cannot come, or would change nothing."""
    interval = watch.interval or job_type.interval
    addresses = ((one, queues.address(one.queue_url, one.region)) for one in settings.hints)
    hinted = {(one.account, at.region) for one, at in addresses if at is not None}
    missing = [
        region
        for region in _effective_regions(watch, job_type)
        if (watch.account, region) not in hinted
    ]
    if (watch.interval_with_hints or 0.0) < interval:
        message = f"is shorter than the interval of {format_duration(interval)}, which is used"
        yield SettingProblem(path, message, "raise it, or remove it", warning=True)
    elif job_type.events is None:
        message = f"no event is known to tell of jobs of type {job_type.name}"
        yield SettingProblem(path, message, "remove it, or changes are seen late", warning=True)
    elif missing:
        message = f"has no effect in {missing[0]}: no queue in hints is of this account and region"
        yield SettingProblem(path, message, "add one to hints, or remove it", warning=True)


def _times(
    path: Path, watch: Watch, job_type: JobType, settings: Settings
) -> Iterator[SettingProblem]:
    interval = watch.interval or job_type.interval
    if interval < SHORTEST_INTERVAL:
        message = f"is below {SHORTEST_INTERVAL:g}s, which few quotas allow"
        yield SettingProblem((*path, "interval"), message, "raise it", warning=True)
    if watch.interval_with_hints is not None:
        yield from _hinted((*path, "interval_with_hints"), watch, job_type, settings)
    if watch.ended_interval is not None and watch.ended_interval < interval:
        used = format_duration(interval)
        message = f"is shorter than the interval of {used}, which is used instead"
        here = (*path, "ended_interval")
        yield SettingProblem(here, message, "lower the interval too", warning=True)
    if watch.stuck_after is not None:
        yield from stuck_after.check(path, watch.stuck_after, interval, job_type.state_globs)


def _effective_regions(watch: Watch, job_type: JobType) -> Sequence[str]:
    return [job_type.region] if job_type.region else list(dict.fromkeys(watch.regions))


def _repeated(settings: Settings, job_types: Mapping[str, JobType]) -> Iterator[SettingProblem]:
    """Find names and jobs that two watches have."""
    names: dict[str, int] = {}
    jobs: dict[tuple[str, ...], int] = {}
    for index, watch in enumerate(settings.watches):
        first = names.setdefault(watch.name, index)
        if first != index:
            message = f'"{shown(watch.name)}" is also the name of watches[{first}]'
            here = ("watches", index, "name")
            yield SettingProblem(here, message, "give each watch its own name")
        if job_type := job_types.get(watch.type):
            yield from _repeated_jobs(index, watch, job_type, jobs)


def _repeated_jobs(
    index: int, watch: Watch, job_type: JobType, owners: dict[tuple[str, ...], int]
) -> Iterator[SettingProblem]:
    regions = _effective_regions(watch, job_type)
    own: set[str] = set()
    for number, job in enumerate(watch.jobs):
        twice = job in own
        own.add(job)
        # The same id in another region or account is another job.
        firsts = {
            owners.setdefault((watch.type, watch.account, region, job), index) for region in regions
        }
        if twice or firsts - {index}:
            owner = min(firsts, default=index)
            where = "twice" if twice else f"by watches[{owner}] too"
            here = ("watches", index, "jobs", number)
            yield SettingProblem(here, f'"{shown(job)}" is watched {where}', "keep one")


def _reminders(path: Path, watch: Watch, interval: float) -> Iterator[SettingProblem]:
    """Warn of reminders that never come, or come with every poll."""
    if watch.remind_every is None:
        return
    here = (*path, "remind_every")
    limits = watch.stuck_after
    if limits is None or (isinstance(limits, dict) and not any(limits.values())):
        message = "has no effect: without stuck_after no job is stuck"
        yield SettingProblem(here, message, "add stuck_after", warning=True)
    elif watch.remind_every <= interval:
        message = "is not longer than the interval, so every poll brings a reminder"
        yield SettingProblem(here, message, "raise it", warning=True)


def _maintenance(path: Path, watch: Watch) -> Iterator[SettingProblem]:
    """Refuse a window that begins at the end of a day, and warn of one that never ends."""
    for index, window in enumerate(watch.maintenance):
        if window.from_ == DAY:
            here = (*path, "maintenance", index, "from")
            yield SettingProblem(here, "is the end of a day", 'write "00:00"')
        if not window.days and (window.from_, window.to) == (0, DAY):
            here, remedy = (*path, "maintenance", index), "name its days, or remove the sinks"
            yield SettingProblem(here, "never ends, so nothing is sent", remedy, warning=True)


def _quotas(settings: Settings, job_types: Mapping[str, JobType]) -> Iterator[SettingProblem]:
    """Warn where even the cheapest plan needs more calls than the quota allows."""
    needs: defaultdict[tuple[str, str, str], float] = defaultdict(float)
    first: dict[tuple[str, str, str], tuple[int, float]] = {}
    called: defaultdict[str, set[str]] = defaultdict(set)
    for index, watch in enumerate(settings.watches):
        job_type = job_types.get(watch.type)
        if job_type is None:
            continue
        called[job_type.service].update((job_type.describe_operation, *job_type.list_operations))
        describes = math.ceil(len(watch.jobs) / job_type.at_once)
        sweeps = len(job_type.listings) if watch.discover else 0
        # Where a row of the listing shows the whole state, one call serves every job.
        calls = min(1, sweeps + describes) if job_type.polls_by_sweep else describes + sweeps
        for region in _effective_regions(watch, job_type):
            key = (job_type.service, watch.account, region)
            needs[key] += calls / (watch.interval or job_type.interval)
            quota = settings.quotas.get(job_type.service)
            rate = quota.rate * (1 - quota.headroom) if quota else job_type.rate
            first.setdefault(key, (index, rate))
    for key, (index, rate) in first.items():
        if needs[key] > rate:
            message = f"{'/'.join(key)} needs at least {needs[key]:.3g} requests a second"
            remedy = f"its quota is {rate:g}: raise the interval or quotas.{key[0]}.rate"
            yield SettingProblem(("watches", index, "interval"), message, remedy, warning=True)
    for service, operations in called.items():
        quota = settings.quotas.get(service)
        for name in quota.operations if quota else ():
            if name not in operations:
                where = ("quotas", service, "operations", name)
                remedy = similar(name, operations)
                yield SettingProblem(where, "is called for no watch", remedy, warning=True)
