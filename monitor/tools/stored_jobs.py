"""The jobs of a store, in the form in which a daemon shows the jobs that it follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from monitor.errors import ConfigurationError, Problem
from monitor.interfaces import JobStatus
from monitor.polling.watch import Claims
from monitor.web.api.job_filters import JobsQuery

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from monitor import config, model

_OPTIONS = {"q": "--query"}


def query(given: Mapping[str, Any]) -> JobsQuery:
    """Read the filters given as options of the command line.

    Raises:
        ConfigurationError: a value is invalid.
    """
    try:
        return JobsQuery.model_validate(given)
    except ValidationError as error:
        wrong = error.errors()[0]
    name, message = str(wrong["loc"][0]), str(wrong["msg"]).removeprefix("Value error, ")
    option = _OPTIONS.get(name, f"--{name}")
    raise ConfigurationError([Problem("", option, message[:1].lower() + message[1:])])


def known_jobs(
    snapshots: Iterable[model.Snapshot], watches: Sequence[config.Watch]
) -> Iterator[JobStatus]:
    """Yield each job with the watch that follows it; its name is empty if none does any longer.

    Only a running daemon knows when it polls next and whether it can; here that stays empty.
    """
    claims: dict[tuple[str, str, str], Claims[config.Watch]] = {}
    for order, watch in enumerate(watches):
        # One without regions is of a type that has but one.
        for region in watch.regions or ("",):
            place = (watch.type, watch.account, region)
            claims.setdefault(place, Claims()).add(order, watch, watch)
    for snapshot in snapshots:
        job = snapshot.job
        places = (claims.get((job.type, job.account, region)) for region in (job.region, ""))
        found = (place.first(job.id, snapshot.parent) for place in places if place)
        # Of several watches that claim a job, the first one written follows it.
        _, owner = min(filter(None, found), key=lambda one: one[0], default=(0, None))
        yield JobStatus(
            job=job,
            watch=owner.name if owner else "",
            labels=owner.labels if owner else {},
            snapshot=snapshot,
            interval=0.0,
            polled_at=snapshot.looked_at,
            at=snapshot.looked_at,
            next_in=None,
            failing=None,
            finished=False,
            blind=False,
        )
