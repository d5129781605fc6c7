"""What the documents say of each other and of commands can be followed."""

import re
from urllib.parse import unquote

import pytest

from tests.docs import pages

REMEDY = (
    "Either open the block with ```sh run, in a document that a test runs (RUN in"
    " tests/docs/test_guide.py), or write on the line above it"
    " <!-- not run: why a test cannot run it -->"
)
PAGES = pages.documents()
NAMES = [pages.name(page) for page in PAGES]


def broken(page, target):
    """Say what is wrong with a link of a page; ``None`` if it leads somewhere."""
    if re.match(r"https?://|mailto:", target):
        return None  # not ours to hold; nothing here may depend on another's server
    path, _, anchor = target.partition("#")
    there = (page.parent / unquote(path)).resolve() if path else page
    if not there.is_relative_to(pages.ROOT) or not there.exists():
        return f"{pages.name(page)}: {target}: there is no such file"
    if anchor and (there.suffix != ".md" or anchor not in pages.anchors(there.read_text())):
        return f"{pages.name(page)}: {target}: there is no such heading"
    return None


def test_every_link_between_documents_leads_somewhere():
    checked = [(page, target) for page in PAGES for target in pages.links(page.read_text())]
    ours = [target for _, target in checked if "://" not in target]
    assert len(ours) > 50
    assert sum("#" in target for target in ours) > 5
    wrong = [told for page, target in checked if (told := broken(page, target))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "target",
    ["nowhere.md", "docs/sinks.md#nothing", "#nothing", "LICENSE#part", "../../etc/passwd"],
)
def test_a_link_that_leads_nowhere_is_noticed(target):
    readme = pages.ROOT / "README.md"
    assert broken(readme, "docs/sinks.md#replay") is None
    assert broken(readme, target)


def test_the_readme_leads_to_every_page():
    readme = (pages.ROOT / "README.md").read_text()
    found = {target.partition("#")[0] for target in pages.links(readme)}
    assert {name for name in NAMES if name.startswith("docs/")} <= found


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_block_is_run_or_says_why_not(page):
    silent = [
        f"{pages.name(page)}:{block.line}: a block of commands is neither run nor excused. {REMEDY}"
        for block in pages.command_blocks(page.read_text())
        if not block.run and not (block.reason or "").strip()
    ]
    assert not silent, "\n".join(silent)


def test_blocks_are_told_apart():
    text = (
        "```sh run\na\n```\n<!-- not run: needs a cluster -->\n```sh\nb\n```\n"
        "```bash\nc\n```\n```text\nd\n```\n  ```sh\n  e\n  ```\n"
    )
    found = [
        (block.line, block.run, block.reason, block.text) for block in pages.command_blocks(text)
    ]
    assert found == [
        (1, True, None, "a\n"),
        (5, False, "needs a cluster", "b\n"),
        (8, False, None, "c\n"),
        (14, False, None, "e\n"),
    ]


def test_anchors_are_those_of_forges():
    text = "# A `b`: c, d\n## TLS and users: the file\n## Same\n## Same\n```sh\n# no heading\n```\n"
    assert pages.anchors(text) == {"a-b-c-d", "tls-and-users-the-file", "same", "same-1"}
