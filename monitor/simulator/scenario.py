"""A scenario: everything that a simulation is made of, as one YAML file."""

from collections import Counter
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from monitor.simulator import lifecycles, members
from monitor.simulator.fault_rules import Fault
from monitor.simulator.job_specs import JobSpec
from monitor.simulator.members import Service
from monitor.simulator.receiver_rules import Behaviour
from monitor.simulator.strict import Duration, ScenarioError, Strict, check_names, problems

SCENARIOS = Path(__file__).parent / "scenarios"


class Credential(Strict):
    """One access key that the AWS side lets in."""

    secret: str
    account: str = "123456789012"
    session_token: str | None = None
    expired: bool = False

    @field_validator("account", mode="before")
    @classmethod
    def _digits(cls, value: object) -> object:
        # YAML reads an account id without quotes as a number.
        return f"{value:012d}" if isinstance(value, int) else value


class Generate(Strict):
    """Jobs with random lives: `count` at `starts`, then one more `every` so often."""

    service: Service
    profile: str = "mixed"
    region: str = "us-east-1"
    account: str | None = None
    prefix: str | None = None
    count: int = Field(default=0, ge=0)
    every: Duration | None = Field(default=None, gt=0)
    max: int | None = Field(default=None, ge=1, description="in all; none: they never cease")
    starts: Duration = 0.0
    pace: Duration = Field(default=20.0, description="the usual time between two steps")
    forget_after: Duration | None = Field(default=None, description="finished jobs are dropped")
    members: dict[str, Any] = Field(default={})

    @model_validator(mode="after")
    def _fits_the_service(self) -> Self:
        check_names([self.profile], lifecycles.profiles(self.service), "profile")
        check_names(self.members, members.NAMES[self.service], f"member of {self.service}")
        JobSpec(id=self.job_id(1), service=self.service, region=self.region)
        if not self.count and self.every is None:
            raise ValueError("give count, every or both")
        return self

    def job_id(self, number: int) -> str:
        """Return the id of the Nth job."""
        default = "pkg-" if self.service == "panorama" else "DISK"
        return f"{default if self.prefix is None else self.prefix}{number:04d}"


class Repeat(Strict):
    """The scripted jobs come again and again, under ids that end in `-2`, `-3` and so on."""

    every: Duration = Field(gt=0)
    times: int | None = Field(default=None, ge=2, description="rounds in all; none: for ever")
    forget_after: Duration | None = Field(default=None, description="finished jobs are dropped")


class Scenario(Strict):
    """What a simulation is made of; all times count from its start unless said otherwise."""

    name: str = "unnamed"
    description: str = ""
    speed: float = Field(default=1.0, gt=0, description="scenario seconds per real second")
    seed: int = 0
    keep: int | None = Field(default=None, ge=1, description="records and states kept in memory")
    page_limit: int | None = Field(default=None, ge=1, description="rows per list page at most")
    credentials: dict[str, Credential] = Field(default={}, description="none: all are let in")
    defaults: dict[Service, dict[str, Any]] = Field(default={}, description="members of new jobs")
    jobs: tuple[JobSpec, ...] = ()
    generate: tuple[Generate, ...] = ()
    repeat: Repeat | None = None
    faults: tuple[Fault, ...] = ()
    receivers: dict[str, Behaviour] = Field(default={}, description="default is for all others")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_unique(f"job {job.service}/{job.region}/{job.id}" for job in self.jobs)
        _check_unique(f"fault {fault.name}" for fault in self.faults if fault.name)
        _check_unique(f"prefix {each.service}/{each.job_id(1)}" for each in self.generate)
        for service, values in self.defaults.items():
            check_names(values, members.NAMES[service], f"member of {service}")
        return self

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file; a bare name such as `demo` means one that ships with the package.

        Raises:
            ScenarioError: the file cannot be read or says something impossible.
        """
        file = _locate(path)
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
            return cls.model_validate({} if content is None else content)
        except ValidationError as error:
            raise ScenarioError(_at(file, problems(error))) from None
        except yaml.YAMLError as error:
            raise ScenarioError(_at(file, [" ".join(str(error).split())])) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ScenarioError(_at(file, [str(error)])) from None


def _locate(path: str | Path) -> Path:
    shipped = SCENARIOS / f"{path}.yaml"
    return shipped if isinstance(path, str) and path.isalnum() and shipped.exists() else Path(path)


def _at(file: Path, lines: list[str]) -> str:
    return "\n".join(f"{file}: {line}" for line in lines)


def _check_unique(names: Any) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"named twice: {', '.join(twice)}")
