"""How a webhook receiver behaves, as scenario files and the control API write it.

`delay` and `retry_after` are real seconds, `from` and `until` scenario seconds.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from monitor.simulator import signatures
from monitor.simulator.strict import Duration, Strict
from monitor.simulator.triggers import When


class Answer(When):
    """Answers this status instead; 410 for a receiver that is gone."""

    kind: Literal["status"]
    status: int = Field(default=500, ge=200, le=599)
    retry_after: Duration | None = None
    body: str = ""


class Redirect(When):
    """Sends the caller elsewhere."""

    kind: Literal["redirect"]
    location: str
    status: Literal[301, 302, 303, 307, 308] = 307


class ResetReceiver(When):
    """Resets the connection, before the event is taken or after.

    After it was taken, the receiver has the event and the sender cannot know.
    """

    kind: Literal["reset"]
    taken: Literal["before", "after"] = "before"


class HangReceiver(When):
    """Takes the event and never answers."""

    kind: Literal["hang"]


class SlowReceiver(When):
    """Takes the event, then answers late."""

    kind: Literal["slow"]
    delay: Duration


ReceiverFault = Annotated[
    Answer | Redirect | ResetReceiver | HangReceiver | SlowReceiver,
    Field(discriminator="kind"),
]


class Behaviour(Strict):
    """What one receiver answers; the first fault that strikes decides, else `status`.

    With secrets, a request without a valid Standard Webhooks signature is refused with 401
    unless `require_signature` is false.
    """

    status: int = Field(default=204, ge=200, le=599)
    secrets: tuple[str, ...] = ()
    require_signature: bool = True
    faults: tuple[ReceiverFault, ...] = ()

    @field_validator("secrets")
    @classmethod
    def _usable(cls, secrets: tuple[str, ...]) -> tuple[str, ...]:
        if not all(signatures.usable(secret) for secret in secrets):
            raise ValueError("a secret is base64, with or without whsec_ before it")
        return secrets
