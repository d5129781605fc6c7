"""Random lives of jobs, as steps like those of a script."""

import random
from collections.abc import Mapping
from typing import Any

from monitor.simulator.job_specs import Step
from monitor.simulator.members import Service

# An outcome is a list of what is set, one step after the other.
_Outcome = list[dict[str, Any]]
_RECEIVED = {"set": {"LocationCode": "AtAWS"}}
_STARTED = {"set": {"ProgressCode": "InProgress"}}
_RETURNED = {"set": {"LocationCode": "Returned"}}
_DEVICE_ERRORS = (
    "DeviceError",
    "InvalidSignature",
    "MissingSignature",
    "MissingDevice",
    "UnsupportedDeviceType",
    "UnsupportedFileFormat",
    "UnsupportedPowerSupply",
)
_PANORAMA: dict[str, _Outcome] = {
    "success": [{"set": {"Status": "SUCCEEDED"}}],
    "failure": [{"set": {"Status": "FAILED"}}],
    "stuck": [],
}
_IMPORT_EXPORT: dict[str, _Outcome] = {
    "success": [_RECEIVED, _STARTED, {"set": {"ProgressCode": "Complete"}}, _RETURNED],
    "errors": [
        _RECEIVED,
        _STARTED,
        {"set": {"ProgressCode": "SuccessWithErrors", "ErrorCount": 7}},
        _RETURNED,
    ],
    "failure": [_RECEIVED, _STARTED, {"set": {"ProgressCode": "DeviceError"}}, _RETURNED],
    "cancel": [{"set": {"ProgressCode": "Canceled", "IsCanceled": True}}],
    "cancel_by_error": [{"error": "canceled", "set": {"IsCanceled": True}}],
    "cancel_in_list": [{"set": {"IsCanceled": True}}],
    "expire": [{"set": {"ProgressCode": "Expired"}}],
    "expire_by_error": [{"error": "expired"}],
    "stuck": [_RECEIVED],
}
OUTCOMES: dict[Service, dict[str, _Outcome]] = {
    "panorama": _PANORAMA,
    "importexport": _IMPORT_EXPORT,
}
_MIXED: dict[Service, Mapping[str, float]] = {
    "panorama": {"success": 7, "failure": 2, "stuck": 1},
    "importexport": {
        "success": 6,
        "errors": 2,
        "failure": 2,
        "cancel": 1,
        "cancel_by_error": 1,
        "expire": 1,
        "expire_by_error": 1,
        "stuck": 1,
    },
}


def profiles(service: Service) -> list[str]:
    """Return the names of a service's profiles: `mixed`, and each outcome alone."""
    return ["mixed", *OUTCOMES[service]]


def draw(service: Service, profile: str, pace: float, chance: random.Random) -> tuple[Step, ...]:
    """Return one life; its steps lie half to one and a half `pace` seconds apart."""
    weights = _MIXED[service] if profile == "mixed" else {profile: 1.0}
    outcome = chance.choices(list(weights), list(weights.values()))[0]
    steps = [
        Step.model_validate({**step, "after": pace * chance.uniform(0.5, 1.5)})
        for step in OUTCOMES[service][outcome]
    ]
    # After all pauses are drawn: a seed must give the same life as ever.
    for number, step in enumerate(steps):
        if step.set.get("ProgressCode") == "DeviceError":
            error = {"ProgressCode": chance.choice(_DEVICE_ERRORS)}
            steps[number] = step.model_copy(update={"set": error})
    return tuple(steps)
