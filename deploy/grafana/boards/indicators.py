"""All indicators: which stand badly, what each is now."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from boards import parts
from boards.parts import number, rows, states

STATE = "max by (indicator) (kpi_indicator_state)"
INFO = "max by (indicator, name_en, name_zh, process, product, collection, owner, unit) (kpi_indicator_info{})"
LEVELS = {"ok": 0, "pending": 1, "warning": 2, "critical": 3}


def dashboard() -> Dashboard:
    """Built anew at each call."""
    return parts.dashboard(
        "indicators",
        "Closed Loop / Indicators",
        "Each indicator by the worst of its series. Values are over KPI_GAUGE_WINDOW (1 h), or of the last period where"
        " they are reported or composed; every process of kpi tells the same.",
        {
            "By state": [
                number(level.capitalize(), "none", f"sum({STATE} == bool {at})", red_from=1 if level == "critical" else None)
                for level, at in LEVELS.items()
            ],
            "Trend of states": [states("State", (STATE, "{{indicator}}"), about="One that nothing is known of has a gap.")],
            "Now": [
                rows(
                    "Indicators",
                    (INFO, ""),
                    (STATE, "state"),
                    ('max by (indicator) (kpi_indicator_value{split_by=""})', "value"),
                    ("max by (indicator) (kpi_indicator_target)", "target"),
                    ("indicator:kpi_indicator_value:avg1d", "day's average"),
                    ("indicator:kpi_indicator_value:avg7d", "week's average"),
                    ('max by (indicator) (kpi_indicator_sample{split_by=""})', "events"),
                    about="A click on an indicator leads to its series.",
                )
            ],
        },
    )
