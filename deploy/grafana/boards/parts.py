"""What all dashboards are made of."""

import itertools
from collections.abc import Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import stat, statetimeline, table, text, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, QueryVariable, Row, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

SOURCE = common.DataSourceRef("prometheus", "closedloop-prometheus")
INDICATOR_LINK = "/d/closedloop-indicator?var-indicator=${__value.raw}"
COLUMNS = 24
HEIGHT, NUMBER_HEIGHT = 8, 4
Panel = timeseries.Panel | stat.Panel | statetimeline.Panel | table.Panel | text.Panel
Query = tuple[str, str]
"""PromQL, and the legend."""
_Asks = TypeVar("_Asks", timeseries.Panel, stat.Panel, statetimeline.Panel)
STATES: list[model.ValueMapping] = [
    model.ValueMap(
        {
            str(number): model.ValueMappingResult(text=level, color=color, index=number)
            for number, (level, color) in enumerate(
                [("ok", "green"), ("pending", "blue"), ("warning", "orange"), ("critical", "red")]
            )
        }
    )
]
"""How a number of kpi_indicator_state is shown."""


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


def states(title: str, *queries: Query, about: str = "") -> statetimeline.Panel:
    """States over time, a bar for each series, a whole row wide."""
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .mappings(STATES)
        .span(COLUMNS)
        .height(HEIGHT)
        .merge_values(True)
        .show_value(common.VisibilityMode.NEVER)
    )
    return _asking(panel, queries)


def rows(title: str, *columns: tuple[str, str], about: str = "") -> table.Panel:
    """What is known now, a row for each label set, a whole row wide. `columns`: a query, and the name of its value (or "": only
    its labels matter). A label `indicator` leads to that indicator's dashboard."""
    refs = dict(zip("ABCDEFGH", columns, strict=False))
    one = len(columns) == 1
    named = {("Value" if one else f"Value #{ref}"): name for ref, (_, name) in refs.items()}
    panel = (
        table.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .span(COLUMNS)
        .height(HEIGHT)
        .with_transformation(model.DataTransformerConfig("merge", options={}))
        .with_transformation(
            model.DataTransformerConfig(
                "organize",
                options={
                    "excludeByName": {"Time": True, **{value: True for value, name in named.items() if not name}},
                    "renameByName": {value: name for value, name in named.items() if name},
                },
            )
        )
        .override_by_name("state", [model.DynamicConfigValue("mappings", STATES)])
        .override_by_name("indicator", [model.DynamicConfigValue("links", [{"title": "Series", "url": INDICATOR_LINK}])])
    )
    for ref, (expr, _) in refs.items():
        panel.with_target(Dataquery().expr(expr).format(PromQueryFormat.TABLE).ref_id(ref).instant().datasource(SOURCE))
    return panel


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


def chosen(name: str, query: str, *, several: bool = True) -> QueryVariable:
    """A variable whose values are those of a query such as `label_values(up, service)`: one of them, or some or all."""
    variable = QueryVariable(name).datasource(SOURCE).query(query).refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
    return variable.multi(True).include_all(True).all_value(".+") if several else variable


def dashboard(
    name: str,
    title: str,
    about: str,
    rows: dict[str, Sequence[Panel]],
    services_of: str | None = None,
    variables: Sequence[QueryVariable] = (),
) -> Dashboard:
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
        variables = [*variables, chosen("service", f"label_values({services_of}, service)")]
    for variable in variables:
        made.with_variable(variable)
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
