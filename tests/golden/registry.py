"""Where the messages of messages.txt come from: a function for each, in ``*_messages.py``.

    @message("21 a store of another program")
    def a_foreign_store(directory):
        return ...  # what the program said, from the same code that says it to a user

A function may be async. It gets a directory of its own, which is written as DIR in the file, and
returns a line, or several. The number is that of the point of the list of messages; the file is in
the order of the titles.
"""

import importlib
import inspect
import re
from pathlib import Path

import anyio

HERE = Path(__file__).parent
GOLDEN = HERE / "messages.txt"
_HEAD = """\
Every message that a user of the monitor may meet when something is wrong, as the program says it.
Made by: GOLDEN=write pytest tests/golden (see tests/golden/registry.py)
"""
_SINCE_MARCH = re.compile(r"(?<=UTC )\(\d+d [^)]*ago\)|(?<= )\d{3,}d(?= )")
"""How long ago the time of the examples was, by the clock of this machine."""
_found: dict[str, object] = {}


def message(title):
    """Register what makes one message."""

    def register(function):
        assert title not in _found, title
        _found[title] = function
        return function

    return register


def producers():
    for module in sorted(HERE.glob("*_messages.py")):
        importlib.import_module(f"tests.golden.{module.stem}")
    return dict(sorted(_found.items(), key=lambda item: _order(item[0])))


def _order(title):
    number = re.match(r"\d+", title)
    return int(number[0]) if number else 0, title


def produced(title, directory):
    """Return the lines of one message, without what differs from run to run."""
    function = producers()[title]
    said = (
        anyio.run(function, directory)
        if inspect.iscoroutinefunction(function)
        else function(directory)
    )
    lines = [said] if isinstance(said, str) else list(said)
    plain = (line.replace(str(directory), "DIR") for text in lines for line in text.splitlines())
    return [
        _SINCE_MARCH.sub(lambda found: "(AGE ago)" if found[0][0] == "(" else "AGE", line)
        for line in plain
    ]


def entry(title, lines):
    return "".join([f"\n# {title}\n", *(f"{line}\n" for line in lines)])


def whole(entries):
    return _HEAD + "".join(entries)
