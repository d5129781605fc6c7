"""The documents of the project, their command blocks and their links."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = "sh run"
"""What opens a block that a test runs, as it stands."""

_SHELLS = frozenset({"sh", "bash", "shell"})
_FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]*?) -->\n)?"
    r"(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


def documents():
    """Return every document whose links and commands must hold."""
    found = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
    for folder in ("docs", "deploy"):
        found += sorted((ROOT / folder).rglob("*.md"))
    return found


def name(page):
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True, slots=True)
class Block:
    """A command block: ``reason`` is that of the comment above it for not being run, if any."""

    line: int
    info: str
    reason: str | None
    text: str

    @property
    def run(self):
        return self.info == RUN


def command_blocks(text):
    """Return the blocks of shell commands of a document."""
    return [
        Block(
            text.count("\n", 0, found.start("info")) + 1,
            found["info"].strip(),
            found["reason"],
            re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE),
        )
        for found in _FENCE.finditer(text)
        if found["info"].split(maxsplit=1)[:1] and found["info"].split()[0] in _SHELLS
    ]


def prose(text):
    """Return a document without its blocks, code and comments."""
    text = _COMMENT.sub("", _FENCE.sub("", text))
    return re.sub(r"``[^`]*``|`[^`\n]*`", "", text)


def links(text):
    """Return where the links of a document lead."""
    return _LINK.findall(prose(text))


def anchors(text):
    """Return the anchors of a document's headings, as the usual forges make them."""
    seen: dict[str, int] = {}
    found = set()
    for heading in _HEADING.findall(_COMMENT.sub("", _FENCE.sub("", text))):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        number = seen.get(slug, 0)
        seen[slug] = number + 1
        found.add(f"{slug}-{number}" if number else slug)
    return found
