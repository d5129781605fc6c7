"""``make plots``: draw the tables of docs/performance.md.

The figures stand in the document alone: a plot shows what its table says. They are SVG, which
takes the reader's colours.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"
IMAGES = DOCUMENT.parent / "images"
WIDTH, LEFT, RIGHT, LINE = 860, 400, 50, 22

_STYLE = """
text{font:13px system-ui,sans-serif;fill:#24292f}
.title{font-weight:600}.of,.goal{fill:#57606a}.goal{font-size:11px}
rect{fill:#0969da}rect.base{fill:#afb8c1}line{stroke:#cf222e;stroke-width:2}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.of,.goal{fill:#9198a1}
rect{fill:#4493f8}rect.base{fill:#3d444d}line{stroke:#f85149}}
"""


class Bar(NamedTuple):
    """A bar; ``base`` says that it is what others are compared with, ``goal`` is marked."""

    label: str
    value: float
    base: bool = False
    goal: float | None = None


def tables(text: str) -> Iterator[Sequence[Sequence[str]]]:
    """Yield the rows of each table, the head first."""
    for found in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        head, _, *rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in found.splitlines()
        ]
        yield [head, *rows]


def table(text: str, head: str) -> Sequence[Mapping[str, str]]:
    """Return the rows of the one table whose head begins so, by the names of its columns."""
    (found,) = [one for one in tables(text) if " | ".join(one[0]).startswith(head)]
    return [dict(zip(found[0], row, strict=True)) for row in found[1:]]


def number(cell: str) -> float:
    """Return the number that a cell begins with."""
    match = re.match(r"[\d,.]+", cell)
    if match is None:
        raise ValueError(f"{cell!r} is no number")
    return float(match[0].replace(",", ""))


def daemon(text: str) -> Sequence[Bar]:
    """Return the ratios of the whole daemon."""
    rows = table(text, "poll | over | polls for each second of CPU")
    bars = [Bar("naive loop of the SDK", 1.0, base=True)]
    for row in rows:
        poll, over = row["poll"].replace("`", "").split(",")[0], row["over"]
        ratio, goal = number(row["ratio to the naive loop"]), number(row["goal"])
        bars.append(Bar(f"{poll}, {over}", ratio, goal=goal))
    return bars


def growth(text: str) -> Sequence[Bar]:
    """Return what a full store costs, relative to an empty one."""
    rows = table(text, " | empty | full | ratio")
    bars = [Bar("empty store", 1.0, base=True)]
    return bars + [Bar(row[""].replace("`", ""), number(row["ratio"])) for row in rows]


def drawn(title: str, bars: Sequence[Bar]) -> str:
    """Draw bars from top to bottom, with their values behind them."""
    most = max(max(bar.value, bar.goal or 0) for bar in bars)
    scale = (WIDTH - LEFT - RIGHT) / most
    parts = [f'<text class="title" x="0" y="16">{escape(title)}</text>']
    for place, bar in enumerate(bars):
        y = 30 + place * LINE
        kind = ' class="base"' if bar.base else ""
        width = max(1.0, bar.value * scale)
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(bar.label)}</text>'
        )
        parts.append(f'<rect{kind} x="{LEFT}" y="{y}" width="{width:.1f}" height="{LINE - 6}"/>')
        at = LEFT + width + 6
        if bar.goal is not None:
            x = LEFT + bar.goal * scale
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 2}" y2="{y + LINE - 4}"/>')
            at = max(at, x + 6)
        parts.append(f'<text class="of" x="{at:.1f}" y="{y + 13}">{bar.value:g}</text>')
    height = 36 + len(bars) * LINE
    if any(bar.goal is not None for bar in bars):
        parts.append(f'<text class="goal" x="{LEFT}" y="{height + 6}">red: the goal</text>')
        height += 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-label="{escape(title)}"><style>{_STYLE}</style>{"".join(parts)}</svg>\n'
    )


PLOTS = {
    "performance-daemon.svg": ("Polls for each second of CPU, relative to a naive loop", daemon),
    "performance-growth.svg": ("CPU with 1,000,000 finished jobs, relative to none", growth),
}


def main() -> None:
    text = DOCUMENT.read_text("utf-8")
    for name, (title, bars) in PLOTS.items():
        (IMAGES / name).write_text(drawn(title, bars(text)), "utf-8")


if __name__ == "__main__":
    main()
