"""The jobs of a list, in memory or remembered by the store alone.

Most filters are about places and phases, for which there are counts: what no archived job can
match is not searched for, and how many match is known without a search. Text, and labels of which
only some watches of a place have any, must be compared job by job: there a page goes through a
bounded number of jobs, and the next one goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from monitor.web.api import params
from monitor.web.api.job_filters import RANKS, fits, has_label, label_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from monitor.interfaces import JobStatus
    from monitor.model import Phase, Snapshot
    from monitor.web.api.job_filters import JobsQuery
    from monitor.web.interfaces import ArchivedJobs, Live

    Ranked = tuple[tuple[Any, ...], JobStatus]

COMPARED = 500
"""Jobs that one page goes through where each must be read whole to be compared."""

Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class ArchivedSelection:
    """The archived jobs that may match: all of them do if it is ``exact``.

    ``every_place`` says that the store has none elsewhere. ``text`` is compared by the store.
    """

    places: Collection[Place]
    phases: Collection[Phase]
    total: int
    every_place: bool
    exact: bool
    text: str | None = None


@dataclass(frozen=True, slots=True)
class ArchivedMatches:
    """Jobs that match, with their ranks; more may follow after the rank ``last``."""

    ranked: Sequence[tuple[tuple[Any, ...], JobStatus]]
    last: tuple[Any, ...] | None


def select(
    live: Live,
    takes: Callable[[Place], bool],
    phases: Collection[Phase],
    labels: Sequence[str],
    text: str | None,
    *,
    compared: bool = False,
    by_watch: bool = False,
) -> ArchivedSelection:
    """Select by place, phase (all if there are none), labels and text.

    ``compared`` says that there are other filters, ``by_watch`` that the text may be in the name of
    a watch.
    """
    counts = live.archived()
    discovering = {place: live.discovering(place) for place, _ in counts}
    shown = {place: watches.values() for place, watches in discovering.items()}
    exact, places = text is None and not compared, set()
    for place, watches in shown.items():
        fit = [all(has_label(each, label) for label in labels) for each in watches]
        if takes(place) and any(fit):
            places.add(place)
            exact = exact and all(fit)
    fitting = {
        (place, phase): many
        for (place, phase), many in counts.items()
        if many and place in places and (not phases or phase in phases)
    }
    return ArchivedSelection(
        places={place for place, _ in fitting},
        phases={phase for _, phase in fitting},
        total=sum(fitting.values()),
        every_place=places == shown.keys() and not live.archived_elsewhere(),
        exact=exact,
        text=_compared(text, [discovering[place] for place in places], by_watch=by_watch),
    )


def _compared(
    text: str | None, watched: Sequence[Mapping[str, Mapping[str, str]]], *, by_watch: bool
) -> str | None:
    """Return a text that the store can search for: without it, each job must be read."""
    if text is None:
        return None
    labels = [
        label for watches in watched for each in watches.values() for label in label_texts(each)
    ]
    names = [name for watches in watched for name in watches] if by_watch else []
    found = text.casefold()
    # Which jobs have a label, or which watch follows them, is not in the store.
    return None if any(found in one.casefold() for one in (*labels, *names)) else text


async def page(
    archive: ArchivedJobs,
    live: Live,
    selection: ArchivedSelection,
    fits: Callable[[JobStatus], bool],
    *,
    sort: str,
    after: tuple[Any, ...] | None,
    limit: int,
    until: tuple[Any, ...] | None = None,
) -> ArchivedMatches:
    """Return archived jobs after a rank, in the order ``sort``; a dash before it reverses it.

    None come after the rank ``until``.
    """
    if not selection.total:
        return ArchivedMatches([], None)
    order = sort.removeprefix("-")
    searched = selection.text is not None and selection.text.isascii()
    met = await archive.page(
        "looked_at" if order == "last_look_at" else order,
        selection.places,
        selection.phases,
        down=sort.startswith("-"),
        every_place=selection.every_place,
        after=after,
        until=until,
        limit=limit if selection.exact or searched else COMPARED,
        text=selection.text,
    )
    ranked = [(rank, status) for rank, known in met.found if (status := _status(live, known, fits))]
    return ArchivedMatches(ranked, met.last)


def followed(
    jobs: Iterable[JobStatus], asked: JobsQuery, after: tuple[Any, ...] | None
) -> tuple[Sequence[Ranked], int]:
    """Return the first of ``jobs``, those in memory, that match after a rank, and how many do."""
    fitting = [job for job in jobs if fits(job, asked)]
    down, rank = asked.sort.startswith("-"), RANKS[asked.sort.removeprefix("-")]
    ranked = [((*rank(one), one.job.key), one) for one in fitting]
    found = params.first_of(ranked, after=after, down=down, limit=asked.limit + 1)
    return found, len(fitting)


async def merged(
    live: Live,
    archive: ArchivedJobs,
    asked: JobsQuery,
    after: tuple[Any, ...] | None,
    met: Sequence[Ranked],
    total: int,
) -> tuple[Sequence[JobStatus], tuple[Any, ...] | None, int]:
    """Return a page of the jobs that were ``followed`` and of archived ones.

    Beside it is the rank after which more may follow, and how many jobs match in all.
    """
    down = asked.sort.startswith("-")
    selection = select(
        *(live, asked.takes_place, asked.phase, asked.label, asked.q), compared=asked.compared
    )
    nothing = asked.flagged or not selection.total
    match = partial(fits, asked=asked)
    known = [] if nothing else await named(archive, live, asked.q, match)
    # One that is archived while the list is made is still among those of memory.
    listed = {one.job.key for _, one in met}
    known = [one for one in known if one.job.key not in listed][: asked.limit - 1]
    listed |= {one.job.key for one in known}
    room = asked.limit - (len(known) if after is None else 0)
    found = ArchivedMatches([], None)
    if not nothing:
        # Beyond so many of memory, none is shown.
        until = met[room][0] if len(met) > room else None
        found = await page(
            *(archive, live, selection, match),
            sort=asked.sort,
            after=after,
            limit=room + 1,
            until=until,
        )
    others = [one for one in found.ranked if one[1].job.key not in listed]
    ranked = [*met, *others]
    last = found.last
    if last is not None:
        # Beyond it, archived jobs may come between those in memory.
        ranked = [one for one in ranked if (one[0] >= last if down else one[0] <= last)]
    shown = params.first_of(ranked, after=None, down=down, limit=room + 1)
    if len(shown) > room:
        last = shown[room - 1][0]
    items = [one for _, one in shown[:room]]
    items += known if after is None else []
    if selection.exact and not nothing:
        total += selection.total
    elif not nothing:
        total += len(known) + len(others)
    return items, last, total


async def named(
    archive: ArchivedJobs, live: Live, text: str | None, fits: Callable[[JobStatus], bool]
) -> Sequence[JobStatus]:
    """Return the archived jobs whose key or id is ``text``: an index has them."""
    if not text:
        return []
    known = await archive.with_id(text)
    return [status for each in known if (status := _status(live, each, fits))]


def _status(live: Live, known: Snapshot, fits: Callable[[JobStatus], bool]) -> JobStatus | None:
    status = live.remembered(known)
    return status if status is not None and fits(status) else None
