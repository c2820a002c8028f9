"""kpi's routes to the catalogue, to values and to series."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Final

from fastapi import Depends, Query, Request, Response

from closedloop.common.auth.access import Requires, Router
from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import INDICATORS_READ
from closedloop.common.http.pages import Cursor, Limit, Page, decode_cursor, page_of
from closedloop.common.http.preconditions import set_etag
from closedloop.common.http.problems import InvalidRequest
from closedloop.kpi.asking import FILTERS, AsOf, Time, filters_asked, groups_asked, indicator_of, minute_asked, time_asked
from closedloop.kpi.domain.catalogue import Catalogue, Collection, EventIndicator, Indicator, IndicatorClass, Phase
from closedloop.kpi.domain.windows import MOST_POINTS, NATURAL_POINTS, NATURAL_STEP, TooManyPoints, Window, back, natural, points
from closedloop.kpi.prometheus_rules import rules_of
from closedloop.kpi.schemas import IndicatorValue, IndicatorView, Series
from closedloop.kpi.values import Values

router = Router(prefix="/v1/indicators", tags=["indicators"])
rules_router = Router(tags=["indicators"])
Reader = Annotated[Principal, Depends(Requires(INDICATORS_READ))]
_VALUE_PARAMETERS: Final = frozenset({"window", "at", "asOf"})
_SERIES_PARAMETERS: Final = frozenset({"window", "from", "to", "step", "group_by", "asOf"})


@router.get("", summary="The catalogue")
async def list_indicators(
    request: Request,
    _: Reader,
    limit: Limit = 100,
    cursor: Cursor = None,
    topic: str | None = None,
    process: str | None = None,
    product: str | None = None,
    owner: str | None = None,
    factor: str | None = None,
    phase: Phase | None = None,
    collection: Collection | None = None,
    indicator_class: Annotated[IndicatorClass | None, Query(alias="class")] = None,
) -> Page[IndicatorView]:
    catalogue: Catalogue = request.app.state.catalogue
    wanted = {
        "topic": topic,
        "process": process,
        "product": product,
        "owner": owner,
        "factor": factor,
        "phase": phase,
        "collection": collection,
        "indicator_class": indicator_class,
    }
    after = decode_cursor(cursor, [str])
    found = sorted(
        (
            indicator
            for indicator in catalogue.indicators
            if all(value is None or getattr(indicator, name, None) == value for name, value in wanted.items())
            and (after is None or indicator.id > after[0])
        ),
        key=lambda indicator: indicator.id,
    )
    return page_of(found[: limit + 1], limit, IndicatorView.of, lambda indicator: [indicator.id])


@rules_router.get(
    "/v1/alert-rules",
    summary="Prometheus rules for the catalogue in force, what was saved over REST among it",
    response_class=Response,
    responses={200: {"content": {"application/yaml": {"schema": {"type": "string"}}}}},
)
async def read_alert_rules(request: Request, _: Reader) -> Response:
    """As `python -m closedloop.kpi rules` prints them for the files alone."""
    return Response(await asyncio.to_thread(rules_of, request.app.state.catalogue), media_type="application/yaml")


@router.get("/{indicator_id}", summary="One indicator")
async def read_indicator(request: Request, _: Reader, indicator_id: str, response: Response) -> IndicatorView:
    """The ETag is what saving its next version sends as If-Match: the highest version that is known, in force or for a later
    day."""
    indicator = indicator_of(request, indicator_id)
    latest: Callable[[str], Awaitable[int]] = request.app.state.latest_version
    set_etag(response, await latest(indicator.id))
    return IndicatorView.of(indicator)


@router.get("/{indicator_id}/value", summary="Its value over [at − window, at), to the minute", openapi_extra=FILTERS)
async def read_value(
    request: Request, reader: Reader, indicator_id: str, window: Window = "1h", at: Time = None, as_of: AsOf = None
) -> IndicatorValue:
    indicator = indicator_of(request, indicator_id)
    values: Values = request.app.state.values
    filters = filters_asked(request, reader, indicator, _VALUE_PARAMETERS)
    value = await values.value(indicator, window, minute_asked(at, "at"), filters, _known_at(as_of, indicator))
    return IndicatorValue.of(indicator, window, value)


@router.get(
    "/{indicator_id}/series",
    summary="Its values over a window that moves by a step",
    response_model=Series,
    openapi_extra=FILTERS,
)
async def read_series(
    request: Request,
    reader: Reader,
    indicator_id: str,
    window: Window = "1h",
    from_: Annotated[Time, Query(alias="from", description="end of the first window; left out: 24 natural steps back")] = None,
    to: Annotated[Time, Query(description="no window ends after this")] = None,
    step: Annotated[str | None, Query(description="a number with m, h or d (the operator's days), or month")] = None,
    group_by: Annotated[list[str] | None, Query(description="one series per value of these dimensions")] = None,
    as_of: AsOf = None,
) -> Response:
    indicator = indicator_of(request, indicator_id)
    values: Values = request.app.state.values
    zone = request.app.state.zone
    filters = filters_asked(request, reader, indicator, _SERIES_PARAMETERS)
    groups = groups_asked(group_by or (), indicator)
    known_at = _known_at(as_of, indicator)
    pace = step or NATURAL_STEP[window]
    end = minute_asked(to, "to")
    try:
        # left to itself a series ends where its step naturally does, such as at midnight: so whole hours and days make it up
        start = back(natural(end, pace, zone), NATURAL_POINTS, pace, zone) if from_ is None else minute_asked(from_, "from")
        ends = points(start, end, pace, zone)
        found = await values.series(indicator, window, ends, groups, filters, known_at)
    except TooManyPoints:
        way_out = "take a longer step, a shorter time, or fewer groups"
        raise InvalidRequest(f"step: makes more than {MOST_POINTS:,} points; {way_out}", field="step") from None
    except ValueError as error:
        raise InvalidRequest(f"step: {error}", field="step") from None
    if start > end:
        raise InvalidRequest("from: is after `to`", field="from")
    series = Series(
        indicator_id=indicator.id,
        window=window,
        step=pace,
        unit=indicator.unit,
        better=indicator.better,
        target=indicator.target,
        group_by=list(groups),
        points=[],
    )
    return Response(series.encoded(found), media_type="application/json")


def _known_at(text: str | None, indicator: Indicator) -> datetime | None:
    if text is not None and isinstance(indicator, EventIndicator):
        problem = f"{indicator.id} is computed from events, of which only the present state is kept; leave it out"
        raise InvalidRequest(f"asOf: {problem}", field="asOf")
    return time_asked(text, "asOf")
