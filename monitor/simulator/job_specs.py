"""Jobs as scenario files and the control API write them."""

import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from monitor.simulator import members
from monitor.simulator.strict import Duration, Strict, check_names

_PANORAMA_ID = re.compile(r"[a-zA-Z0-9\-_]{1,255}")
_ANY_ID = re.compile(r"[\x21-\x7e]{1,255}")
Ending = Literal["canceled", "expired"]


class Change(Strict):
    """One change of a job; what is not named stays as it was."""

    set: dict[str, Any] = Field(default={}, description="members; null removes one")
    extra: dict[str, Any] = Field(default={}, description="members the service does not know")
    error: Ending | None = Field(
        default=None, description="GetStatus answers this error; null ends it"
    )
    vanish: bool = Field(default=False, description="the service no longer knows the job")
    reappear: bool = Field(default=False, description="the service knows the job again")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.vanish and self.reappear:
            raise ValueError("a job cannot vanish and reappear in one change")
        return self

    def check(self, service: members.Service) -> None:
        """Raise ValueError unless the service has every member that is set."""
        check_names(self.set, members.NAMES[service], f"member of {service}")
        if self.error and service != "importexport":
            raise ValueError("error: only importexport jobs end by an error")


class Step(Change):
    """A change that takes place some time after the one before it."""

    after: Duration = 0.0


class JobSpec(Strict):
    """One job and the script of its life."""

    id: str
    service: members.Service
    region: str = "us-east-1"
    account: str | None = Field(default=None, description="seen by this account's keys only")
    starts: Duration = Field(default=0.0, description="when the job comes to be")
    age: Duration = Field(default=0.0, description="how long before that it claims to be created")
    members: dict[str, Any] = Field(default={})
    extra: dict[str, Any] = Field(default={})
    steps: tuple[Step, ...] = ()

    @field_validator("account", mode="before")
    @classmethod
    def _digits(cls, value: object) -> object:
        # YAML reads an account id without quotes as a number.
        return f"{value:012d}" if isinstance(value, int) else value

    @model_validator(mode="after")
    def _fits_the_service(self) -> Self:
        pattern = _PANORAMA_ID if self.service == "panorama" else _ANY_ID
        if not pattern.fullmatch(self.id):
            raise ValueError(f"{self.id!r} is not a job id of {self.service}")
        if self.service == "importexport" and self.region != "us-east-1":
            raise ValueError("importexport is global: its region is us-east-1")
        check_names(self.members, members.NAMES[self.service], f"member of {self.service}")
        for number, step in enumerate(self.steps):
            try:
                step.check(self.service)
            except ValueError as error:
                raise ValueError(f"steps[{number}]: {error}") from None
        return self
