"""What all dashboards are made of."""

import itertools
from collections.abc import Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import stat, text, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, QueryVariable, Row, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.text import TextMode

SOURCE = common.DataSourceRef("prometheus", "closedloop-prometheus")
COLUMNS = 24
HEIGHT, NUMBER_HEIGHT = 8, 4
Panel = timeseries.Panel | stat.Panel | text.Panel
Query = tuple[str, str]
"""PromQL, and the legend."""
_Asks = TypeVar("_Asks", timeseries.Panel, stat.Panel)


def graph(title: str, unit: str, *queries: Query, about: str = "", stacked: bool = False) -> timeseries.Panel:
    """Lines over time, half a row wide."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .unit(unit)
        .min(0)
        .datasource(SOURCE)
        .span(COLUMNS // 2)
        .height(HEIGHT)
        .fill_opacity(20 if stacked else 0)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
    )
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    return _asking(panel, queries)


def number(
    title: str, unit: str, expr: str, *, red_from: float | None = None, red_below: float | None = None, about: str = ""
) -> stat.Panel:
    """The newest value, a quarter of a row wide; red from or below a limit."""
    steps = [model.Threshold(color="green")]
    if red_from is not None:
        steps.append(model.Threshold(value=red_from, color="red"))
    if red_below is not None:
        steps = [model.Threshold(color="red"), model.Threshold(value=red_below, color="green")]
    panel = (
        stat.Panel()
        .title(title)
        .description(about)
        .unit(unit)
        .datasource(SOURCE)
        .span(COLUMNS // 4)
        .height(NUMBER_HEIGHT)
        .thresholds(ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps))
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.AREA)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    return _asking(panel, [(expr, "")])


def note(title: str, content: str) -> text.Panel:
    """A sentence or two."""
    return text.Panel().title(title).mode(TextMode.MARKDOWN).content(content).span(COLUMNS).height(NUMBER_HEIGHT)


def quantiles(name: str, by: str, *, of: str = "") -> list[Query]:
    """The median and the 99th percentile of a histogram, by a label."""
    rate = f"sum by (le, {by}) (rate({name}_bucket{of}[$__rate_interval]))"
    return [(f"histogram_quantile({q}, {rate})", f"p{q * 100:g} {{{{{by}}}}}") for q in (0.5, 0.99)]


def mean(name: str, by: str = "", *, of: str = "") -> str:
    """The mean of a histogram or summary."""
    kept = f"sum by ({by})" if by else "sum"
    return f"{kept} (rate({name}_sum{of}[$__rate_interval])) / {kept} (rate({name}_count{of}[$__rate_interval]))"


def dashboard(name: str, title: str, about: str, rows: dict[str, Sequence[Panel]], services_of: str | None = None) -> Dashboard:
    """A dashboard. `services_of` is a metric: by its label `service` a reader chooses what is shown ($service)."""
    made = (
        Dashboard(title)
        .uid(f"closedloop-{name}")
        .description(about)
        .tags(["closedloop"])
        .readonly()
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .link(
            DashboardLink("Closed Loop")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags(["closedloop"])
            .as_dropdown(True)
            .keep_time(True)
        )
    )
    if services_of is not None:
        made.with_variable(
            QueryVariable("service")
            .datasource(SOURCE)
            .query(f"label_values({services_of}, service)")
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".+")
        )
    ids = itertools.count(1)
    for row, panels in rows.items():
        made.with_row(Row(row).id(next(ids)))
        for panel in panels:
            made.with_panel(panel.id(next(ids)))
    return made


def _asking(panel: _Asks, queries: Sequence[Query]) -> _Asks:
    for ref, (expr, legend) in zip("ABCDEFGH", queries, strict=False):
        panel.with_target(Dataquery().expr(expr).legend_format(legend or "__auto").ref_id(ref).range().datasource(SOURCE))
    return panel
