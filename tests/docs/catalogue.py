"""Write docs/job-catalogue.md from the shipped job types: ``make catalogue``."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from monitor.config import format_duration
from monitor.model import Phase
from monitor.sources.loader import load_job_types
from tests.moto_jobs import STARTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.sources.job_type import JobType

FILE = Path(__file__).parents[2] / "docs" / "job-catalogue.md"

SIMULATED = {"panorama.package-import", "importexport.job"}
"""Types that the simulator of this project serves."""

START = """\
# Catalogue of job types

These job types come with the monitor. `make catalogue` writes this page from the files in
[`monitor/sources/job_types`](../monitor/sources/job_types). [Job types](job-types.md) explains
the form, and how to add your own. A file of yours with the name of a type on this page replaces it.

`job-monitor types list` prints the same list, and `job-monitor types show TYPE` one of them.

**Checked** says how each was proven. All are checked against the service's model in the AWS SDK.
Those with *moto* or *the simulator* also run against a simulated service in our tests.

| service | job types |
|---|---|
"""


def text() -> str:
    """Return the page."""
    types = [kind for _, kind in sorted(load_job_types(None).items())]
    groups = [(service, list(kinds)) for service, kinds in groupby(types, lambda one: one.service)]
    parts = [START]
    for service, kinds in groups:
        links = ", ".join(f"[{kind.name}](#{_anchor(kind)})" for kind in kinds)
        parts.append(f"| {service} | {links} |\n")
    for service, kinds in groups:
        parts.append(f"\n## {service}\n")
        for kind in kinds:
            parts.append(f"\n### {kind.name}\n\n{kind.description}\n\n")
            parts += [f"- **{name}**: {value}\n" for name, value in _facts(kind)]
    return "".join(parts)


def _anchor(kind: JobType) -> str:
    return kind.name.replace(".", "")


def _facts(kind: JobType) -> Iterator[tuple[str, str]]:
    many = f", up to {kind.at_once} jobs a call" if kind.at_once > 1 else ""
    yield "Describe", f"`{kind.describe_operation}`{many}"
    listings = dict.fromkeys(one.operation for one in kind.listings)
    if listings:
        listed = " and ".join(f"`{one}`" for one in listings)
        each = f" for each {kind.parent.replace('_', ' ')}" if kind.parent else ""
        yield "List", f"{listed}{each}"
    parts = list(kind.describe.item.id)
    yield "ID", "as AWS has it" if parts == ["id"] else "/".join(f"`{part}`" for part in parts)
    yield "Discovery", _discovery(kind)
    states: dict[Phase, list[str]] = {}
    for state, phase in kind.phases.items():
        states.setdefault(phase, []).append(state)
    for rule in kind.rules:
        if rule.when:
            file = f"../monitor/sources/job_types/{kind.name}.yaml"
            states.setdefault(rule.phase, []).append(f"{rule.state} on a [condition]({file})")
    named = (
        f"{phase}: {', '.join(dict.fromkeys(states[phase]))}" for phase in Phase if phase in states
    )
    yield "States", "; ".join(named)
    quota = f"{kind.rate:g} requests a second"
    yield "Polled", f"every {format_duration(kind.interval)}, at most {quota} by default"
    if kind.reopens:
        yield "Reopens", "a named resource, which may become busy again"
    if kind.revealed:
        yield "Kept", f"{', '.join(kind.revealed)}, though the model marks it as sensitive"
    if kind.name in SIMULATED:
        yield "Checked", "the model, the simulator"
    else:
        yield "Checked", "the model, moto" if kind.name in STARTS else "the model"


def _discovery(kind: JobType) -> str:
    if not kind.listings:
        return "none: name the jobs"
    window = "; each sweep lists all that AWS keeps"
    if any(one.windowed for one in kind.listings):
        window = "; the first sweep goes back 7 days, or `max_age`"
    if kind.parent is None:
        return f"`discover: true`{window}"
    all_ = ", or `{of: all}`" if kind.parents else ""
    return f"`discover: {{of: [{kind.parent.upper()}]}}`{all_}{window}"


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
