"""What a service changes by itself when one member changes: messages, carrier, log.

A scenario that sets those members itself wins.
"""

from typing import Any

from monitor.simulator.members import Members

_STATUS_MESSAGES = {
    "PENDING": "",
    "SUCCEEDED": "The package was imported.",
    "FAILED": "The package could not be imported.",
}
_LOCATION_MESSAGES = {
    "NotReceived": "AWS has not received your device.",
    "AtAWS": "Your device is at AWS.",
    "Returned": "Your device has been returned.",
}
_PROGRESS_MESSAGES = {
    "Pending": "The specified job has not started.",
    "InProgress": "The specified job is in progress.",
    "Started": "The specified job has started.",
    "Complete": "The specified job is complete.",
    "Success": "The specified job succeeded.",
    "SuccessWithErrors": "The specified job succeeded with errors. See the log.",
    "Canceled": "The specified job was canceled.",
    "Expired": "The specified job has expired.",
    "DeviceError": "The device could not be read.",
    "InvalidSignature": "The signature on the device is invalid.",
    "MissingSignature": "The signature file is missing from the device.",
    "MissingDevice": "The package held no device.",
    "UnsupportedDeviceType": "The device type is not supported.",
    "UnsupportedFileFormat": "The file system is not supported.",
    "UnsupportedPowerSupply": "The power supply is not supported.",
}
_LOGGED = frozenset({"Complete", "Success", "SuccessWithErrors"})


def of(job_id: str, changed: Members) -> dict[str, Any]:
    """Return the members that follow from the changed ones; both services' names are distinct."""
    follow: dict[str, Any] = {}
    for code, message, texts in (
        ("Status", "StatusMessage", _STATUS_MESSAGES),
        ("LocationCode", "LocationMessage", _LOCATION_MESSAGES),
        ("ProgressCode", "ProgressMessage", _PROGRESS_MESSAGES),
    ):
        if changed.get(code) in texts:
            follow[message] = texts[changed[code]]
    if changed.get("LocationCode") == "Returned":
        follow |= {"Carrier": "UPS", "TrackingNumber": f"1Z999AA1{_digits(job_id)}"}
    if changed.get("ProgressCode") in _LOGGED:
        follow |= {"LogBucket": "example-logs", "LogKey": f"import/{job_id}.log"}
    return {name: value for name, value in follow.items() if name not in changed}


def _digits(job_id: str) -> str:
    return f"{sum(job_id.encode()) * 7919 % 10**10:010d}"
