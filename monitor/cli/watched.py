"""What a configuration watches, for commands that need nothing else of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.cli import lazy, options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from monitor.config import Settings
    from monitor.sources.job_type import JobType


def read(config: list[Path] | None, *parts: str) -> tuple[Settings, Mapping[str, JobType]]:
    """Return the settings, and the job types; what is wrong elsewhere does not matter.

    ``parts`` are the beginnings or ends of the keys that do matter.

    Raises:
        ConfigurationError: with everything that is wrong in these.
    """
    settings = options.load_own(config)
    types, wrong = lazy.examination.load_job_types(settings, None)
    found = [
        one
        for one in lazy.validation.problems(settings, types)
        if one.path.startswith(parts) or one.path.endswith(parts)
    ]
    lazy.examination.raise_errors([*wrong, *found])
    return settings, types
