"""The values that flow through the monitor: frozen, and free of I/O.

Every ``datetime`` here is timezone-aware and in UTC.

Names are imported from here when they are used first: to make a class takes most of a millisecond,
and each command needs few of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monitor.model.kinds import (
        PHASE_PART,
        TERMINAL,
        Archived,
        DeliveryStatus,
        Ending,
        Kind,
        Phase,
        Severity,
    )
    from monitor.model.labels import (
        MOST_LABEL_VALUES,
        MOST_WATCH_LABELS,
        OTHER_VALUE,
        TAKEN_LABELS,
        Place,
        WatchLabels,
        label_column,
    )
    from monitor.model.ledger import (
        Acknowledgement,
        Backlog,
        Change,
        Delivery,
        Entry,
        FormerOwner,
        Parking,
        Replica,
        RuntimeWatch,
        Settlement,
        Silence,
        StateAndPhase,
        StoredDelivery,
        StoreOutage,
        Transition,
    )
    from monitor.model.observations import (
        ArchivedFilter,
        ArchivedPage,
        ArchivedRow,
        ArchiveMark,
        Baseline,
        ListingRequest,
        Observation,
        Page,
        ParentPage,
        SkippedRow,
        Verdict,
    )
    from monitor.model.snapshots import (
        Job,
        JobMap,
        Snapshot,
        SourceKey,
        SourceState,
        searched_text,
        shared_fields,
        shared_parts,
        shared_text,
        shared_time,
    )

__all__ = [
    "MOST_LABEL_VALUES",
    "MOST_WATCH_LABELS",
    "OTHER_VALUE",
    "PHASE_PART",
    "TAKEN_LABELS",
    "TERMINAL",
    "Acknowledgement",
    "ArchiveMark",
    "Archived",
    "ArchivedFilter",
    "ArchivedPage",
    "ArchivedRow",
    "Backlog",
    "Baseline",
    "Change",
    "Delivery",
    "DeliveryStatus",
    "Ending",
    "Entry",
    "FormerOwner",
    "Job",
    "JobMap",
    "Kind",
    "ListingRequest",
    "Observation",
    "Page",
    "ParentPage",
    "Parking",
    "Phase",
    "Place",
    "Replica",
    "RuntimeWatch",
    "Settlement",
    "Severity",
    "Silence",
    "SkippedRow",
    "Snapshot",
    "SourceKey",
    "SourceState",
    "StateAndPhase",
    "StoreOutage",
    "StoredDelivery",
    "Transition",
    "Verdict",
    "WatchLabels",
    "label_column",
    "searched_text",
    "shared_fields",
    "shared_parts",
    "shared_text",
    "shared_time",
]

_MODULES = ("kinds", "snapshots", "ledger", "observations", "labels")
"""Where the names are, what most need first."""


def __getattr__(name: str) -> Any:
    for module in _MODULES if name in __all__ else ():
        place = import_module(f"{__name__}.{module}")
        if hasattr(place, name):
            globals()[name] = found = getattr(place, name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
