"""Rendering of the templates: from values, without I/O after the start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from monitor import config
from monitor.events import timestamp
from monitor.model import Kind, Phase
from monitor.web.page import filters, rows, strips, summary, timeline, trouble
from monitor.web.page.format import clock, moment, rate, shortened
from monitor.web.page.view import trouble as trouble_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from monitor.model import StoreOutage
    from monitor.web.interfaces import StatusReport
    from monitor.web.page.filters import JobFilter, Matches
    from monitor.web.page.rows import JobRow, TransitionRow
    from monitor.web.page.silence_handlers import SilenceRow
    from monitor.web.page.strips import Stretch
    from monitor.web.page.view import PageView
    from monitor.web.page.watch_rows import WatchRow

_HERE = Path(__file__).parent
_MOST_CHOICES = 100
_MOST_OWNED = 5
"""Sources or sinks of a replica that are named; their own tables name the replica of each."""


class Templates:
    """Renders HTML; every text from outside is escaped."""

    def __init__(
        self,
        base: str = "",
        dashboard_url: str | None = None,
        *,
        reloads: bool = True,
        silencing: bool = True,
    ) -> None:
        """Read and compile the templates; ``base`` stands before each address of the monitor.

        ``reloads`` and ``silencing`` say what the API can do: reload the configuration, and keep
        silences and acknowledgements.
        """
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters |= {
            "iso": timestamp,
            "span": config.short_duration,
            "moment": moment,
            "clock": clock,
            "rate": rate,
            "shortened": shortened,
            "breakable": breakable,
            "failed_attempts": rows.failed_attempts,
            "trouble": trouble_of,
            "watch_address": watch_address,
            "job_address": lambda key: base + job_address(key),
        }
        self._environment.globals |= {
            "base": base,
            "dashboard_url": dashboard_url,
            "reloads": reloads,
            "silencing": silencing,
            "most_owned": _MOST_OWNED,
            "kinds": [kind.value for kind in Kind],
            "strip_width": int(strips.WIDTH),
            "strip_height": strips.HEIGHT,
            "timeline_width": timeline.WIDTH,
            "timeline_height": timeline.HEIGHT,
        }
        for name in ("page", "job", "watches", "watch", "silences", "unknown", "store"):
            self._environment.get_template(f"{name}.html")

    def index(
        self, view: PageView, here: JobFilter, matches: Matches, shown: Sequence[JobRow]
    ) -> str:
        """Render the page at ``/``."""
        counts = summary.count_jobs(view.jobs, view.archived, view.now)
        # Jobs of one watch share their labels: each mapping is read once.
        labels: dict[int, Mapping[str, str]] = {id(job.labels): job.labels for job in view.jobs}
        known = {f"{name}={value}" for each in labels.values() for name, value in each.items()}
        return self._render(
            "page.html",
            view=view,
            here=here,
            matches=matches,
            rows=shown,
            counts=counts,
            summary=summary.summarize(view, counts),
            tiles=_tiles(counts),
            phases=[phase.value for phase in Phase],
            flags=(*filters.FLAGS, *filters.MARKS),
            trouble=trouble.sort_out(view),
            types=sorted({job.job.type for job in view.jobs} | {at[0] for at, _ in view.archived}),
            accounts=sorted(
                {job.job.account for job in view.jobs} | {at[1] for at, _ in view.archived}
            ),
            regions=sorted(
                {job.job.region for job in view.jobs} | {at[2] for at, _ in view.archived}
            ),
            watches=sorted({job.watch for job in view.jobs})[:_MOST_CHOICES],
            known_labels=sorted(known)[:_MOST_CHOICES],
        )

    def job(
        self,
        view: PageView,
        row: JobRow,
        transitions: Sequence[TransitionRow],
        console: str | None = None,
    ) -> str:
        """Render the page of one job; ``console`` is its URL in the AWS console, if it is known."""
        return self._render(
            "job.html",
            view=view,
            here=filters.JobFilter(),
            row=row,
            console=console,
            fields=[
                (name, rows.value_text(value)) for name, value in sorted(row.view.fields.items())
            ],
            transitions=transitions,
            parked={sink.name for sink in view.sinks if sink.parked},
        )

    def unknown(self, view: PageView, what: str, name: str) -> str:
        """Render the page for a job or a watch (``what``) that does not exist."""
        return self._render("unknown.html", view=view, what=what, name=name)

    def without_store(self, view: PageView, outage: StoreOutage) -> str:
        """Render what there is instead of a page while the store cannot be reached."""
        return self._render("store.html", view=view, outage=outage)

    def silences(self, view: PageView, shown: Sequence[SilenceRow], hidden: int) -> str:
        """Render the silences; ``hidden`` is how many more there are."""
        here = filters.JobFilter()
        return self._render("silences.html", view=view, here=here, silences=shown, hidden=hidden)

    def watches(
        self, view: PageView, status: StatusReport, shown: Sequence[WatchRow], onward: str
    ) -> str:
        """Render one page of the watches; ``onward`` is the name to go on after, if any."""
        return self._render(
            "watches.html",
            view=view,
            here=filters.JobFilter(),
            status=status,
            watches=shown,
            onward=onward,
            known_types=sorted({watch.type for watch in shown}),
            known_accounts=sorted({watch.account for watch in shown}),
        )

    def watch(
        self,
        view: PageView,
        watch: WatchRow,
        span: str,
        after: str,
        onward: str,
        shown: Sequence[tuple[JobRow, Sequence[Stretch]]],
    ) -> str:
        """Render the states of the jobs of a watch over a span of time."""
        lasting = strips.SPANS[span]
        return self._render(
            "watch.html",
            view=view,
            here=filters.JobFilter(),
            watch=watch,
            span=span,
            spans=strips.SPANS,
            after=after,
            onward=onward,
            rows=shown,
            start=view.now - lasting,
            middle=view.now - lasting / 2,
        )

    def _render(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(values)


def job_address(key: str) -> str:
    """Return the address of a job's page; the key is in the query, as an id may be ``..``."""
    return f"/job?key={quote(key, safe='/')}"


def watch_address(name: str, span: str = "", after: str = "") -> str:
    """Return the address of a watch's page."""
    query = {"name": name, "span": span, "after": after}
    return f"/watch?{urlencode({key: value for key, value in query.items() if value})}"


def breakable(state: str) -> Markup:
    """Let a line break behind the slashes of a state."""
    return Markup("/<wbr>").join(state.split("/"))


def _tiles(counts: summary.JobCounts) -> list[tuple[str, int, str]]:
    """Return name, number and address of each tile, in the order in which they matter."""
    every = filters.JobFilter()
    flags = [(name, many, every.address(flag=name)) for name, many in counts.flags.items()]
    order = ("failed", "running", "waiting", "succeeded", "canceled", "expired", "unknown")
    phases = {name: (name, counts.phases[name], every.address(phase=name)) for name in order}
    first = [phases.pop("failed"), *flags]
    if not counts.phases["unknown"]:
        del phases["unknown"]
    return [*first, *phases.values(), ("all", counts.total, "/")]
