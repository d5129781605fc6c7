"""Documents and code are in plain English: the words that we do not use, and short sentences."""

import re
from pathlib import Path

import pytest

from tests.docs import pages

INSTEAD = {
    r"\bno more\b(?! than)": "no longer; nothing else; missing",
    r"(?<!there\s)\b(?:is|are|was|were) no (?!longer\b|more\b|one\b|such\b)[a-z]+": "is not a",
    r"\bmend(?:s|ed|ing)?\b": "fix, repair",
    r"\breckon(?:s|ed|ing)?\b": "estimate, compute",
    r"\btold\b|\btells? (?:nobody|everybody|people)\b": "report, notify, send, deliver",
    r"\bown eyes?\b": "poll AWS directly",
    r"\bstandings?\b|\bhow (?:it|they|things|the daemon|a job) stands?\b": "status, health, state",
    r"\bcomplain(?:s|ed|ts?)?\b|\bfindings?\b": "problem",
    r"\bexamin(?:e|es|ed|ing|ation)\b": "validate, check",
    r"\bunheard\b": "stale, no data",
    r"\bout of sight\b|\bcan(?:not| ?be)? be seen\b|\bAWS is seen\b": "reachable, unreachable",
    r"\b(?:do|does|did|came|comes?|coming)(?: not)?(?: come)? to (?:an|its|their) end\b": (
        "end, complete; interrupted, timed out"
    ),
    r"\bnobody knows\b": "interrupted, unknown",
    r"\blook(?:s|ed|ing)? at AWS\b|\bask(?:s|ed|ing)? (?:nothing of )?AWS\b": "poll, call AWS",
    r"\b(?:a|the|no|whose|one|two|each|every|first|last|next|failed|single) looks?\b": "poll",
    r"\blooks? of its own\b|\blook(?:s|ed|ing)? at (?:a job|(?:all |any )?jobs)\b": "poll",
    r"\blook\.(?:broken|failing|recovered)\b": "poll.",
    r"\binquir(?:y|ies)\b": "request, poll",
    r"\b(?:is|are|was|were) absent\b": "missing, not found",
    r"\banew\b": "again; recreated",
    r"\badded watch(?:es)?\b": "run-time watch",
    r"\b(?:go|goes|gone|went) round\b": "run",
    r"\bto be had\b": "available",
    r"\botherwise than\b": "differently from",
    r"\bone's own\b": "your own",
}
"""Pattern → what to write."""
KEPT = re.compile(r'\b(?:last|next)_look_at\b|(?<=: ")standing')
"""Names that clients of the HTTP API rely on: fields, and the ids of operations."""
LONGEST = 25
"""Words of a sentence; a piece of code is one word."""
TOLERANCE = 3
GENERATED = "<!-- Below this line: generated"
"""What follows is made of the descriptions of the settings, in ``monitor/config``."""

_WORDS = [
    (re.compile(pattern.replace(" ", r"\s+"), re.IGNORECASE), instead)
    for pattern, instead in INSTEAD.items()
]
_FENCE = re.compile(r"^( *)```[^\n]*\n.*?^\1```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CODE = re.compile(r"``[^`]*``|`[^`\n]*`")
_ITEM = re.compile(r"^\s*(?:[-*]|\d+\.)\s+(?:\[[ x]\] )?")
_STOP = re.compile(r"(?<=[.!?:])[)\"*]*\s+(?=[A-Za-z\"*(`\d])")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def documents():
    return [*pages.documents(), *sorted((pages.ROOT / ".github").rglob("*.md"))]


def prose(path):
    """Return a document with its code blanked out, line by line."""
    text = path.read_text().partition(GENERATED)[0]
    for part in (_FENCE, _COMMENT):
        text = part.sub(lambda found: "\n" * found[0].count("\n"), text)
    return _CODE.sub("code", text)


def names_and_texts(path):
    """Return a file of code with its names taken apart into words."""
    return _CAMEL.sub(" ", KEPT.sub("", path.read_text())).replace("_", " ")


def odd_words(path, text):
    """Say each place at which a text has a word of the table."""
    return [
        f"{pages.name(path)}:{text.count(chr(10), 0, found.start()) + 1}:"
        f' "{" ".join(found[0].split())}": write "{instead}"'
        for pattern, instead in _WORDS
        for found in pattern.finditer(text)
    ]


def code():
    """Return the files of the covered parts of ``monitor/``."""
    suffixes = {".py", ".yaml", ".jinja", ".j2", ".html", ".js"}
    return [file for file in (pages.ROOT / "monitor").rglob("*") if file.suffix in suffixes]


def paragraphs(text):
    """Return the paragraphs and list items of a document, each with its first line's number."""
    lines: list[str] = []
    first = 0
    for number, line in enumerate([*text.split("\n"), ""], 1):
        item = _ITEM.match(line)
        apart = not line.strip() or line.startswith(("|", "#", "<", "    "))
        if lines and (apart or item):
            yield first, " ".join(lines)
            lines = []
        if not apart:
            first = first if lines else number
            lines.append(line[item.end() :] if item else line.strip())


def sentences(text):
    for number, paragraph in paragraphs(text):
        plain = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", paragraph)
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain)
        for sentence in _STOP.split(plain):
            yield number, sentence


def test_documents_are_in_our_words():
    files = documents()
    assert len(files) >= 23
    odd = [place for file in files for place in odd_words(file, prose(file))]
    assert not odd, "\n".join(odd)


def test_examples_and_what_is_deployed_are_in_our_words():
    files = [
        file
        for folder in ("config", "deploy")
        for file in sorted((pages.ROOT / folder).rglob("*"))
        if file.suffix in {".yaml", ".yml", ".json", ".txt", ".service"}
    ]
    assert len(files) >= 50
    odd = [place for file in files for place in odd_words(file, file.read_text())]
    assert not odd, "\n".join(odd)


def test_code_is_in_our_words():
    files = code()
    assert len(files) > 250
    odd = [place for file in files for place in odd_words(file, names_and_texts(file))]
    assert not odd, "\n".join(odd)


def test_sentences_of_documents_are_short():
    found = [
        (f"{pages.name(file)}:{number}", sentence)
        for file in documents()
        for number, sentence in sentences(prose(file))
    ]
    assert len(found) > 1000
    long = [
        f"{place}: {len(sentence.split())} words, at most {LONGEST}: {sentence}"
        for place, sentence in found
        if len(sentence.split()) > LONGEST + TOLERANCE
    ]
    assert not long, "\n".join(long)


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("The job is no more.", "no longer; nothing else; missing"),
        ("x is no URL", "is not a"),
        ("Nobody is told\nof it.", "report, notify, send, deliver"),
        ("class OwnEye:", "poll AWS directly"),
        ("def own_eye():", "poll AWS directly"),
        ("Mend the receiver.", "fix, repair"),
        ("It did not come to its end.", "end, complete; interrupted, timed out"),
    ],
)
def test_an_odd_word_is_noticed(tmp_path, text, instead):
    file = Path(tmp_path / "a.py")
    file.write_text(text)
    [place] = odd_words(pages.ROOT / "a.py", names_and_texts(file))
    assert place.startswith("a.py:1: ")
    assert place.endswith(f'write "{instead}"')


@pytest.mark.parametrize("text", ["no more than 3", "there is no file", "it is no longer there"])
def test_a_good_word_is_left_alone(text):
    assert odd_words(pages.ROOT / "a.py", text) == []


def test_a_long_sentence_is_counted_over_its_lines():
    text = "# No sentence\n\n- One two\n  three four five. Six seven: eight.\n\n| a | b |\n"
    found = [(number, len(sentence.split())) for number, sentence in sentences(text)]
    assert found == [(3, 5), (3, 2), (3, 1)]
