"""Print the figures of the house, and hold them: ``make house``.

The goals stand in ``GOALS``; ``tests/unit/test_house.py`` fails where one is missed.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "monitor"
SIMULATOR = PACKAGE / "simulator"

MOST_ENTRIES = 30
MOST_PACKAGES_PER_NAME = 2
MOST_FUNCTIONS = 55.0
"""Functions and methods per 1,000 lines."""
FEWEST_COMMENTS = 1.5
"""Lines of comments, in percent."""

SAME_THING = {
    "JobType": "the protocol, and the declared type that implements it",
    "Clock": "the protocol, and the simulator's own",
}
"""Class names that may occur more than once, with the reason."""


@dataclass(frozen=True)
class Figures:
    """What was counted; ``classes`` and ``modules`` map names to where they occur too often."""

    entries: int
    modules: dict[str, list[str]]
    classes: dict[str, list[str]]
    lines: int
    functions: float
    comments: float
    files: int

    def missed(self) -> list[str]:
        """Return one line for each goal that is missed."""
        found = []
        if self.entries > MOST_ENTRIES:
            found.append(f"monitor/ has {self.entries} entries, more than {MOST_ENTRIES}")
        for name, places in self.modules.items():
            found.append(f"{len(places)} modules are called {name}: {', '.join(places)}")
        for name, places in self.classes.items():
            found.append(f"{len(places)} classes are called {name}: {', '.join(places)}")
        if self.functions > MOST_FUNCTIONS:
            found.append(f"{self.functions:.1f} functions per 1,000 lines, over {MOST_FUNCTIONS}")
        if self.comments < FEWEST_COMMENTS:
            found.append(f"{self.comments:.2f} % comment lines, under {FEWEST_COMMENTS}")
        return found


def count() -> Figures:
    """Count what is in ``monitor/``."""
    entries = [each for each in PACKAGE.iterdir() if each.name != "__pycache__"]
    modules: dict[str, list[str]] = defaultdict(list)
    classes: dict[str, list[str]] = defaultdict(list)
    lines = functions = comments = files = 0
    for path in sorted(PACKAGE.rglob("*.py")):
        if "migrations" in path.parts:
            continue
        text = path.read_text("utf-8")
        files += 1
        place = str(path.relative_to(ROOT))
        if path.stem not in {"__init__", "__main__"}:
            modules[path.stem].append(place)
        tree = ast.parse(text)
        is_simulator = path.is_relative_to(SIMULATOR)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not is_simulator:
                classes[node.name].append(f"{place}:{node.lineno}")
        if is_simulator:
            continue
        lines += len(text.splitlines())
        comments += sum(line.lstrip().startswith("#") for line in text.splitlines())
        functions += sum(
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree)
        )
    return Figures(
        entries=len(entries),
        modules={k: v for k, v in modules.items() if len(v) > MOST_PACKAGES_PER_NAME},
        classes={k: v for k, v in classes.items() if len(v) > 1 and k not in SAME_THING},
        lines=lines,
        functions=1000 * functions / lines,
        comments=100 * comments / lines,
        files=files,
    )


def main() -> int:
    """Print the figures; return 1 where a goal is missed."""
    figures = count()
    lines = [
        f"entries in monitor/          {figures.entries} (at most {MOST_ENTRIES})",
        f"functions per 1,000 lines    {figures.functions:.1f} (at most {MOST_FUNCTIONS})",
        f"comment lines                {figures.comments:.2f} % (at least {FEWEST_COMMENTS})",
        f"lines, simulator aside       {figures.lines}",
    ]
    missed = figures.missed()
    sys.stdout.write("\n".join([*lines, *(f"missed: {line}" for line in missed)]) + "\n")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
