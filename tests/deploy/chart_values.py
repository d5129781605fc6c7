"""Write what the schema of the chart says of each value into its README and its values.yaml.

``make manifests`` does so, and a test holds both against the schema.
"""

import json
import re
import textwrap

import yaml

from tests.deploy.charts import CHART

README, VALUES = CHART / "README.md", CHART / "values.yaml"
BEGIN = "<!-- Below this line: generated from values.schema.json by `make manifests` -->\n"
_NOT_OURS = {"global"}
_KEY = re.compile(r"^((?:  )*)(\w+):")
_MOST = 40
"""Characters of a default that fits the table."""


def described():
    """Return the description of every value by its path; a group stands before its members."""
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    return dict(_below(schema, ""))


def _below(schema, group):
    for key, value in schema.get("properties", {}).items():
        if group or key not in _NOT_OURS:
            yield f"{group}{key}", value["description"]
            yield from _below(value, f"{group}{key}.")


def readme():
    """Return the text of the README with the table of all values."""
    head = README.read_text("utf-8").partition(BEGIN)[0]
    defaults = yaml.safe_load(VALUES.read_text("utf-8"))
    told = described()
    rows = [
        f"| `{path}` | {_default(defaults, path)} | {text.replace('|', chr(92) + '|')} |"
        for path, text in told.items()
        if not any(other.startswith(f"{path}.") for other in told)
    ]
    table = ["| value | default | meaning |", "| --- | --- | --- |", *rows]
    return f"{head}{BEGIN}\n" + "\n".join(table) + "\n"


def _default(defaults, path):
    value = defaults
    for key in path.split("."):
        value = value[key]
    if value in ("", [], {}):
        return ""
    plain = isinstance(value, str)
    text = value if plain else yaml.safe_dump(value, default_flow_style=True, width=999).strip()
    text = text.removesuffix("...").strip()
    return f"`{text}`" if len(text) <= _MOST else "see `values.yaml`"


def values():
    """Return the text of values.yaml with the description of each value above it."""
    told = described()
    lines: list[str] = []
    parents: list[str] = []
    for line in VALUES.read_text("utf-8").splitlines():
        found = _KEY.match(line)
        path = ""
        if found:
            parents = [*parents[: len(found[1]) // 2], found[2]]
            path = ".".join(parents)
        if path in told:
            indent = found[1] if found else ""
            while lines and lines[-1].startswith(f"{indent}# "):
                lines.pop()
            lines += textwrap.wrap(
                told[path],
                width=100,
                initial_indent=f"{indent}# ",
                subsequent_indent=f"{indent}# ",
                break_on_hyphens=False,
                break_long_words=False,
            )
        lines.append(line)
    return "\n".join(lines) + "\n"
