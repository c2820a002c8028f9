"""Routes to reported figures: reporting them, their versions, the template."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Final

import msgspec
from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, Field

from closedloop.common.auth.access import Requires, Router
from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import INDICATORS_READ, MEASUREMENTS_WRITE
from closedloop.common.http.pages import Cursor, Limit, Page, decode_cursor, page_of
from closedloop.common.http.preconditions import IdempotencyKey
from closedloop.common.http.problems import UnknownMedia
from closedloop.kpi.asking import FILTERS, AsOf, filters_asked, reported_of, time_asked
from closedloop.kpi.domain.catalogue import ReportedIndicator
from closedloop.kpi.measurement_bodies import csv_rows, json_rows, template
from closedloop.kpi.measurements import MOST_LISTED, MOST_ROWS, Measurements, Report

router = Router(prefix="/v1/indicators/{indicator_id}", tags=["measurements"])
Reader = Annotated[Principal, Depends(Requires(INDICATORS_READ))]
Writer = Annotated[Principal, Depends(Requires(MEASUREMENTS_WRITE))]
_OWN_PARAMETERS: Final = frozenset({"period", "asOf", "limit", "cursor"})
_ROW: Final = {
    "type": "object",
    "required": ["period"],
    "properties": {
        "period": {"type": "string", "description": "2026-10-05 | 2026-10 | 2026-Q3 | 2026, as the indicator's granularity is"},
        "region": {"type": "string", "description": "left out: the whole operator; then the token must cover all regions"},
        **{name: {"type": "number"} for name in ("numerator", "denominator", "value")},
        "file": {"type": "string", "maxLength": 255, "description": "that it was taken from; this, or `method`, or both"},
        "method": {"type": "string", "maxLength": 1000, "description": "how it was got"},
        "reason": {"type": "string", "maxLength": 500, "description": "of a correction"},
    },
    "description": "and the indicator's other dimensions; its quantities are numerator and denominator, numerator, or value",
}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"oneOf": [_ROW, {"type": "array", "items": _ROW, "maxItems": MOST_ROWS}]}},
            "text/csv": {"schema": {"type": "string", "description": "UTF-8, with the template's header"}},
        },
    }
}


class Rejected(BaseModel):
    """A row that was not taken."""

    index: int = Field(description="from 0, without the header")
    problem: dict[str, Any]


class Taken(BaseModel):
    """What became of a report."""

    accepted: int
    unchanged: int = Field(description="of these: rows that say what was known already")
    rejected: list[Rejected] = Field(max_length=MOST_LISTED)
    rejected_total: int | None = None


class MeasurementView(BaseModel):
    """One version of a reported figure. `value` is in the indicator's unit."""

    period: str
    first_day: date = Field(serialization_alias="from")
    after_day: date = Field(serialization_alias="to", description="the first day after it")
    dimensions: dict[str, str] = Field(description="without a region: the whole operator")
    version: int
    value: float | None
    numerator: float | None
    denominator: float | None
    file: str | None
    method: str | None
    reason: str | None
    reported_by: str
    reported_at: datetime

    @classmethod
    def of(cls, indicator: ReportedIndicator, row: Mapping[str, Any]) -> "MeasurementView":
        """The version as it is shown."""
        shown = {name: row[name] for name in cls.model_fields}
        if shown["value"] is None and shown["numerator"] is not None:
            shown["value"] = indicator.value(shown["numerator"], shown["denominator"])
        return cls(**shown)


@router.post(
    "/measurements",
    summary="Report figures: one, a list, or a CSV table; a correction is a new version",
    status_code=201,
    responses={
        200: {"model": Taken, "description": "Nothing new: all of it was known, or it was a dry run."},
        201: {"model": Taken},
    },
    openapi_extra=_BODY,
)
async def report(
    request: Request,
    writer: Writer,
    indicator_id: str,
    key: IdempotencyKey = None,
    dry_run: Annotated[bool, Query(description="check and answer as if, but keep nothing")] = False,
) -> Response:
    indicator = reported_of(request, indicator_id)
    body = await request.body()
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in ("application/json", "text/csv"):
        raise UnknownMedia("Content-Type: must be application/json (an object or a list) or text/csv, UTF-8.")
    rows = csv_rows(body, indicator) if media == "text/csv" else json_rows(body)
    asked = b"\n".join((request.url.path.encode(), media.encode(), body))
    status, answer = await _measurements(request).take(indicator, Report(writer, rows, key, asked, dry_run))
    return Response(msgspec.json.encode(answer), status, media_type="application/json")


@router.get("/measurements", summary="Its reported figures, every version, the newest first", openapi_extra=FILTERS)
async def list_versions(
    request: Request,
    reader: Reader,
    indicator_id: str,
    period: Annotated[str | None, Query(max_length=10)] = None,
    as_of: AsOf = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[MeasurementView]:
    indicator = reported_of(request, indicator_id)
    filters = filters_asked(request, reader, indicator, _OWN_PARAMETERS)
    after = decode_cursor(cursor, [int])
    rows = await _measurements(request).versions(
        indicator, filters, period, time_asked(as_of, "asOf"), after[0] if after else None, limit + 1
    )
    return page_of(rows, limit, lambda row: MeasurementView.of(indicator, row), lambda row: [row["id"]])


@router.get(
    "/template",
    summary="The CSV table to fill in",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def read_template(request: Request, _: Reader, indicator_id: str) -> Response:
    indicator = reported_of(request, indicator_id)
    name = f'attachment; filename="{indicator.id}.csv"'
    return Response(template(indicator), media_type="text/csv; charset=utf-8", headers={"Content-Disposition": name})


def _measurements(request: Request) -> Measurements:
    use_cases: Measurements = request.app.state.measurements
    return use_cases
