"""Checks of the watches, by the rules of their job types."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Protocol

from monitor.config.findings import JOB_TYPES, Finding, bad_globs, bad_name, unknown, unknown_name
from monitor.config.settings import Discover, format_duration
from monitor.config.yaml_document import shown
from monitor.validation import stuck_after

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from monitor.config.settings import Settings, Watch
    from monitor.config.yaml_document import Path
    from monitor.model import Phase

AMBIENT = "default"
"""The account that is there without being configured."""
SHORTEST_INTERVAL = 1.0
"""Seconds below which an interval is worth a warning."""
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}")
_OTHER_PARTITION = re.compile(r"us-gov-|us-iso|cn-")


class JobType(Protocol):
    """What is asked of a kind of job to check the watches of it."""

    @property
    def name(self) -> str:
        """As configured."""
        ...

    @property
    def service(self) -> str:
        """The SDK's name of the service."""
        ...

    @property
    def region(self) -> str | None:
        """The one region of a global endpoint."""
        ...

    @property
    def regions(self) -> Sequence[str]:
        """The regions it is known in; empty if it may be in any."""
        ...

    @property
    def id_pattern(self) -> re.Pattern[str]:
        """What a whole job id looks like."""
        ...

    @property
    def id_max_length(self) -> int:
        """Characters of the longest job id."""
        ...

    @property
    def listing(self) -> object | None:
        """How its jobs are listed; ``None`` if they cannot be."""
        ...

    @property
    def lists_states(self) -> bool:
        """Whether one row of the listing tells the whole state."""
        ...

    @property
    def state_globs(self) -> Mapping[str, Phase]:
        """What its states look like, with ``*`` for a part that may be any text."""
        ...

    @property
    def interval(self) -> float:
        """Seconds between two looks, by default."""
        ...

    @property
    def rate(self) -> float:
        """Requests per second, by default."""
        ...


def findings(settings: Settings, job_types: Mapping[str, JobType]) -> Iterator[Finding]:
    """Check every watch, and what several of them add up to."""
    if not settings.watches:
        path = ("watches",)
        yield Finding(path, "nothing is watched", "add a watch", warning=True, rests=(path,))
    for index, watch in enumerate(settings.watches):
        here = ("watches", index)
        yield from _named(here, watch, settings)
        job_type = job_types.get(watch.type)
        if job_type is None:
            yield unknown((*here, "type"), "job type", watch.type, job_types, JOB_TYPES)
            continue
        yield from _regions(here, watch, job_type, settings)
        yield from _jobs(here, watch, job_type)
        yield from _times(here, watch, job_type)
        yield from _credentials(here, watch, job_type, settings)
    yield from _repeated(settings, job_types)
    yield from _paces(settings, job_types)


def _named(path: Path, watch: Watch, settings: Settings) -> Iterator[Finding]:
    yield from bad_name((*path, "name"), watch.name)
    accounts = {AMBIENT, *settings.accounts}
    if watch.account not in accounts:
        yield unknown_name((*path, "account"), "accounts", watch.account, accounts)
    if not watch.jobs and not watch.discover:
        message, remedy = "has neither jobs nor discover", "add jobs: [ID] or discover: true"
        yield Finding(path, message, remedy, rests=((*path, "jobs"), (*path, "discover")))
    if isinstance(watch.discover, Discover):
        yield from bad_globs((*path, "discover", "include"), watch.discover.include)
        yield from bad_globs((*path, "discover", "exclude"), watch.discover.exclude)
        if not watch.discover.include:
            here = (*path, "discover", "include")
            yield Finding(here, "is empty, so that no job is followed", 'write ["*"] for all')


def _regions(path: Path, watch: Watch, job_type: JobType, settings: Settings) -> Iterator[Finding]:
    if job_type.region:
        yield from _needless_regions(path, watch, job_type.region)
        return
    if not watch.regions:
        first = next(iter(job_type.regions), "us-east-1")
        here = (*path, "regions")
        yield Finding(here, "is missing", f"add regions: [{first}]", rests=(here,))
    account = settings.accounts.get(watch.account)
    own_endpoint = account is not None and job_type.service in account.endpoint_urls
    for index, region in enumerate(watch.regions):
        here = (*path, "regions", index)
        if region in watch.regions[:index]:
            yield Finding(here, f'"{shown(region)}" is named twice', "keep one")
        elif not _REGION.fullmatch(region):
            yield unknown(here, "region", region, job_type.regions or ["us-east-1"])
        elif job_type.regions and region not in job_type.regions and not own_endpoint:
            rests = ((*path, "account"), ("accounts", watch.account, "endpoint_urls"))
            what = f"region of {job_type.service}"
            yield unknown(here, what, region, job_type.regions, rests)


def _needless_regions(path: Path, watch: Watch, region: str) -> Iterator[Finding]:
    for index, named in enumerate(watch.regions):
        here = (*path, "regions", index)
        if _OTHER_PARTITION.match(named):
            message = f'"{shown(named)}" is in GovCloud, China or an isolated region'
            yield Finding(
                here, f"{message}, where {watch.type} does not exist", "leave regions out"
            )
        elif named != region:
            message = f"{watch.type} has one endpoint for the world, which signs for {region}"
            yield Finding(here, message, "leave regions out")


def _jobs(path: Path, watch: Watch, job_type: JobType) -> Iterator[Finding]:
    if watch.discover and job_type.listing is None:
        message = f"jobs of type {job_type.name} cannot be listed"
        yield Finding((*path, "discover"), message, "name them: jobs: [ID]")
    for index, job in enumerate(watch.jobs):
        here = (*path, "jobs", index)
        if len(job) > job_type.id_max_length:
            remedy = f"at most {job_type.id_max_length} characters"
            yield Finding(here, f'"{shown(job)}" is too long for a job id', remedy)
        elif not job_type.id_pattern.fullmatch(job):
            remedy = f"it must look like {shown(job_type.id_pattern.pattern)}"
            yield Finding(here, f'"{shown(job)}" is no id of a {job_type.name} job', remedy)


def _times(path: Path, watch: Watch, job_type: JobType) -> Iterator[Finding]:
    interval = watch.interval or job_type.interval
    if interval < SHORTEST_INTERVAL:
        message = f"is below {SHORTEST_INTERVAL:g}s, which few quotas allow"
        yield Finding((*path, "interval"), message, "raise it", warning=True)
    if watch.ended_interval is not None and watch.ended_interval < interval:
        message = f"is shorter than the interval of {format_duration(interval)}, which counts"
        here, rests = (*path, "ended_interval"), ((*path, "interval"),)
        yield Finding(here, message, "lower the interval too", warning=True, rests=rests)
    if watch.stuck_after is not None:
        yield from stuck_after.findings(path, watch.stuck_after, interval, job_type.state_globs)


def _credentials(
    path: Path, watch: Watch, job_type: JobType, settings: Settings
) -> Iterator[Finding]:
    account = settings.accounts.get(watch.account)
    if job_type.service == "importexport" and account and account.role_arn:
        message = "Import/Export is said to refuse the credentials of an assumed role"
        remedy = "use an account with the long-term key that the jobs were created with"
        yield Finding((*path, "account"), message, remedy, warning=True)


def _effective_regions(watch: Watch, job_type: JobType) -> Sequence[str]:
    return [job_type.region] if job_type.region else list(dict.fromkeys(watch.regions))


def _repeated(settings: Settings, job_types: Mapping[str, JobType]) -> Iterator[Finding]:
    """Find names and jobs that two watches have."""
    names: dict[str, int] = {}
    jobs: dict[tuple[str, ...], int] = {}
    for index, watch in enumerate(settings.watches):
        first = names.setdefault(watch.name, index)
        if first != index:
            message = f'"{shown(watch.name)}" is also the name of watches[{first}]'
            here, rests = ("watches", index, "name"), (("watches", first, "name"),)
            yield Finding(here, message, "give each watch its own name", rests=rests)
        if job_type := job_types.get(watch.type):
            yield from _repeated_jobs(index, watch, job_type, jobs)


def _repeated_jobs(
    index: int, watch: Watch, job_type: JobType, seen: dict[tuple[str, ...], int]
) -> Iterator[Finding]:
    regions = _effective_regions(watch, job_type)
    own: set[str] = set()
    for number, job in enumerate(watch.jobs):
        twice = job in own
        own.add(job)
        firsts = {
            seen.setdefault((watch.type, watch.account, region, job), index) for region in regions
        }
        if twice or firsts - {index}:
            owner = min(firsts, default=index)
            where = "twice" if twice else f"by watches[{owner}] too"
            here = ("watches", index, "jobs", number)
            rests = () if twice else _same(index) + _same(owner)
            yield Finding(here, f'"{shown(job)}" is watched {where}', "keep one", rests=rests)


def _same(index: int) -> tuple[Path, ...]:
    """Return what it rests on that a job is that of another watch."""
    return tuple(("watches", index, key) for key in ("type", "account", "regions"))


def _paces(settings: Settings, job_types: Mapping[str, JobType]) -> Iterator[Finding]:
    """Warn where even the cheapest plan needs more calls than the quota allows."""
    needs: defaultdict[tuple[str, str, str], float] = defaultdict(float)
    first: dict[tuple[str, str, str], tuple[int, float]] = {}
    for index, watch in enumerate(settings.watches):
        if job_type := job_types.get(watch.type):
            for region in _effective_regions(watch, job_type):
                key = (job_type.service, watch.account, region)
                needs[key] += _calls(watch, job_type) / (watch.interval or job_type.interval)
                quota = settings.quotas.get(job_type.service)
                first.setdefault(key, (index, quota.rate if quota else job_type.rate))
    for key, (index, rate) in first.items():
        if needs[key] > rate:
            message = f"{'/'.join(key)} needs at least {needs[key]:.3g} requests a second"
            remedy = f"its quota is {rate:g}: raise the interval or quotas.{key[0]}.rate"
            here, rests = ("watches", index, "interval"), (("watches",), ("quotas", key[0]))
            yield Finding(here, message, remedy, warning=True, rests=rests)


def _calls(watch: Watch, job_type: JobType) -> int:
    """Return the fewest calls that one round of looks can take."""
    if job_type.lists_states:
        return 1
    return len(watch.jobs) + bool(watch.discover)
