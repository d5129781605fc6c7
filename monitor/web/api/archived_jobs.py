"""The jobs of a list, in memory or remembered by the store alone.

Most filters are about places and phases, for which there are counts: what no archived job can
match is not searched for, and how many match is known without a search. Text, states and times are
searched for by the store. Watches, and labels that only some watches of a place have, must be
compared job by job: there a page goes through a bounded number of jobs, and the next one goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from monitor.model import ArchivedFilter
from monitor.web.api import params
from monitor.web.api.job_filters import RANKS, fits, has_label, label_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from monitor.interfaces import JobStatus
    from monitor.model import Phase
    from monitor.web.api.job_filters import JobsQuery
    from monitor.web.interfaces import ArchivedJobs, Live

    Ranked = tuple[tuple[Any, ...], JobStatus]

_ANY = ArchivedFilter()

COMPARED = 500
"""Jobs that one page goes through where each must be read whole to be compared."""

Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class ArchivedSelection:
    """The archived jobs that may match: all of them do if it is ``exact``.

    ``every_place`` says that the store has none elsewhere. ``having`` is searched for by the store.
    """

    places: Collection[Place]
    phases: Collection[Phase]
    total: int
    every_place: bool
    exact: bool
    having: ArchivedFilter

    @property
    def searched(self) -> bool:
        """Whether the store reads whole only what may match."""
        text = self.having.text
        return (text is not None and text.isascii()) or self.having != replace(_ANY, text=text)


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
    watch: str | None,
    having: ArchivedFilter,
    *,
    by_watch: bool = False,
) -> ArchivedSelection:
    """Select by place, phase (all if there are none), labels, watch, and what jobs are to have.

    ``by_watch`` says that the text may be in the name of a watch.
    """
    counts = live.archived()
    shown = {place: live.discovering(place) for place, _ in counts}
    exact, places = having == _ANY, set()
    for place, watches in shown.items():
        fit = [
            watch in {None, name} and all(has_label(each, label) for label in labels)
            for name, each in watches.items()
        ]
        if takes(place) and any(fit):
            places.add(place)
            exact = exact and all(fit)
    fitting = {
        (place, phase): many
        for (place, phase), many in counts.items()
        if many and place in places and (not phases or phase in phases)
    }
    if having.text is not None and _is_of_watches(having.text, shown, places, by_watch=by_watch):
        # Which jobs have a label, or which watch follows them, is not in the store.
        having = replace(having, text=None)
    return ArchivedSelection(
        places={place for place, _ in fitting},
        phases={phase for _, phase in fitting},
        total=sum(fitting.values()),
        every_place=places == shown.keys() and not live.archived_elsewhere(),
        exact=exact,
        having=having,
    )


def _is_of_watches(
    text: str,
    shown: Mapping[Place, Mapping[str, Mapping[str, str]]],
    places: Collection[Place],
    *,
    by_watch: bool,
) -> bool:
    """Return whether a text is in a label, or in the name, of a watch of some places."""
    texts = [
        each
        for place in places
        for name, labels in shown[place].items()
        for each in (*label_texts(labels), *([name] if by_watch else []))
    ]
    found = text.casefold()
    return any(found in each.casefold() for each in texts)


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
    met = await archive.page(
        "looked_at" if order == "last_look_at" else order,
        selection.places,
        selection.phases,
        down=sort.startswith("-"),
        every_place=selection.every_place,
        after=after,
        until=until,
        limit=limit if selection.exact or selection.searched else COMPARED,
        having=selection.having,
    )
    # What all have need not be compared: a page has many.
    ranked = [
        (rank, status)
        for rank, known in met.found
        if (status := live.remembered(known)) is not None and (selection.exact or fits(status))
    ]
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
        *(live, asked.takes_place, asked.phase, asked.label, asked.watch, asked.having)
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
    known = [live.remembered(each) for each in await archive.with_id(text)]
    return [status for status in known if status is not None and fits(status)]
