"""promtool's cases of the rules that are made from the catalogue: every indicator in every state, made from its entry alone."""

from typing import Any

from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator, Indicator
from closedloop.kpi.domain.exporting import Level
from closedloop.kpi.prometheus_rules import judged_by, levels_of

FIRING = 'ALERTS{alertname="IndicatorBreached", alertstate="firing"}'
OK, PENDING, WARNING, CRITICAL = range(4)
BOTH: list[Level] = ["warning", "critical"]


def cases(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Quiet while all are ok or pending; each fires at its level; two processes that tell the same are one alert. What is judged by
    its period is a ticket at either level."""
    judged: list[Indicator] = [one for one in catalogue.from_events if one.threshold is not None or one.control is not None]
    judged += catalogue.by_period
    warned = [one for one in judged if "warning" in _levels(one)]
    critical = [one for one in judged if "critical" in _levels(one)]
    return [
        _case("nothing stands badly", judged, [OK, PENDING], []),
        _case("warnings", judged, [PENDING, WARNING], [_sample(one, "ticket") for one in warned]),
        _case("critical", critical, [WARNING, CRITICAL], [_sample(one, _severity(one)) for one in critical]),
    ]


def _levels(indicator: Indicator) -> list[Level]:
    """Every period's rule looks for both levels, whichever of them its entry has."""
    return levels_of(indicator) if isinstance(indicator, EventIndicator) and not indicator.is_judged_by_period else BOTH


def _severity(indicator: Indicator) -> str:
    return "ticket" if indicator.is_judged_by_period else "page"


def _case(name: str, indicators: list[Indicator], states: list[int], firing: list[dict[str, Any]]) -> dict[str, Any]:
    first, then = states
    series = [
        {"series": f'kpi_indicator_state{{{_labels(i)}, service="kpi", instance="{instance}"}}', "values": f"{first}x9 {then}x20"}
        for i in indicators
        for instance in ("a", "b")
    ]
    counted = {"expr": f"count by (severity, owner, indicator) ({FIRING})", "eval_time": "20m", "exp_samples": firing}
    return {
        "name": name,
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [counted if firing else {"expr": FIRING, "eval_time": "20m", "exp_samples": []}],
    }


def _labels(indicator: Indicator) -> str:
    by = judged_by(indicator) if isinstance(indicator, EventIndicator) else ()
    dimensions = [*(f'{name}="x"' for name in by), *([f'split_by="{",".join(sorted(by))}"'] if by else [])]
    return ", ".join([f'indicator="{indicator.id}"', *dimensions])


def _sample(indicator: Indicator, severity: str) -> dict[str, Any]:
    return {"labels": f'{{severity="{severity}", owner="{indicator.owner}", indicator="{indicator.id}"}}', "value": 1}
