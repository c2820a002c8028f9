"""One indicator, down to its regions and whatever else it is exported by."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from boards import parts
from boards.parts import chosen, graph, number, rows, states

_WHOLE = '{indicator="$indicator", split_by=""}'
_REGIONS = '{indicator="$indicator", split_by="region", region=~"$region"}'


def dashboard() -> Dashboard:
    """Built anew at each call."""
    return parts.dashboard(
        "indicator",
        "Closed Loop / One indicator",
        "$indicator over KPI_GAUGE_WINDOW (1 h) or, where it is reported or composed, its last period, in its own unit. Older and"
        " longer: GET /v1/indicators/$indicator/series.",
        {
            "Now": [
                number("Value", "none", f"max(kpi_indicator_value{_WHOLE})"),
                number("Target", "none", 'max(kpi_indicator_target{indicator="$indicator"})', about="Of a month."),
                number("Events in the value", "none", f"max(kpi_indicator_sample{_WHOLE})"),
                number("Worst state", "none", 'max(kpi_indicator_state{indicator="$indicator"})').mappings(parts.STATES),
                graph(
                    "Value",
                    "none",
                    (f"max(kpi_indicator_value{_WHOLE})", "value"),
                    ('max(indicator:kpi_indicator_value:avg1d{indicator="$indicator"})', "day's average"),
                    ('max(indicator:kpi_indicator_value:avg7d{indicator="$indicator"})', "week's average"),
                    ('max(kpi_indicator_target{indicator="$indicator"})', "target"),
                ),
                graph(
                    "Numerator and denominator",
                    "none",
                    (f"max(kpi_indicator_numerator{_WHOLE})", "numerator"),
                    (f"max(kpi_indicator_denominator{_WHOLE})", "denominator"),
                ),
            ],
            "By region": [
                graph("Value", "none", (f"max by (region) (kpi_indicator_value{_REGIONS})", "{{region}}")),
                graph("Events in the value", "none", (f"max by (region) (kpi_indicator_sample{_REGIONS})", "{{region}}")),
                graph("Numerator", "none", (f"max by (region) (kpi_indicator_numerator{_REGIONS})", "{{region}}")),
                graph("Denominator", "none", (f"max by (region) (kpi_indicator_denominator{_REGIONS})", "{{region}}")),
                states("State", ('max by (region) (kpi_indicator_state{indicator="$indicator", region=~"$region"})', "{{region}}")),
            ],
            "What it is": [
                rows(
                    "Name and owner",
                    (
                        "max by (indicator, name_en, name_zh, process, product, owner, unit) "
                        '(kpi_indicator_info{indicator="$indicator"})',
                        "",
                    ),
                ),
                rows(
                    "Combinations with most events",
                    (
                        "topk(50, max without (instance, job, service) "
                        '(kpi_indicator_sample{indicator="$indicator", split_by!=""}))',
                        "events",
                    ),
                    about="Of all dimensions by which it is exported.",
                ),
            ],
        },
        variables=[
            chosen("indicator", "label_values(kpi_indicator_info, indicator)", several=False),
            chosen("region", 'label_values(kpi_indicator_sample{indicator="$indicator"}, region)'),
        ],
    )
