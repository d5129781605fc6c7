"""Rendering of the templates: from values, without I/O after the start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from monitor import config
from monitor.events import timestamp
from monitor.model import Kind, Phase
from monitor.web.page import filters, rows, summary, timeline
from monitor.web.page.format import clock, moment, rate, shortened
from monitor.web.page.view import trouble

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from monitor.web.page.filters import JobFilter, Matches
    from monitor.web.page.rows import JobRow, TransitionRow
    from monitor.web.page.view import PageView

_HERE = Path(__file__).parent
_MOST_CHOICES = 100


class Templates:
    """Renders HTML; every text from outside is escaped."""

    def __init__(self) -> None:
        """Read and compile the templates."""
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
            "trouble": trouble,
            "job_address": job_address,
        }
        self._environment.globals |= {
            "kinds": [kind.value for kind in Kind],
            "timeline_width": timeline.WIDTH,
            "timeline_height": timeline.HEIGHT,
        }
        for name in ("page.html", "job.html", "unknown.html"):
            self._environment.get_template(name)

    def index(
        self, view: PageView, here: JobFilter, matches: Matches, shown: Sequence[JobRow]
    ) -> str:
        """Render the page at ``/``."""
        counts = summary.count_jobs(view.jobs, view.now)
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
            flags=filters.FLAGS,
            types=sorted({job.job.type for job in view.jobs}),
            known_labels=sorted(known)[:_MOST_CHOICES],
        )

    def job(self, view: PageView, row: JobRow, transitions: Sequence[TransitionRow]) -> str:
        """Render the page of one job."""
        return self._render(
            "job.html",
            view=view,
            here=filters.JobFilter(),
            row=row,
            fields=[
                (name, rows.value_text(value)) for name, value in sorted(row.view.fields.items())
            ],
            transitions=transitions,
            parked={sink.name for sink in view.sinks if sink.parked},
        )

    def unknown(self, view: PageView, key: str) -> str:
        """Render the page for a job that does not exist."""
        return self._render("unknown.html", view=view, key=key)

    def _render(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(values)


def job_address(key: str) -> str:
    """Return the address of a job's page; the key is in the query, as an id may be ``..``."""
    return f"/job?key={quote(key, safe='/')}"


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
