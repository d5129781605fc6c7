"""Messages of topics and queues: their text, attributes and order."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from monitor.sinks.aws.refusals import UNTOLD, Refusal
from monitor.sinks.encoding import encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor.sinks.aws.target import Target

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What neither service takes in a text."""
_GROUP = re.compile(r"[!-~]{1,128}")


def text(event: Mapping[str, Any]) -> str:
    """Write an event as JSON without the characters that no message may hold."""
    return _NO_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", encode(event).decode())


def beside(event: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """Return what goes beside the text to a topic or queue."""
    return {"MessageAttributes": attributes(event), **(order(event) if target.ordered else {})}


def attributes(event: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return what a subscription can filter by; an attribute without a value is left out."""
    data = event["data"]
    job = data.get("job", {})
    place = job or data["source"]
    values = {
        "kind": data["kind"],
        "severity": data["severity"],
        "job_type": job.get("type"),
        "account": place["account"],
        "region": place["region"],
        "phase": data["current"].get("phase"),
        "state": data["current"]["state"],
    }
    clean = {name: _NO_XML.sub("", value or "") for name, value in values.items()}
    return {
        name: {"DataType": "String", "StringValue": value} for name, value in clean.items() if value
    }


def order(event: Mapping[str, Any]) -> dict[str, str]:
    """Return what makes a FIFO topic or queue keep the order of each job, and drop repeats."""
    return {"MessageGroupId": group(event), "MessageDeduplicationId": event["id"]}


def group(event: Mapping[str, Any]) -> str:
    """Return the key of the job or source, or its SHA-256 where it may not be a group's name."""
    data = event["data"]
    key: str = (data.get("job") or data["source"])["key"]
    return key if _GROUP.fullmatch(key) else hashlib.sha256(key.encode()).hexdigest()


def numbered(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give each entry the id by which the answer names it."""
    return [{"Id": str(number), **entry} for number, entry in enumerate(entries)]


def outcomes(answer: Mapping[str, Any], count: int) -> list[Refusal | None]:
    """Read ``Successful`` and ``Failed`` of the answer to ``count`` numbered entries."""
    found: dict[str, Refusal | None] = {each["Id"]: None for each in answer.get("Successful", [])}
    for each in answer.get("Failed", []):
        found[each["Id"]] = Refusal(each.get("Code", ""), sender=each.get("SenderFault", False))
    return [found.get(str(number), UNTOLD) for number in range(count)]
