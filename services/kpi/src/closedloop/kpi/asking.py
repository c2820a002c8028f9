"""What routes about indicators read alike from a request: the indicator, times, groups, filters. What is wrong is a problem."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Query, Request

from closedloop.common.auth.principal import Principal
from closedloop.common.events.rules import Refused, parse_time
from closedloop.common.http.problems import Forbidden, InvalidRequest, NotFound
from closedloop.kpi.domain.catalogue import Catalogue, Indicator, ReportedIndicator
from closedloop.kpi.domain.entries import ALL_DIMENSIONS
from closedloop.kpi.domain.windows import minute_of
from closedloop.kpi.value import REGION
from closedloop.kpi.values import Values

Time = Annotated[str | None, Query(description="RFC 3339 with an offset, such as 2026-11-20T08:00:00+08:00 (+ as %2B)")]
AsOf = Annotated[
    str | None,
    Query(alias="asOf", description="RFC 3339: reported figures as they were known then; left out: as they are known now"),
]
FILTERS: Final[dict[str, Any]] = {
    "parameters": [
        {
            "in": "query",
            "name": name,
            "required": False,
            "schema": {"type": "array", "items": {"type": "string"}},
            "description": "only of these regions; left out: all that the token covers"
            if name == REGION
            else "only with one of these values; for an indicator that has this dimension",
        }
        for name in ALL_DIMENSIONS
    ]
}
"""The filters of every route that has them, for OpenAPI."""


def indicator_of(request: Request, indicator_id: str) -> Indicator:
    """Raises NotFound."""
    catalogue: Catalogue = request.app.state.catalogue
    indicator = catalogue.get(indicator_id)
    if indicator is None:
        raise NotFound(f"No indicator has the id {indicator_id[:64]!r}; GET /v1/indicators lists them.")
    return indicator


def reported_of(request: Request, indicator_id: str) -> ReportedIndicator:
    """Raises NotFound, also where the indicator is not a reported one."""
    indicator = indicator_of(request, indicator_id)
    if not isinstance(indicator, ReportedIndicator):
        raise NotFound(
            f"{indicator.id} is not reported, it is computed; GET /v1/indicators?collection=system_extract lists some that are."
        )
    return indicator


def time_asked(text: str | None, field: str) -> datetime | None:
    """A time. A `+` that a client forgot to encode comes as a space."""
    if text is None:
        return None
    try:
        return parse_time(text.replace(" ", "+"), field)
    except Refused as refused:
        raise InvalidRequest(str(refused), field=field) from None


def minute_asked(text: str | None, field: str) -> int:
    """The whole minutes up to a time, or up to now."""
    return minute_of(time_asked(text, field) or datetime.now(UTC))


def groups_asked(names: Sequence[str], indicator: Indicator) -> tuple[str, ...]:
    """The dimensions of `group_by`, each once."""
    groups = tuple(dict.fromkeys(part for name in names for part in name.split(",") if part))
    for name in groups:
        if name not in indicator.dimensions:
            raise _no_dimension("group_by", name, indicator)
    return groups


def filters_asked(request: Request, principal: Principal, indicator: Indicator, own: frozenset[str]) -> dict[str, list[str]]:
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
