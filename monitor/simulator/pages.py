"""One page of a list, newest job first."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from monitor.simulator.calls import Call
from monitor.simulator.job import Job, Position, State
from monitor.simulator.replies import Distortion, Rows
from monitor.simulator.world import World


@dataclass(frozen=True, slots=True)
class ServiceRequest:
    """A request that was let in, and what its answer must heed.

    `account` is None where callers see every job; `now` is in seconds since 1970.
    """

    call: Call
    account: str | None
    now: float
    distortion: Distortion
    request_id: str

    @property
    def moment(self) -> float:
        """The moment whose states are shown."""
        return self.now - self.distortion.age


@dataclass(frozen=True, slots=True)
class Page:
    """The jobs shown, each in the state shown; `more` says that older ones follow `last`."""

    shown: list[tuple[Job, State]]
    more: bool
    last: Position | None

    @property
    def rows(self) -> Rows:
        """What the record keeps of the page."""
        return tuple((job.id, state.number) for job, state in self.shown)


def take(
    world: World, request: ServiceRequest, region: str, before: Position | None, size: int
) -> Page:
    """Return the page of at most `size` jobs that are older than the position."""
    if request.distortion.page == "empty":
        return Page([], more=True, last=None)
    found: list[tuple[Job, State]] = []
    for job in world.newest_first(request.call.service, region, before):
        state = job.state_at(request.moment)
        if state and not state.missing and job.belongs_to(request.account):
            found.append((job, state))
        if len(found) > size:  # one more than fits says that there are more
            break
    page, omit = found[:size], request.distortion.omit
    # The token still counts an omitted job: that is how a listing loses one without a trace.
    shown = [pair for pair in page if omit is None or not fnmatchcase(pair[0].id, omit)]
    return Page(shown, more=len(found) > size, last=page[-1][0].position if page else None)
