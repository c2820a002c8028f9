"""kpi's routes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import Depends, Query, Request, Response

from closedloop.common.auth.access import Requires, Router
from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import INDICATORS_READ
from closedloop.common.events.rules import Refused, parse_time
from closedloop.common.http.pages import Cursor, Limit, Page, decode_cursor, page_of
from closedloop.common.http.problems import Forbidden, InvalidRequest, NotFound
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator, Indicator, IndicatorClass, Phase
from closedloop.kpi.domain.columns import DIMENSIONS
from closedloop.kpi.domain.windows import (
    MOST_POINTS,
    NATURAL_POINTS,
    NATURAL_STEP,
    TooManyPoints,
    Window,
    back,
    minute_of,
    natural,
    points,
)
from closedloop.kpi.schemas import IndicatorValue, IndicatorView, Series
from closedloop.kpi.value import REGION
from closedloop.kpi.values import Values

router = Router(prefix="/v1/indicators", tags=["indicators"])
Reader = Annotated[Principal, Depends(Requires(INDICATORS_READ))]
Time = Annotated[str | None, Query(description="RFC 3339 with an offset, such as 2026-11-20T08:00:00+08:00 (+ as %2B)")]
_ALL_DIMENSIONS: Final = tuple(dict.fromkeys(name for names in DIMENSIONS.values() for name in names))
_VALUE_PARAMETERS: Final = frozenset({"window", "at"})
_SERIES_PARAMETERS: Final = frozenset({"window", "from", "to", "step", "group_by"})
_FILTERS: Final = {
    "parameters": [
        {
            "in": "query",
            "name": name,
            "required": False,
            "schema": {"type": "array", "items": {"type": "string"}},
            "description": "only events of these regions; left out: all that the token covers"
            if name == REGION
            else "only events with one of these values; for an indicator that has this dimension",
        }
        for name in _ALL_DIMENSIONS
    ]
}


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
    phase: Phase | None = None,
    indicator_class: Annotated[IndicatorClass | None, Query(alias="class")] = None,
) -> Page[IndicatorView]:
    catalogue: Catalogue = request.app.state.catalogue
    wanted = {
        "topic": topic,
        "process": process,
        "product": product,
        "owner": owner,
        "phase": phase,
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


@router.get("/{indicator_id}", summary="One indicator")
async def read_indicator(request: Request, _: Reader, indicator_id: str) -> IndicatorView:
    return IndicatorView.of(_indicator(request, indicator_id))


@router.get("/{indicator_id}/value", summary="Its value over [at − window, at), to the minute", openapi_extra=_FILTERS)
async def read_value(request: Request, reader: Reader, indicator_id: str, window: Window = "1h", at: Time = None) -> IndicatorValue:
    indicator = _counted(request, indicator_id)
    values: Values = request.app.state.values
    filters = _filters(request, reader, indicator, _VALUE_PARAMETERS)
    value = await values.value(indicator, window, _minute(at, "at"), filters)
    return IndicatorValue.of(indicator, window, value)


@router.get(
    "/{indicator_id}/series",
    summary="Its values over a window that moves by a step",
    response_model=Series,
    openapi_extra=_FILTERS,
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
) -> Response:
    indicator = _counted(request, indicator_id)
    values: Values = request.app.state.values
    zone = request.app.state.zone
    filters = _filters(request, reader, indicator, _SERIES_PARAMETERS)
    groups = _groups(group_by or (), indicator)
    pace = step or NATURAL_STEP[window]
    end = _minute(to, "to")
    try:
        # left to itself a series ends where its step naturally does, such as at midnight: so whole hours and days make it up
        start = back(natural(end, pace, zone), NATURAL_POINTS, pace, zone) if from_ is None else _minute(from_, "from")
        ends = points(start, end, pace, zone)
        found = await values.series(indicator, window, ends, groups, filters)
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


def _indicator(request: Request, indicator_id: str) -> Indicator:
    catalogue: Catalogue = request.app.state.catalogue
    indicator = catalogue.get(indicator_id)
    if indicator is None:
        raise NotFound(f"No indicator has the id {indicator_id[:64]!r}; GET /v1/indicators lists them.")
    return indicator


def _counted(request: Request, indicator_id: str) -> EventIndicator:
    indicator = _indicator(request, indicator_id)
    if not isinstance(indicator, EventIndicator):
        raise NotFound(f"{indicator.id} is not computed from events.")
    return indicator


def _minute(text: str | None, field: str) -> int:
    """The whole minutes up to a time, or up to now. A `+` that a client forgot to encode comes as a space."""
    if text is None:
        return minute_of(datetime.now(UTC))
    try:
        return minute_of(parse_time(text.replace(" ", "+"), field))
    except Refused as refused:
        raise InvalidRequest(str(refused), field=field) from None


def _groups(names: Sequence[str], indicator: EventIndicator) -> tuple[str, ...]:
    groups = tuple(dict.fromkeys(part for name in names for part in name.split(",") if part))
    for name in groups:
        if name not in indicator.dimensions:
            raise _no_dimension("group_by", name, indicator)
    return groups


def _filters(request: Request, principal: Principal, indicator: EventIndicator, own: frozenset[str]) -> dict[str, list[str]]:
    """Dimension → values, from all parameters that are not the route's own; the regions never beyond the token's."""
    filters: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if name in own:
            continue
        if name not in indicator.dimensions:
            raise _no_dimension(name, name, indicator)
        filters.setdefault(name, []).append(value)
    for region in filters.get(REGION, ()):
        principal.region_filter(region)
    regions = principal.region_filter()
    if REGION not in filters and regions is not None:
        values: Values = request.app.state.values
        if not values.keeps_regions(indicator):
            raise Forbidden(f"{indicator.id} is not told apart by region; a token for all regions is needed")
        filters[REGION] = regions
    return filters


def _no_dimension(field: str, name: str, indicator: Indicator) -> InvalidRequest:
    dimensions = ", ".join(indicator.dimensions) or "none"
    return InvalidRequest(f"{field}: {name[:64]!r} is no dimension of {indicator.id}; it has {dimensions}", field=field)
