"""The lock file → a software bill of materials, CycloneDX 1.6 in JSON.

python release/sbom.py VERSION TIMESTAMP > job-monitor.cdx.json
"""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from locked import RUNTIME, Pin, pins

PROGRAM = "aws-job-monitor"


def sbom(text: str, version: str, timestamp: str) -> dict[str, Any]:
    """Describe a lock file; the same text, version and time make the same document."""
    found = pins(text)
    program = f"pkg:pypi/{PROGRAM}@{version}"
    refs = {PROGRAM: program, **{pin.name: _purl(pin) for pin in found}}
    wanted: dict[str, list[str]] = {name: [] for name in refs}
    for pin in found:
        for name in pin.wanted_by:
            wanted[name].append(refs[pin.name])
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"{program} {timestamp} {text}")
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": timestamp,
            "component": {
                "type": "application",
                "bom-ref": program,
                "name": PROGRAM,
                "version": version,
                "purl": program,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
        },
        "components": [_component(pin) for pin in found],
        "dependencies": [
            {"ref": refs[name], "dependsOn": sorted(wanted[name])} for name in sorted(refs)
        ],
    }


def _purl(pin: Pin) -> str:
    return f"pkg:pypi/{pin.name}@{pin.version}"


def _component(pin: Pin) -> dict[str, Any]:
    """Describe one package; every file of it that may be installed has its own hash."""
    told: dict[str, Any] = {
        "type": "library",
        "bom-ref": _purl(pin),
        "name": pin.name,
        "version": pin.version,
        "purl": _purl(pin),
        "hashes": [{"alg": "SHA-256", "content": each} for each in sorted(set(pin.hashes))],
    }
    if pin.marker:
        told["scope"] = "optional"
        told["properties"] = [{"name": "job-monitor:marker", "value": pin.marker}]
    return told


if __name__ == "__main__":
    document = sbom(RUNTIME.read_text(), *sys.argv[1:3])
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
