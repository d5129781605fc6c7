"""What the two services' jobs consist of, and what a job holds unless a scenario says otherwise.

The defaults include every sensitive member that real answers have, so that whoever reads
the answers has something to drop.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

Service = Literal["panorama", "importexport"]
Members = Mapping[str, Any]

PANORAMA = (
    "ClientToken",
    "CreatedTime",
    "InputConfig",
    "JobTags",
    "JobType",
    "LastUpdatedTime",
    "Output",
    "OutputConfig",
    "Status",
    "StatusMessage",
)
IMPORT_EXPORT = (
    "ArtifactList",
    "Carrier",
    "CreationDate",
    "CurrentManifest",
    "ErrorCount",
    "IsCanceled",
    "JobType",
    "LocationCode",
    "LocationMessage",
    "LogBucket",
    "LogKey",
    "ProgressCode",
    "ProgressMessage",
    "Signature",
    "SignatureFileContents",
    "TrackingNumber",
)
NAMES: dict[Service, tuple[str, ...]] = {"panorama": PANORAMA, "importexport": IMPORT_EXPORT}

# Long or fixed for a job's whole life: the truth leaves them out unless a change names them.
BULKY = frozenset(
    {
        "ArtifactList",
        "ClientToken",
        "CurrentManifest",
        "InputConfig",
        "JobTags",
        "Output",
        "OutputConfig",
        "Signature",
        "SignatureFileContents",
    }
)

_MANIFEST = """manifestVersion:2.0
generator:Text editor
bucket:example-bucket
deviceId:49382
eraseDevice:yes
notificationEmail:john.doe@example.com;jane.roe@example.com
trueCryptPassword:correct-horse-battery-staple
acl:private
serviceLevel:standard
returnAddress:
    name: Jane Roe
    company: Example Corp.
    street1: 123 Any Street
    city: Anytown
    stateOrProvince: WA
    postalCode: 91011-1111
    country:USA
    phoneNumber:206-555-1111"""
_SIGNATURE = "DV+TpDfx1/TdSE9ktyK9kEXAMPLE="


def initial(service: Service, job_id: str, created: float) -> dict[str, Any]:
    """Return a fresh job's members; `created` is in seconds since 1970."""
    if service == "panorama":
        return _panorama(job_id, created)
    return _import_export(job_id, created)


def iso(moment: float) -> str:
    """Write a time as Import/Export does: `2015-05-27T18:58:21Z`."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _panorama(job_id: str, created: float) -> dict[str, Any]:
    package = {"PackageName": job_id, "PackageVersion": "1.0"}
    source = {"BucketName": "example-input", "ObjectKey": f"{job_id}.zip", "Region": "us-east-1"}
    target = {"BucketName": "example-output", "ObjectKey": f"packages/{job_id}"}
    token = uuid.uuid5(uuid.NAMESPACE_URL, job_id)
    return {
        "ClientToken": str(token),
        "CreatedTime": round(created, 3),
        "InputConfig": {"PackageVersionInputConfig": {"S3Location": source}},
        "JobTags": [{"ResourceType": "PACKAGE", "Tags": {"owner": "jane.roe@example.com"}}],
        "JobType": "NODE_PACKAGE_VERSION",
        "LastUpdatedTime": round(created, 3),
        "Output": {
            "OutputS3Location": target,
            "PackageId": f"package-{token.hex[:12]}",
            "PackageVersion": "1.0",
            "PatchVersion": token.hex[12:20],
        },
        "OutputConfig": {"PackageVersionOutputConfig": {"MarkLatest": True, **package}},
        "Status": "PENDING",
        "StatusMessage": "",
    }


def _import_export(job_id: str, created: float) -> dict[str, Any]:
    signing = f"version:2.0\nsigningMethod:HmacSHA1\njobId:{job_id}\nsignature:{_SIGNATURE}\n"
    label = f"https://s3.amazonaws.com/example-labels/{job_id}.pdf"
    query = f"AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Expires={int(created) + 86400}"
    return {
        "ArtifactList": [
            {"Description": "Shipping label", "URL": f"{label}?{query}&Signature=zXk%2FEXAMPLE%3D"}
        ],
        "CreationDate": iso(created),
        "CurrentManifest": _MANIFEST,
        "ErrorCount": 0,
        "IsCanceled": False,
        "JobType": "Import",
        "LocationCode": "NotReceived",
        "LocationMessage": "AWS has not received your device.",
        "ProgressCode": "Pending",
        "ProgressMessage": "The specified job has not started.",
        "Signature": _SIGNATURE,
        "SignatureFileContents": signing,
    }


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


def consequences(job_id: str, changed: Members) -> dict[str, Any]:
    """Return the members that a service changes by itself when these change.

    Messages, carrier and log follow; those that a scenario sets itself win. The names of both
    services are distinct.
    """
    follow: dict[str, Any] = {}
    for code, message, texts in (
        ("Status", "StatusMessage", _STATUS_MESSAGES),
        ("LocationCode", "LocationMessage", _LOCATION_MESSAGES),
        ("ProgressCode", "ProgressMessage", _PROGRESS_MESSAGES),
    ):
        if changed.get(code) in texts:
            follow[message] = texts[changed[code]]
    if changed.get("LocationCode") == "Returned":
        number = sum(job_id.encode()) * 7919 % 10**10
        follow |= {
            "Carrier": "UPS",
            "TrackingNumber": f"1Z999AA1{number:010d}",
        }
    if changed.get("ProgressCode") in _LOGGED:
        follow |= {"LogBucket": "example-logs", "LogKey": f"import/{job_id}.log"}
    return {name: value for name, value in follow.items() if name not in changed}
