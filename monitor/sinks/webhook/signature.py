"""Signatures after Standard Webhooks: ``v1`` (HMAC-SHA256) over id, time and body."""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX = "whsec_"
_SIZES = range(24, 65)


def parse_key(secret: str) -> bytes:
    """Return the key that a secret (base64, with or without ``whsec_``) stands for.

    Raises:
        ValueError: it is no such secret; the text does not repeat it.
    """
    try:
        key = base64.b64decode(secret.strip().removeprefix(PREFIX), validate=True)
    except ValueError:
        raise ValueError("is not base64 after whsec_") from None
    if len(key) not in _SIZES:
        raise ValueError(f"holds a key of {len(key)} bytes instead of 24 to 64")
    return key


def sign(keys: Sequence[bytes], event_id: str, seconds: int, body: bytes) -> str:
    """Return the value of ``webhook-signature``: one signature per key, separated by spaces."""
    content = b".".join((event_id.encode(), str(seconds).encode(), body))
    digests = (hmac.digest(key, content, "sha256") for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
