"""The YAML text of a draft, with its comments."""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING, Any

from monitor.errors import printable
from monitor.model import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.sources.drafts.draft import Draft

_WIDTH = 100
_BARE = re.compile(r"[A-Za-z_][\w./-]*(?: [A-Za-z(][\w./()&-]*)*")
_SPECIAL = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))
_KEYS = [
    *("name", "service", "description", "id", "describe", "list", "of", "state", "phases"),
    *("reopens", "created_at", "reason", "fields", "missing"),
]


def text(draft: Draft, command: str) -> str:
    """Return the draft as the text of a file; ``command`` is what made it."""
    lines = [
        f"# Draft made by: {printable(command)}",
        '# Check every line marked "confirm" against the documentation of the service,',
        "# then run: job-monitor types lint FILE",
    ]
    for key in _KEYS:
        for note in draft.notes.get(key, ()):
            # Notes repeat models and files, in which anything may stand.
            lines += textwrap.wrap(
                printable(note), _WIDTH, initial_indent="# ", subsequent_indent="#   "
            )
        if key not in draft.values:
            continue
        value = draft.values[key]
        lines += _phases(value) if key == "phases" else _entry(key, value, "")
    return "\n".join(lines) + "\n"


def _phases(phases: dict[str, tuple[Phase, str]]) -> Iterator[str]:
    """Yield a line for each state, so that each can have its mark."""
    if not phases:
        yield "phases: {}"
        return
    yield "phases:"
    for phase in Phase:
        if states := [state for state, (its, _) in phases.items() if its is phase]:
            yield f"  {phase.value}:"
            for state in states:
                mark = phases[state][1]
                yield f"    - {_flow(state)}" + (f"  # {mark}" if mark else "")


def _entry(key: str, value: Any, indent: str) -> Iterator[str]:
    """Yield a key and its value: in one line if it fits and holds no map of maps."""
    line = f"{indent}{_flow(key)}: {_flow(value)}"
    flat = not isinstance(value, dict) or key in ("id", "params", "row")
    if not isinstance(value, dict) or (len(line) <= _WIDTH and flat):
        yield line
        return
    yield f"{indent}{_flow(key)}:"
    for name, one in value.items():
        yield from _entry(name, one, f"{indent}  ")


def _flow(value: Any) -> str:
    """Return a value in YAML's flow style; quoted unless it is a plain word."""
    match value:
        case dict():
            return f"{{{', '.join(f'{_flow(key)}: {_flow(one)}' for key, one in value.items())}}}"
        case list():
            return f"[{', '.join(map(_flow, value))}]"
        case str() if _BARE.fullmatch(value) and value.lower() not in _SPECIAL:
            return value
    return json.dumps(value, ensure_ascii=False)
