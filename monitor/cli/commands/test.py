"""``job-monitor test``: run configuration tests."""

from __future__ import annotations

import difflib
import os
from dataclasses import asdict
from itertools import groupby
from pathlib import Path  # noqa: TC003 -- typer reads the annotation
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import orjson
import typer

from monitor.cli import options, output
from monitor.cli.options import Format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.tools.config_test import ConfigTestResult, Difference

MOST_LINES = 40
"""Lines of one difference that are printed."""
LONGEST = 100
"""Characters of a value on one line."""


def run_tests(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE|DIR...", help="Files of configuration tests.")
    ],
    config: options.Config = None,
    output_format: options.Output = Format.TABLE,
) -> None:
    """Check what a configuration makes of given answers of AWS; calls and sends nothing.

    Exit code 0 if every test passed, 1 if one failed, 2 if a file or the configuration is wrong.
    """
    from monitor.tools import config_test, config_test_file

    cases = config_test_file.load(files, os.environ, config, options.paths(None))
    results = []
    for case in cases:
        result = anyio.run(config_test.run, case)
        results.append(result)
        if output_format is Format.TABLE:
            typer.echo("\n".join(_lines(result)))
    failed = sum(bool(each.differences) for each in results)
    passed = len(results) - failed
    if output_format is not Format.TABLE:
        tests = [_plain(each) for each in results]
        shown = {"passed": passed, "failed": failed, "tests": tests}
        output.show_data(shown, output_format)
    else:
        typer.echo(f"{passed} passed, {failed} failed")
    raise typer.Exit(int(failed > 0))


def _lines(result: ConfigTestResult) -> Iterator[str]:
    from monitor.config import format_duration

    name = f"{result.case.place}: {output.text(result.case.form.name)}"
    if not result.differences:
        yield f"{typer.style('ok', fg='green')}    {name}"
        return
    yield f"{typer.style('FAIL', fg='red')}  {name}"
    for (at, about), found in groupby(result.differences, lambda one: (one.at, one.about)):
        changed = list(found)
        when = "" if at is None else f"at {format_duration(at)}: "
        if changed[0].path:
            yield f"  {when}{output.text(about)}"
            for each in changed:
                yield from _changed(each)
        elif changed[0].got is None:
            line = f"line {changed[0].place.rpartition(':')[2]}"
            yield f"  {when}expected, but did not happen: {output.text(about)} ({line})"
        else:
            yield f"  {when}happened, but is not expected: {output.text(about)}"
    yield "  polls:"
    width = max(len(format_duration(at)) for at, _ in result.polls)
    for at, outcome in result.polls:
        yield f"    {format_duration(at):<{width}}  {output.text(outcome)}"


def _changed(difference: Difference) -> Iterator[str]:
    """Show one value: on one line, as two blocks, or as a diff of two texts of several lines."""
    values = (difference.expected, difference.got)
    expected, got = (orjson.dumps(value, default=str).decode() for value in values)
    where = f"    {difference.path} (line {difference.place.rpartition(':')[2]}):"
    if len(expected) + len(got) <= LONGEST:
        yield f"{where} expected {expected}, got {got}"
        return
    yield where
    wanted, found = (_long(value).splitlines() for value in values)
    if len(wanted) > 1 and len(found) > 1:
        lines = list(difflib.unified_diff(wanted, found, "expected", "got", lineterm=""))
    else:
        lines = ["expected:", *(f"  {x}" for x in wanted), "got:", *(f"  {x}" for x in found)]
    yield from (f"      {output.text(line)}" for line in lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        yield f"      … and {len(lines) - MOST_LINES} more lines; -o json has them all"


def _long(value: Any) -> str:
    """Write a text of several lines as it is, and anything else as JSON."""
    if isinstance(value, str) and "\n" in value:
        return value
    option = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
    return orjson.dumps(value, default=str, option=option).decode()


def _plain(result: ConfigTestResult) -> dict[str, Any]:
    return {
        "name": result.case.form.name,
        "place": result.case.place,
        "passed": not result.differences,
        "differences": [asdict(each) for each in result.differences],
        "polls": [{"at": at, "outcome": outcome} for at, outcome in result.polls],
        "transitions": [
            {"at": each.at, "sinks": each.sinks, "event": each.event} for each in result.seen
        ],
    }
