"""promtool's cases of the rules that are made from the catalogue: every indicator in every state, made from its entry alone."""

from typing import Any

from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator
from closedloop.kpi.prometheus_rules import levels_of

FIRING = 'ALERTS{alertname="IndicatorBreached", alertstate="firing"}'
OK, PENDING, WARNING, CRITICAL = range(4)


def cases(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Quiet while all are ok or pending; each fires at its level; two processes that tell the same are one alert."""
    judged = [indicator for indicator in catalogue.from_events if indicator.threshold is not None]
    warned = [indicator for indicator in judged if "warning" in levels_of(indicator)]
    return [
        _case("nothing stands badly", judged, [OK, PENDING], []),
        _case("warnings", judged, [PENDING, WARNING], [_sample(i, "ticket") for i in warned]),
        _case("critical", judged, [WARNING, CRITICAL], [_sample(i, "page") for i in judged]),
    ]


def _case(name: str, indicators: list[EventIndicator], states: list[int], firing: list[dict[str, Any]]) -> dict[str, Any]:
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


def _labels(indicator: EventIndicator) -> str:
    assert indicator.threshold is not None
    by = indicator.threshold.by
    dimensions = [*(f'{name}="x"' for name in by), *([f'split_by="{",".join(sorted(by))}"'] if by else [])]
    return ", ".join([f'indicator="{indicator.id}"', *dimensions])


def _sample(indicator: EventIndicator, severity: str) -> dict[str, Any]:
    return {"labels": f'{{severity="{severity}", owner="{indicator.owner}", indicator="{indicator.id}"}}', "value": 1}
