"""Checks of the labels that the metrics of single jobs carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.config.findings import Finding
from monitor.config.messages import similar
from monitor.config.yaml_document import shown
from monitor.metrics import job_label

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.config.settings import Settings


def findings(settings: Settings) -> Iterator[Finding]:
    """Check ``metrics.job_labels``."""
    known = {label for watch in settings.watches for label in watch.labels}
    first: dict[str, str] = {}
    for index, label in enumerate(settings.metrics.job_labels):
        path = ("metrics", "job_labels", index)
        same = first.setdefault(job_label(label), label)
        if not label:
            yield Finding(path, "is empty", "name a label of a watch")
        elif label in settings.metrics.job_labels[:index]:
            yield Finding(path, f'"{shown(label)}" is named twice', "keep one")
        elif same != label:
            message = f'"{shown(label)}" and "{shown(same)}" both become {job_label(label)}'
            yield Finding(path, message, "keep one")
        elif label not in known:
            message = f'no watch has the label "{shown(label)}"'
            rests = (("watches",),)
            yield Finding(path, message, similar(label, known), warning=True, rests=rests)
