"""Standard Webhooks signatures, checked by that standard's own library.

The library is imported when first needed: only receivers with a secret need it.
"""

import base64
import time
from collections.abc import Mapping
from datetime import UTC, datetime

TOLERANCE = 300.0


def check(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Tell whether the request is signed with this secret and is fresh at `now`."""
    from standardwebhooks import Webhook, WebhookVerificationError  # noqa: PLC0415

    if abs(time.time() - now) > TOLERANCE / 2:
        # The library reads the system's clock, which says nothing where time is virtual.
        return _check_at(secret, headers, body, now)
    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):
        return False
    return True


def usable(secret: str) -> bool:
    """Tell whether this can be a secret: base64, with or without its `whsec_` prefix."""
    try:
        return bool(base64.b64decode(secret.removeprefix("whsec_") + "=="))
    except ValueError:
        return False


def _check_at(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    from standardwebhooks import Webhook  # noqa: PLC0415

    try:
        stamp = int(headers.get("webhook-timestamp", ""))
        moment = datetime.fromtimestamp(stamp, UTC)
        expected = Webhook(secret).sign(headers.get("webhook-id", ""), moment, body.decode())
    except (ValueError, OverflowError):
        return False
    return abs(stamp - now) <= TOLERANCE and expected in headers["webhook-signature"].split()
