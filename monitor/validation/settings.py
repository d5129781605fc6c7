"""What the shape of the settings cannot tell: references, rules of the job types, files.

Nothing is asked of the network. Files are opened only to see that they can be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.config.gaps import NO_GAPS, Gaps
from monitor.config.messages import tidy
from monitor.config.yaml_document import dotted
from monitor.errors import Problem
from monitor.validation import general, job_labels, routes, watches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.config.findings import Finding
    from monitor.config.settings import Settings
    from monitor.validation.watches import JobType


def problems(
    settings: Settings, job_types: Mapping[str, JobType], gaps: Gaps = NO_GAPS
) -> list[Problem]:
    """Return every mistake and warning, in the order of the files; no secret in any.

    What may come of a gap is left out.
    """
    services = {job_type.service for job_type in job_types.values()}
    fixed = {job_type.service for job_type in job_types.values() if job_type.region}
    found = [
        *general.findings(settings, services, fixed),
        *watches.findings(settings, job_types),
        *routes.findings(settings, list(job_types)),
        *job_labels.findings(settings),
    ]
    return tidy(_problem(settings, finding) for finding in found if not gaps.hide(finding))


def _problem(settings: Settings, finding: Finding) -> Problem:
    return Problem(
        settings.place(*finding.path),
        dotted(finding.path),
        finding.message,
        finding.remedy,
        finding.warning,
    )
