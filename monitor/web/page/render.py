"""The templates, and what they need: plain functions of values, no I/O after the start."""

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
from monitor.web.page import format as wording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from monitor.web.interfaces import JobStatus
    from monitor.web.page.filters import Chosen, Selection
    from monitor.web.page.rows import JobLine, TransitionLine
    from monitor.web.page.view import Scene

_HERE = Path(__file__).parent
_MOST_CHOICES = 100


class Templates:
    """Makes HTML out of values; every text from outside is escaped."""

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
            "moment": wording.moment,
            "clock": wording.clock,
            "rate": wording.rate,
            "shortened": rows.shortened,
            "breakable": breakable,
            "failed_tries": rows.failed_tries,
            "job_address": job_address,
        }
        self._environment.globals |= {
            "kinds": [kind.value for kind in Kind],
            "strip_width": timeline.WIDTH,
            "strip_height": timeline.HEIGHT,
        }
        for name in ("page.html", "job.html", "unknown.html"):
            self._environment.get_template(name)

    def index(self, scene: Scene, here: Selection, chosen: Chosen, shown: Sequence[JobLine]) -> str:
        """Render the page at ``/``."""
        census = summary.count_jobs(scene.jobs, scene.now)
        return self._render(
            "page.html",
            scene=scene,
            here=here,
            chosen=chosen,
            lines=shown,
            census=census,
            verdict=summary.judge(scene, census),
            tiles=_tiles(census),
            phases=[phase.value for phase in Phase],
            flags=filters.FLAGS,
            types=sorted({job.job.type for job in scene.jobs}),
            known_labels=_labels(scene.jobs),
        )

    def job(self, scene: Scene, line: JobLine, transitions: Sequence[TransitionLine]) -> str:
        """Render the page of one job."""
        snapshot = line.followed.snapshot
        fields = snapshot.fields if snapshot else {}
        told = [(name, rows.value_text(value)) for name, value in sorted(fields.items())]
        here = filters.Selection()
        return self._render(
            "job.html",
            scene=scene,
            here=here,
            line=line,
            fields=told,
            transitions=transitions,
            parked={sink.name for sink in scene.sinks if sink.parked_at},
        )

    def unknown(self, scene: Scene, key: str) -> str:
        """Render the page that says that there is no such job."""
        return self._render("unknown.html", scene=scene, key=key)

    def _render(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(values)


def job_address(key: str) -> str:
    """Return the address of a job's own page; in the query, as an id may be ``..``."""
    return f"/job?key={quote(key, safe='/')}"


def breakable(state: str) -> Markup:
    """Let a line break behind the slashes of a state."""
    return Markup("/<wbr>").join(state.split("/"))


def _tiles(census: summary.Census) -> list[tuple[str, int, str]]:
    """Return name, number and address of each tile, in the order in which they matter."""
    every = filters.Selection()
    flags = [(name, many, every.address(flag=name)) for name, many in census.flags.items()]
    order = ("failed", "running", "waiting", "succeeded", "canceled", "expired", "unknown")
    phases = {name: (name, census.phases[name], every.address(phase=name)) for name in order}
    first = [phases.pop("failed"), *flags]
    if not census.phases["unknown"]:
        del phases["unknown"]
    return [*first, *phases.values(), ("all", census.total, "/")]


def _labels(jobs: Sequence[JobStatus]) -> list[str]:
    found: dict[int, Mapping[str, str]] = {id(job.labels): job.labels for job in jobs}
    pairs = {f"{name}={value}" for labels in found.values() for name, value in labels.items()}
    return sorted(pairs)[:_MOST_CHOICES]
