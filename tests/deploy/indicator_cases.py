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
        _case("critical, and acknowledged", critical, [WARNING, CRITICAL], [], is_quiet=True),
        _escalated(judged[0], times=2, firing=[]),
        _escalated(judged[0], times=3, firing=[f'{{severity="ticket", owner="service-desk", indicator="{judged[0].id}"}}']),
    ]


def _levels(indicator: Indicator) -> list[Level]:
    """Every period's rule looks for both levels, whichever of them its entry has."""
    return levels_of(indicator) if isinstance(indicator, EventIndicator) and not indicator.is_judged_by_period else BOTH


def _severity(indicator: Indicator) -> str:
    return "ticket" if indicator.is_judged_by_period else "page"


def _case(
    name: str, indicators: list[Indicator], states: list[int], firing: list[dict[str, Any]], *, is_quiet: bool = False
) -> dict[str, Any]:
    first, then = states
    series = [
        {"series": f'kpi_indicator_state{{{_labels(i)}, service="kpi", instance="{instance}"}}', "values": f"{first}x9 {then}x20"}
        for i in indicators
        for instance in ("a", "b")
    ]
    if is_quiet:
        series += [
            {"series": f'kpi_indicator_quiet{{{_labels(i)}, service="kpi", instance="a"}}', "values": "1x30"} for i in indicators
        ]
    counted = {"expr": f"count by (severity, owner, indicator) ({FIRING})", "eval_time": "20m", "exp_samples": firing}
    return {
        "name": name,
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [counted if firing else {"expr": FIRING, "eval_time": "20m", "exp_samples": []}],
    }


def _escalated(indicator: Indicator, *, times: int, firing: list[str]) -> dict[str, Any]:
    info = f'kpi_indicator_info{{indicator="{indicator.id}", owner="{indicator.owner}", service="kpi", instance="%s"}}'
    said = f'kpi_indicator_escalations{{{_labels(indicator)}, service="kpi", instance="%s"}}'
    unanswered = FIRING.replace("IndicatorBreached", "IndicatorUnanswered")
    asked = f"count by (severity, owner, indicator) ({unanswered})" if firing else unanswered
    return {
        "name": f"said {times} times again",
        "interval": "1m",
        "input_series": [
            {"series": series % instance, "values": values}
            for series, values in ((info, "1x20"), (said, f"{times}x20"))
            for instance in ("a", "b")
        ],
        "promql_expr_test": [
            {"expr": asked, "eval_time": "20m", "exp_samples": [{"labels": labels, "value": 1} for labels in firing]}
        ],
    }


def _labels(indicator: Indicator) -> str:
    by = judged_by(indicator) if isinstance(indicator, EventIndicator) else ()
    dimensions = [*(f'{name}="x"' for name in by), *([f'split_by="{",".join(sorted(by))}"'] if by else [])]
    return ", ".join([f'indicator="{indicator.id}"', *dimensions])


def _sample(indicator: Indicator, severity: str) -> dict[str, Any]:
    return {"labels": f'{{severity="{severity}", owner="{indicator.owner}", indicator="{indicator.id}"}}', "value": 1}
