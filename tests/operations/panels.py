"""The dashboards and rules as their files say, read once for every check."""

import json
import re
from pathlib import Path

import promql_parser
import yaml

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = ROOT / "grafana" / "dashboards"
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
RULES_TEST = ROOT / "deploy" / "prometheus" / "rules_test.yaml"
RUNBOOK = ROOT / "docs" / "runbook.md"
REFERENCE = ROOT / "docs" / "metrics.md"

# What Grafana puts in the place of a variable when everything is chosen, and of an interval: the scrape is every second.
VARIABLES = {
    "$__rate_interval": "15s",
    "$__range": "60s",
    "$instance": ".*",
    "$provider": ".*",
    "$model": ".*",
    "$key": ".*",
}


def dashboards():
    """Every dashboard, by the name of its file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def drawn(dashboard):
    """Its panels without the rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def rules():
    """Every rule."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def substituted(expression):
    """An expression as Grafana sends it; a variable that is not in the table is an error."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    if "$" in expression:
        raise ValueError(f"a variable that nobody sets: {expression}")
    return expression


def metrics_of(expression):
    """Names of the metrics that an expression reads, without a histogram's suffixes."""
    found = set()

    def walk(node):
        if isinstance(node, promql_parser.VectorSelector):
            found.add(re.sub(r"_(bucket|sum|count)$", "", node.name or ""))
        for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
            child = getattr(node, name, None)
            if child is not None:
                walk(child)
        for child in getattr(node, "args", None) or []:
            walk(child)

    walk(promql_parser.parse(substituted(expression)))
    return found


def documented():
    """Metrics of the reference: name -> labels."""
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| ([^|]*) \|", REFERENCE.read_text(), re.MULTILINE)
    return {name: [label.strip() for label in labels.split(",") if label.strip()] for name, labels in rows}


def anchor(heading):
    """The anchor that a heading gets."""
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
