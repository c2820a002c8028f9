"""The routes: /v1/reports, /v1/shortcomings and /v1/improvements."""

from base64 import b64encode
from hashlib import sha256
from typing import Annotated, Any, Final, Literal, cast
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from closedloop.common.auth.access import Requires, Router
from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import REPORTS_READ, REPORTS_WRITE
from closedloop.common.http.pages import Cursor, Limit, Page
from closedloop.common.http.preconditions import IdempotencyKey, IfMatch, etag, set_etag
from closedloop.kpi.reports import schemas
from closedloop.kpi.reports.service import Reports

router = Router(tags=["reports"])
Reader = Annotated[Principal, Depends(Requires(REPORTS_READ))]
Writer = Annotated[Principal, Depends(Requires(REPORTS_WRITE))]
Form = Literal["json", "html", "xlsx"]
_MEDIA: Final[dict[Form, str]] = {
    "json": "application/json",
    "html": "text/html",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_BODIES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The published bytes, the same for ever; or the draft of this moment. `Repr-Digest` is their SHA-256.",
        "content": {media: {} for media in _MEDIA.values()},
    }
}


def _reports(request: Request) -> Reports:
    return cast(Reports, request.app.state.reports)


UseCases = Annotated[Reports, Depends(_reports)]


@router.get("/v1/reports", summary="Reports that were commented or published, the latest first")
async def list_reports(reports: UseCases, principal: Reader, limit: Limit = 24, cursor: Cursor = None) -> Page[schemas.ReportHead]:
    return await reports.listed(cursor, limit, principal)


@router.get("/v1/reports/{month}", summary="A month's report, as JSON, a page, or a workbook", responses=_BODIES)
async def show_report(
    request: Request,
    reports: UseCases,
    principal: Reader,
    month: str,
    form: Annotated[Form | None, Query(alias="format", description="left out: what `Accept` asks for first, else JSON")] = None,
) -> Response:
    """Before it is published it is a draft: gathered anew at each request. Publishing takes its ETag as If-Match."""
    chosen = form or _accepted(request.headers.get("accept", ""))
    head, content = await reports.show(month, chosen, principal)
    headers = {
        "ETag": etag(head.version),
        "Repr-Digest": f"sha-256=:{b64encode(sha256(content).digest()).decode()}:",
        # a page from kpi never runs a script, and nobody frames it
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    }
    if chosen == "xlsx":
        headers["Content-Disposition"] = f'attachment; filename="service-quality-{month}.xlsx"'
    return Response(content, media_type=_MEDIA[chosen], headers=headers)


@router.get("/v1/reports/{month}/state", summary="Draft, commented or published; and which shortcomings wait for a comment")
async def report_state(reports: UseCases, principal: Reader, response: Response, month: str) -> schemas.ReportHead:
    head = await reports.state(month, principal)
    set_etag(response, head.version)
    return head


@router.get("/v1/reports/{month}/figures/{indicator_id}", summary="What stands behind a figure: numerator, denominator, events")
async def drill(
    reports: UseCases,
    principal: Reader,
    month: str,
    indicator_id: str,
    group_by: Annotated[list[str] | None, Query(description="one group per value of these dimensions")] = None,
) -> schemas.Drilled:
    """By the entry of the month's last day. As of now; of a published month beside what was published."""
    return await reports.drill(month, indicator_id, group_by or (), principal)


@router.get("/v1/reports/{month}/restatement", summary="What later data changed in a published report, item by item")
async def restatement(reports: UseCases, principal: Reader, month: str) -> schemas.Restatement:
    return await reports.restatement(month, principal)


@router.post("/v1/reports/{month}/comments", summary="What an owner says of an indicator's month", status_code=201)
async def comment(
    reports: UseCases, principal: Writer, month: str, body: schemas.NewComment, key: IdempotencyKey = None
) -> JSONResponse:
    return _answer(await reports.comment(month, body, key, principal))


@router.post("/v1/reports/{month}/publication", summary="Publish for good", response_model=schemas.ReportHead)
async def publish(
    reports: UseCases, principal: Writer, month: str, body: schemas.Publication, version: IfMatch, key: IdempotencyKey = None
) -> JSONResponse:
    """From then on everybody gets the same bytes. 409 names what is missing."""
    return _answer(await reports.publish(month, body, version, key, principal))


@router.get("/v1/shortcomings", summary="What falls short in published reports, since when, and what is done about it")
async def shortcomings(
    reports: UseCases,
    principal: Reader,
    indicator_id: Annotated[str | None, Query(max_length=64)] = None,
    owner: Annotated[str | None, Query(max_length=64, description="the unit that answers for the indicator")] = None,
    state: Literal["open", "gone"] | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[schemas.ShortcomingView]:
    """The oldest first. One is open from the first published month that falls short to the first that does not."""
    is_open = None if state is None else state == "open"
    return await reports.shortcomings(indicator_id, owner, is_open, cursor, limit, principal)


@router.get("/v1/improvements", summary="Measures against shortcomings, the oldest first")
async def improvements(
    reports: UseCases,
    principal: Reader,
    indicator_id: Annotated[str | None, Query(max_length=64)] = None,
    owner: Annotated[str | None, Query(max_length=200, description="who carries it out")] = None,
    state: Literal["open", "done", "dropped"] | None = None,
    overdue: Annotated[bool, Query(description="only those that are open, and whose day is over")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[schemas.ImprovementView]:
    return await reports.improvements(indicator_id, owner, state, overdue, cursor, limit, principal)


@router.post("/v1/improvements", summary="A new measure", status_code=201, response_model=schemas.ImprovementView)
async def improve(reports: UseCases, principal: Writer, body: schemas.NewImprovement, key: IdempotencyKey = None) -> JSONResponse:
    return _answer(await reports.improve(body, key, principal))


@router.post("/v1/improvements/{improvement_id}/progress", summary="How far it is", response_model=schemas.ImprovementView)
async def progress(
    reports: UseCases,
    principal: Writer,
    improvement_id: UUID,
    body: schemas.NewProgress,
    version: IfMatch,
    key: IdempotencyKey = None,
) -> JSONResponse:
    return _answer(await reports.progress(improvement_id, body, version, key, principal))


def _accepted(accept: str) -> Form:
    """The first of our forms that a client names."""
    for part in accept.split(","):
        for form, media in _MEDIA.items():
            if part.split(";")[0].strip() == media:
                return form
    return "json"


def _answer(answer: tuple[int, Any]) -> JSONResponse:
    status, body = answer
    return JSONResponse(body, status, {"ETag": etag(body["version"])})
