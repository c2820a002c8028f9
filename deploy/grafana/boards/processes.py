"""A dashboard for each process and product of the catalogue: all its indicators in a table, and two panels for each that is
computed from events. What is reported moves once a month: its trend is the report's."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, ThresholdsConfig
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from boards import parts
from boards.indicators import INFO, STATE
from boards.parts import Panel, graph, rows, states
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator, Indicator

UNITS = {"percent": "percent", "s": "s", "h": "h"}
"""Of the catalogue → of Grafana; others are plain numbers."""


def dashboards(catalogue: Catalogue) -> list[Dashboard]:
    """In the order of the catalogue."""
    found: dict[tuple[str, str], list[Indicator]] = {}
    for indicator in catalogue.indicators:
        for kind, code in (("process", indicator.process), ("product", indicator.product)):
            if code is not None:
                found.setdefault((kind, code), []).append(indicator)
    return [_dashboard(kind, code, indicators) for (kind, code), indicators in found.items()]


def _dashboard(kind: str, code: str, indicators: Sequence[Indicator]) -> Dashboard:
    own = f'and on (indicator) kpi_indicator_info{{{kind}="{code}"}}'
    from_events = [indicator for indicator in indicators if isinstance(indicator, EventIndicator)]
    columns = [
        (INFO.replace("{", f'{{{kind}="{code}"'), ""),
        (f'max by (indicator) (kpi_indicator_value{{split_by=""}}) {own}', "value"),
    ]
    if from_events:
        columns.append((f"indicator:kpi_indicator_value:avg1d {own}", "day's average"))
    if any(indicator.target is not None for indicator in indicators):
        columns.append((f"max by (indicator) (kpi_indicator_target) {own}", "target"))
    is_judged = any(map(_is_judged, indicators))
    if is_judged:
        columns.append((f"{STATE} {own}", "state"))
    panels: dict[str, Sequence[Panel]] = {"Now": [rows("Indicators", *columns)]}
    if is_judged:
        panels["Trend of states"] = [states("State", (f"{STATE} {own}", "{{indicator}}"))]
    for indicator in from_events:
        panels[f"{indicator.name_en} {indicator.name_zh}"] = [_value(indicator), _parts(indicator)]
    return parts.dashboard(
        f"{kind}-{code}",
        f"Closed Loop / {kind.capitalize()} {code}",
        f"The indicators of the {kind} {code}, made from the shipped catalogue: over KPI_GAUGE_WINDOW (1 h), or of the last"
        " period where they are reported or composed.",
        panels,
    )


def _is_judged(indicator: Indicator) -> bool:
    judged_by_events = isinstance(indicator, EventIndicator) and (indicator.threshold or indicator.control)
    return bool(judged_by_events) or indicator.is_judged_by_period


def _value(indicator: EventIndicator) -> timeseries.Panel:
    """Value, day's average and target over time; what is worse than the threshold is shaded."""
    chosen = f'{{indicator="{indicator.id}"}}'
    queries = [
        (f'max(kpi_indicator_value{{indicator="{indicator.id}", split_by=""}})', "value"),
        (f"max(indicator:kpi_indicator_value:avg1d{chosen})", "day's average"),
    ]
    if indicator.target is not None:
        queries.append((f"max(kpi_indicator_target{chosen})", "target"))
    panel = graph(indicator.id, UNITS.get(indicator.unit, "none"), *queries, about=f"{indicator.unit}; {indicator.owner}")
    if indicator.threshold is not None:
        good, bad = model.Threshold(color="transparent"), model.Threshold(color="red")
        limit = indicator.threshold.critical
        if indicator.better == "lower":
            bad.value = limit
        else:
            good.value = limit
        steps = [good, bad] if indicator.better == "lower" else [bad, good]
        panel.thresholds(ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps))
        panel.thresholds_style(common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.AREA))
    return panel


def _parts(indicator: EventIndicator) -> timeseries.Panel:
    figures = ["numerator"] if indicator.denominator is None else ["numerator", "denominator"]
    queries = [(f'max(kpi_indicator_{figure}{{indicator="{indicator.id}", split_by=""}})', figure) for figure in figures]
    return graph(" and ".join(figures).capitalize(), "none", *queries, about=indicator.formula or "")
