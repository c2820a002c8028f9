"""The route of control charts."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from closedloop.common.auth.access import Requires, Router
from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import INDICATORS_READ
from closedloop.common.http.problems import Forbidden, InvalidRequest, NotFound
from closedloop.kpi.asking import FILTERS, Time, filters_asked, indicator_of, minute_asked
from closedloop.kpi.charts import Charts
from closedloop.kpi.domain.catalogue import EventIndicator
from closedloop.kpi.domain.control import Point
from closedloop.kpi.domain.statement import minute_at
from closedloop.kpi.domain.thresholds import Control, Rule
from closedloop.kpi.reports.pictures import control_chart
from closedloop.kpi.schemas import ControlView
from closedloop.kpi.value import REGION

router = Router(prefix="/v1/indicators", tags=["indicators"])
Reader = Annotated[Principal, Depends(Requires(INDICATORS_READ))]
MOST_PERIODS: Final = 1_000
NATURAL_PERIODS: Final = 60
_OWN: Final = frozenset({"from", "to", "format"})
_MINUTES: Final = {"hour": 60, "hour_of_day": 60, "day": 24 * 60}
_FORMS: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"application/json": {}, "image/svg+xml": {}}}}


class PointView(BaseModel):
    """One period. The limits are three σ away from the centre, and null, as that is, where too little is known for any."""

    model_config = ConfigDict(from_attributes=True)

    begin: datetime
    end: datetime
    value: float | None
    centre: float | None
    lower: float | None
    upper: float | None
    rule: Rule | None
    numerator: float
    denominator: float
    sample: int

    @classmethod
    def of(cls, point: Point) -> "PointView":
        """As it is shown."""
        own = {name: getattr(point, name) for name in cls.model_fields if name not in ("begin", "end")}
        return cls(begin=minute_at(point.start), end=minute_at(point.end), **own)


class ChartView(BaseModel):
    """A chart of one series."""

    indicator_id: str
    unit: str
    better: str
    dimensions: dict[str, str]
    control: ControlView
    points: list[PointView]


@router.get(
    "/{indicator_id}/chart",
    summary="Its control chart: values between centre line and limits, and what signals",
    response_model=ChartView,
    responses=_FORMS,
    openapi_extra=FILTERS,
)
async def read_chart(
    request: Request,
    reader: Reader,
    indicator_id: str,
    from_: Annotated[Time, Query(alias="from", description="left out: 60 periods back")] = None,
    to: Annotated[Time, Query(description="no period ends after this")] = None,
    form: Annotated[Literal["json", "svg"], Query(alias="format")] = "json",
) -> Response:
    """One series: name a value for each dimension of the chart's `by`. At most 1,000 periods. Computed anew from what is counted by
    now; what was stated is in the states' history."""
    indicator = indicator_of(request, indicator_id)
    if not isinstance(indicator, EventIndicator) or indicator.control is None:
        raise NotFound(f"{indicator.id} has no control chart; `control` of its entry makes one.")
    control = indicator.control
    group = _group(filters_asked(request, reader, indicator, _OWN), control)
    until = minute_asked(to, "to")
    length = _MINUTES[control.period]
    since = until - NATURAL_PERIODS * length if from_ is None else minute_asked(from_, "from")
    if not since < until <= since + MOST_PERIODS * length:
        raise InvalidRequest(f"from: must be before `to`, by at most {MOST_PERIODS:,} periods", field="from")
    charts: Charts = request.app.state.charts
    points = await charts.of(indicator, control, group, since, until)
    if form == "svg":
        picture = control_chart(indicator.name_en, indicator.unit, points, request.app.state.zone)
        return Response(picture, media_type="image/svg+xml", headers={"Content-Security-Policy": "default-src 'none'"})
    view = ChartView(
        indicator_id=indicator.id,
        unit=indicator.unit,
        better=indicator.better,
        dimensions=group,
        control=ControlView.model_validate(control),
        points=[PointView.of(point) for point in points],
    )
    return Response(view.model_dump_json(), media_type="application/json")


def _group(filters: dict[str, list[str]], control: Control) -> dict[str, str]:
    """The series that the filters name. A token's own regions stand among them."""
    if REGION in filters and REGION not in control.by:
        raise Forbidden("region: the chart judges all regions as one; leave it out, with a token for all of them", field=REGION)
    for name in filters:
        if name not in control.by:
            raise InvalidRequest(f"{name}: the chart is by {', '.join(control.by) or 'nothing'}, not by this", field=name)
    for name in control.by:
        if len(filters.get(name, ())) != 1:
            raise InvalidRequest(f"{name}: name one; the chart has a series for each", field=name)
    return {name: filters[name][0] for name in control.by}
