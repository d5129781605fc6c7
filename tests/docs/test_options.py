"""Every command and option that a document names exists."""

import re

import pytest
import typer

from monitor.cli import main
from tests.docs import pages

COMMAND = re.compile(r"\bjob-monitor ((?:[a-z][\w-]* ?)+)((?:[^`\n|]*?))(?=[`\n|]|$)")
OPTION = re.compile(r"(?<![\w-])(--[a-z][\w-]*)")
FOREIGN = {"helm", "kubectl", "docker", "aws", "pip", "make", "systemctl", "curl"}
ROOT = typer.main.get_command(main.app)


def _found(words):
    """Follow the words to a command as far as they name commands; return it and the rest."""
    command = ROOT
    for number, word in enumerate(words):
        inner = getattr(command, "commands", {}).get(word)
        if inner is None:
            return command, words[number:]
        command = inner
    return command, []


def _options(command):
    inner = getattr(command, "commands", {}).get("list")
    own = [*command.params, *(inner.params if inner else [])]
    return {name for each in own for name in each.opts} | {"--help", "--version"}


def _uses(text):
    for found in COMMAND.finditer(text):
        yield found[1].split(), OPTION.findall(found[0].split(" | ")[0].split("&&")[0])


@pytest.mark.parametrize("page", pages.documents(), ids=pages.name)
def test_every_command_and_option_that_is_named_exists(page):
    if page.name == "CHANGELOG.md":
        return  # it tells of what once was
    for words, options in _uses(page.read_text()):
        command, _ = _found(words)
        if command is ROOT:
            continue  # prose, such as "job-monitor has made"
        assert set(options) <= _options(command), f"{pages.name(page)}: {words} {options}"


def test_commands_are_found_in_the_documents():
    uses = [use for page in pages.documents() for use in _uses(page.read_text())]
    assert sum(_found(words)[0] is not ROOT for words, _ in uses) > 50
    assert sum(len(options) for _, options in uses) > 30


def test_the_tables_of_commands_name_what_exists():
    text = (pages.ROOT / "docs/commands.md").read_text()
    rows = re.findall(r"^\| `([a-z][^`]*)`", text, re.MULTILINE)
    named = {row.split()[0] for row in rows if _found(row.split())[0] is not ROOT}
    assert {"check", "plan", "jobs", "transitions", "deliveries", "sinks"} <= named
