"""``job-monitor types``: list, show, check and draft job types."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import arguments, completions, listings, options, terminal
from monitor.cli import output as tables
from monitor.cli.groups import ListingGroup
from monitor.cli.listings import Found, ListFormat, ListOptions
from monitor.cli.options import Format
from monitor.cli.tables import Column, Table
from monitor.errors import ConfigurationError
from monitor.model import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.errors import Problem
    from monitor.sources.declaration import Declaration
    from monitor.sources.job_type import JobType

_Service = Annotated[
    str, typer.Argument(metavar="SERVICE", help="The SDK's name of it, such as batch.")
]
_NewFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A new file to write to, instead of standard output."),
]

commands = typer.Typer(
    help="List and show job types, and draft and check your own.", cls=ListingGroup
)


@commands.command("list")
def list_(
    config: options.Config = None,
    color: listings.Colour = terminal.When.AUTO,
    output: listings.ListOutput = ListFormat.TABLE,
) -> None:
    """List the job types that come with the monitor, and those of job_types_dir."""
    from monitor.sources import declarations

    directory = options.load(config).job_types_dir
    # What the files declare is enough here: checking it would read the models of all services.
    found = declarations.declarations(Path(directory) if directory else None)
    types = sorted(found, key=lambda one: one.name)
    listings.show(TABLE, Found(types), ListOptions(output, color=color))


def _declared(one: Declaration) -> dict[str, Any]:
    from monitor.config import format_duration

    return {
        "type": one.name,
        "service": one.service,
        "describe": one.describe.operation,
        "list": ", ".join(dict.fromkeys(each.operation for each in one.listings)) or None,
        "interval": format_duration(one.interval),
        "description": one.description or None,
    }


TABLE: Table[Declaration] = Table(
    columns=(
        Column("TYPE", lambda one: one.name),
        Column("SERVICE", lambda one: one.service, least=8, spare=3),
        Column("DESCRIBE", lambda one: one.describe.operation, least=10, spare=5),
        Column("LIST", lambda one: _declared(one)["list"], least=10, spare=6),
        Column("INTERVAL", lambda one: _declared(one)["interval"], spare=7),
        Column("DESCRIPTION", lambda one: one.description, least=20, spare=2),
    ),
    name=lambda one: one.name,
    data=_declared,
    empty="There are no job types.",
)


@commands.command("show")
def show(
    name: completions.Type,
    config: options.Config = None,
    output: options.Output = Format.TABLE,
) -> None:
    """Show one job type: its operations, its states, and the fields that it keeps."""
    known = _known(config)
    if name not in known:
        raise arguments.unknown("TYPE", "job type", name, known)
    facts = _facts(known[name])
    if output is not Format.TABLE:
        tables.show_data(facts, output)
        return
    lines: list[tuple[str, str]] = []
    for key, value in facts.items():
        title = key.replace("_", " ")
        if isinstance(value, dict):
            lines += ((f"{title}: {each}", _text(one)) for each, one in value.items())
        elif value not in (None, "", []):
            lines.append((title, _text(value)))
    width = max(len(key) for key, _ in lines)
    typer.echo("\n".join(f"{key:<{width}}  {value}" for key, value in lines))


@commands.command("lint")
def lint(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Job types, as YAML.")],
) -> None:
    """Check job types against the service's model, as loading them would."""
    from monitor.sources import loader

    problems: list[Problem] = []
    for file in files:
        try:
            kind = loader.load_job_type(file)
        except ConfigurationError as error:
            problems += error.problems
        else:
            states = "1 state" if len(kind.phases) == 1 else f"{len(kind.phases)} states"
            typer.echo(f"{file}: {kind.name} is valid, with {states}")
            for warning in kind.warnings:
                typer.echo(f"warning: {warning}", err=True)
    if problems:
        raise ConfigurationError(problems)


@commands.command("generate")
def generate(
    service: _Service,
    operation: Annotated[
        str,
        typer.Argument(metavar="OPERATION", help="It describes a job, such as DescribeJobs."),
    ],
    file: _NewFile = None,
) -> None:
    """Draft a job type from the SDK's model of an operation.

    The names of the states suggest the phases; each is marked "confirm".
    A comment names what the model does not say. Check both, then run
    types lint. This calls no AWS.
    """
    from monitor.aws import service_models
    from monitor.sources.drafts import draft, yaml_text

    models = service_models.loader()
    made = draft.draft(models, draft.service_model(models, service), operation)
    _write(yaml_text.text(made, f"job-monitor types generate {service} {operation}"), file)


@commands.command("import-waiter")
def import_waiter(
    service: _Service,
    waiter: Annotated[
        str | None,
        typer.Argument(metavar="[WAITER]", help="Such as StepComplete; without it, lists all."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Read the waiters of a JSON file, such as those of Airflow."
        ),
    ] = None,
    output: options.Output = Format.TABLE,
) -> None:
    """Draft a job type from a waiter of the SDK or of Airflow.

    The draft is that of types generate for the waiter's operation. The
    phases that the waiter knows are taken from it; only the others are
    marked "confirm". This calls no AWS.
    """
    from monitor.aws import service_models
    from monitor.sources.drafts import draft, waiters, yaml_text

    models = service_models.loader()
    model = draft.service_model(models, service)
    known = waiters.of_file(file, service) if file else waiters.of_service(models, service)
    if waiter is None:
        rows = [
            {"waiter": name, "operation": one.operation}
            for name, one in sorted(known.known.items())
        ]
        tables.show(rows, output, f"There are no waiters of {service}.")
        return
    found = known.find(waiter)
    made = draft.draft(models, model, found.operation, waiters.verdicts(found))
    command = f"job-monitor types import-waiter {service} {waiter}"
    typer.echo(yaml_text.text(made, command), nl=False)


def _write(text: str, file: Path | None) -> None:
    """Print a draft, or write it to a file that does not exist yet."""
    if file is None:
        typer.echo(text, nl=False)
        return
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        remedy = "name another file, or remove it first"
        raise arguments.mistake("--file", f"{file} exists already", remedy) from None
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        remedy = "check the path and its permissions"
        raise arguments.mistake("--file", f"{file} cannot be written: {reason}", remedy) from None


def _known(config: list[Path] | None) -> Mapping[str, JobType]:
    from monitor.validation import everything

    settings = options.load(config)
    types, wrong = everything.load_job_types(settings, None)
    everything.raise_errors(wrong)
    return types


def _facts(kind: JobType) -> dict[str, Any]:
    from monitor.config import format_duration

    states: dict[Phase, list[str]] = {phase: [] for phase in Phase}
    for glob, phase in sorted(kind.state_globs.items()):
        states[phase].append(glob)
    for rule in kind.rules:
        if rule.when:
            states[rule.phase].append(f"{rule.state} if {rule.when.text}")
    return {
        "type": kind.name,
        "description": kind.description,
        "service": kind.service,
        "region": kind.region,
        "regions": list(kind.regions),
        "describe": kind.describe_operation,
        "jobs_per_describe": kind.at_once if kind.at_once > 1 else None,
        "list": ", ".join(dict.fromkeys(one.operation for one in kind.listings)) or None,
        "list_for_each": kind.parent,
        "list_shows_states": all(one.lists_states for one in kind.listings)
        if kind.listings
        else None,
        "interval": format_duration(kind.interval),
        "requests_per_second": kind.rate,
        "id": kind.id_form,
        "states": {phase.value: states[phase] for phase in Phase if states[phase]},
        "error_states": {code: dict(parts) for code, parts in kind.errors.items()},
        "fields": [field.name for field in kind.fields],
        "unwatched_fields": sorted(kind.unwatched()),
        "grace": format_duration(kind.grace) if kind.final else None,
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(value)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value}"
