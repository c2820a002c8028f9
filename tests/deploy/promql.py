"""The rules and the dashboards as data, what their PromQL asks for, and where promtool and prometheus are."""

import functools
import importlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY

from closedloop.kpi.gauges import IndicatorSeries
from deploy.servers import METRICS as OF_THE_SERVERS

ROOT = Path(__file__).parents[2]
PROMETHEUS, GRAFANA = ROOT / "deploy/prometheus", ROOT / "deploy/grafana"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "closedloop/deploy/prometheus"
METRICS = (
    *(
        "closedloop.common.telemetry.metrics",
        "closedloop.ingest.metrics",
        "closedloop.ticketing.metrics",
        "closedloop.recovery.metrics",
    ),
    *(f"closedloop.kpi.{module}" for module in ("counting", "statements", "gauges", "compaction", "live")),
)
OF_THE_SCRAPE = {"job", "instance", "service"}
"""Labels that Prometheus sets."""
FILLED = {"$__rate_interval": "30s", "$service": ".+", "$indicator": "dissatisfied_share", "$region": "NJ"}
"""What Grafana fills in, and what its reader chooses."""
COMPARISONS = {">", "<", ">=", "<=", "==", "!="}


@functools.cache
def rules() -> list[dict[str, Any]]:
    """All recording and alert rules."""
    files = sorted((PROMETHEUS / "rules").glob("*.yml"))
    return [rule for file in files for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """The alert rules; one name may stand with two severities."""
    return [rule for rule in rules() if "alert" in rule]


def dashboards() -> dict[str, dict[str, Any]]:
    """File name → dashboard."""
    return {file.name: json.loads(file.read_text()) for file in sorted((GRAFANA / "dashboards").glob("*.json"))}


def queries(dashboard: dict[str, Any]) -> list[tuple[str, str]]:
    """(panel's title, PromQL) filled in as Grafana does; and (variable's name, PromQL) of what its choices are made of."""
    panels = [(panel["title"], _filled(target["expr"])) for panel in dashboard["panels"] for target in panel.get("targets", [])]
    variables = dashboard.get("templating", {}).get("list", [])
    return panels + [(f"${one['name']}", _filled(_values_of(one["query"]))) for one in variables]


def _values_of(choice: str) -> str:
    """`label_values(metric{…}, label)` as a query that has a series for each value."""
    asked = re.fullmatch(r"label_values\((\w+)(?:\{(.*)\})?, (\w+)\)", choice)
    assert asked is not None, f"write it as label_values(metric, label): {choice}"
    metric, matchers, label = asked.groups()
    matchers = ", ".join(filter(None, [matchers, f'{label}!=""']))
    return f"count by ({label}) ({metric}{{{matchers}}})"


def _filled(expr: str) -> str:
    for variable, value in FILLED.items():
        expr = expr.replace(variable, value)
    return expr


def known() -> dict[str, set[str]]:
    """Every metric that the code or a server's exporter has → its labels, without those of the scrape."""
    for module in METRICS:
        importlib.import_module(module)
    found: dict[str, set[str]] = {"up": set(), **OF_THE_SERVERS}
    for name, collector in REGISTRY._names_to_collectors.items():
        own = collector.LABELS[name] if isinstance(collector, IndicatorSeries) else getattr(collector, "_labelnames", ())
        found[name] = set(own) | ({"le"} if name.endswith("_bucket") else set())
    return found


def selectors(expr: str) -> list[promql_parser.VectorSelector]:
    """What it asks for."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


def grouped_by(expr: str) -> set[str]:
    """The labels by which it aggregates."""
    found: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            found.update(node.modifier.labels)

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


def unknown(expr: str, metrics: dict[str, set[str]]) -> list[str]:
    """Metrics and labels in `expr` that the code does not have."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    problems, labels = [], set(OF_THE_SCRAPE)
    for selector in selectors(expr):
        if selector.name in recorded:
            labels |= set().union(*(grouped_by(rule["expr"]) for rule in rules() if rule.get("record") == selector.name))
        elif selector.name in metrics:
            labels |= metrics[selector.name]
            asked = {matcher.name for matcher in selector.matchers.matchers}
            problems += [f"{selector.name} has no label {label}" for label in asked - metrics[selector.name] - OF_THE_SCRAPE]
        else:
            problems.append(f"no metric {selector.name}")
    return problems + [f"nothing in it has the label {label}" for label in grouped_by(expr) - labels]


def quantity(expr: str) -> str:
    """What an alert's expression compares: without the comparisons with numbers, it also answers where all is well."""

    def strip(node: promql_parser.Expr) -> promql_parser.Expr | None:
        if isinstance(node, promql_parser.BinaryExpr) and str(node.op) in COMPARISONS:
            assert isinstance(node.rhs, promql_parser.NumberLiteral), f"write the limit as a number on the right: {expr}"
            return node.lhs
        return None

    return promql_parser.transform(promql_parser.parse(expr), None, strip).prettify()


def tool(name: str) -> str:
    """The path of promtool or prometheus. Skips where it is not there."""
    path = shutil.which(name) or (str(CACHE / name) if (CACHE / name).exists() else None)
    if path is None:
        pytest.skip(f"{name} is not installed: run `make deploy-tools` (on Debian), or put Prometheus 2.42 or newer on the PATH")
    return path
