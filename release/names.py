"""The names under which the project is published → every file that repeats them.

python release/names.py            # writes them
python release/names.py NAME       # prints one, for the release workflow
python release/names.py check URL  # fails unless URL is the repository
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from locked import ROOT

FILE = Path(__file__).with_name("names.toml")
_HELM = "deploy/helm/job-monitor"
_URL = r"https://[\w.-]+/[\w.-]+/[\w.-]+"
_IMAGE = r"[\w.-]+(?:/[\w.-]+)+"


def names() -> dict[str, str]:
    """Return what the file says, and what follows from it."""
    said = tomllib.loads(FILE.read_text("utf-8"))
    folder = f"{said['repository']}/blob/main/docs"
    return said | {"docs": folder, "runbook": f"{folder}/runbook.md"}


def places(named: dict[str, str]) -> list[tuple[str, str, str]]:
    """Return every repetition: a file, a pattern, and what the first group must be."""
    repository, image = named["repository"], named["image"]
    boards = [f"deploy/grafana/dashboards/job-monitor-{each}.json" for each in _BOARDS]
    return [
        ("pyproject.toml", rf'^\w+ = "({_URL})[/"]', repository),
        (f"{_HELM}/Chart.yaml", rf"({_URL})$", repository),
        (f"{_HELM}/values.yaml", r"^  repository: (\S+)$", image),
        ("deploy/kubernetes/base/statefulset.yaml", rf"image: ({_IMAGE}):", image),
        ("deploy/kubernetes/overlays/eks/kustomization.yaml", r"^  - name: (\S+)$", image),
        ("deploy/prometheus/alertmanager.yml", rf"({_URL})/blob/main/", repository),
        ("deploy/prometheus/rules/job-monitor.alerts.yml", rf"({_URL})/blob/main/", repository),
        *((board, rf'"query": "({_URL}/blob/main/docs)"', named["docs"]) for board in boards),
        *((board, rf'"query": "({_URL}/\S+/runbook\.md)"', named["runbook"]) for board in boards),
        ("docs/dashboards.md", rf"({_URL})/blob/main/docs`", repository),
        *((page, rf"({_IMAGE}):\d+\.\d+\.\d+", image) for page in _PAGES),
        *((page, r"(oci://[\w./-]+)", named["chart"]) for page in _PAGES),
    ]


_BOARDS = ("job-type", "overview")
_PAGES = ("README.md", "docs/deployment.md", "docs/kubernetes.md")


def written(text: str, pattern: str, name: str) -> str:
    """Return a text with a name in each of its places."""

    def put(found: re.Match[str]) -> str:
        start, end = (at - found.start() for at in found.span(1))
        return found[0][:start] + name + found[0][end:]

    return re.sub(pattern, put, text, flags=re.MULTILINE)


def write() -> None:
    """Write the names wherever they are repeated."""
    for file, pattern, name in places(names()):
        path = ROOT / file
        path.write_text(written(path.read_text("utf-8"), pattern, name), "utf-8")


def check(url: str) -> None:
    """End with an error unless this is the repository that is named.

    Raises:
        SystemExit: it is another one.
    """
    if url != (named := names()["repository"]):
        sys.exit(
            f"release/names.toml names {named}, and this is {url}: set it and run `make names`"
        )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["check", url]:
            check(url)
        case [name]:
            print(names()[name])  # noqa: T201 - for the release workflow
        case _:
            write()
