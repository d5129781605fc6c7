"""What ``deploy/`` ships for Grafana and Prometheus, and the questions to be found in it."""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import yaml

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
PROMETHEUS = ROOT / "deploy" / "prometheus"
BOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))

# What Grafana puts in the place of each variable; "All" of ours is a pattern that matches any.
VALUES = {
    "__rate_interval": "1m",
    "__range": "10m",
    "instance": ".*",
    "type": ".+",
    "account": ".+",
    "region": ".+",
    "team": ".*",
    "watch": ".+",
    "sink": ".+",
}


NOWHERE = "http://127.0.0.1:1"
HINTS = {"queue_url": "https://sqs.us-east-1.amazonaws.com/111122223333/hints", "account": "sim"}


def everything(aws):
    """Return the settings that let a daemon on a stand-in for AWS show every metric there is.

    It shows each job by itself, and a queue of hints that nothing answers for.
    """
    endpoints = {"panorama": aws, "importexport": aws, "sqs": NOWHERE}
    accounts = {"sim": {"endpoint_urls": endpoints}}
    metrics = {"per_job": True, "watch_labels": ["team"]}
    return {"accounts": accounts, "hints": [HINTS], "metrics": metrics}


@dataclass(frozen=True, slots=True)
class Question:
    """One expression; ``place`` says where it stands, ``over_time`` that it asks for a graph."""

    place: str
    expr: str
    over_time: bool = False

    @property
    def parsed(self) -> Any:
        return promql_parser.parse(substituted(self.expr))

    @property
    def selectors(self) -> list[Any]:
        """Every selector of series in it."""
        found: list[Any] = []

        def visit(node):
            if isinstance(node, promql_parser.VectorSelector):
                found.append(node)

        promql_parser.walk(self.parsed, visit)
        return found

    @property
    def metrics(self):
        return {selector.name for selector in self.selectors}


def substituted(expr, **changes):
    """Return the expression as Grafana would send it."""
    values = VALUES | changes
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], expr)


def board(path):
    return json.loads(path.read_text())


def panels(board):
    """Yield every panel, those of collapsed rows too, and no row."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def board_questions(path):
    """Yield what a dashboard asks: its panels, its annotations and its variables."""
    shown = board(path)
    for panel in panels(shown):
        for target in panel["targets"]:
            place = f"{path.stem}: {panel['title']} {target['refId']}"
            yield Question(place, target["expr"], target["range"])
    for annotation in shown["annotations"]["list"]:
        if not annotation.get("builtIn"):
            place = f"{path.stem}: annotation {annotation['name']}"
            yield Question(place, annotation["target"]["expr"], over_time=True)
    for variable in shown["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
            assert found, variable["definition"]
            expr = f"count by ({found[2]}) ({found[1]})"
            yield Question(f"{path.stem}: variable {variable['name']}", expr)


@cache
def rules():
    """Return every rule, of alerts and of recordings."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alerts():
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def recordings():
    return {rule["record"]: rule for rule in rules() if "record" in rule}


def rule_questions():
    for rule in rules():
        yield Question(f"rule {rule.get('alert') or rule['record']}", rule["expr"])


def questions():
    """Return everything that dashboards and rules ask of Prometheus."""
    shown = [each for path in BOARDS for each in board_questions(path)]
    return [*shown, *rule_questions()]
