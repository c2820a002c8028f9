"""The routes: /v1/tickets."""

from typing import Annotated, Any, cast
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from closedloop.common.auth.access import Requires, Router
from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import TICKETS_READ, TICKETS_WRITE
from closedloop.common.http.pages import Cursor, Limit, Page
from closedloop.common.http.preconditions import IdempotencyKey, IfMatch, etag, set_etag
from closedloop.ticketing import schemas
from closedloop.ticketing.domain.firing import Trigger
from closedloop.ticketing.domain.stages import Stage
from closedloop.ticketing.service import Asked, Tickets
from closedloop.ticketing.store.tickets import Filter

router = Router(prefix="/v1/tickets", tags=["tickets"])
Reader = Annotated[Principal, Depends(Requires(TICKETS_READ))]
Writer = Annotated[Principal, Depends(Requires(TICKETS_WRITE))]


def _tickets(request: Request) -> Tickets:
    return cast(Tickets, request.app.state.tickets)


def _change(ticket_id: UUID, version: IfMatch, key: IdempotencyKey = None) -> Asked:
    return Asked(ticket_id, version, key)


UseCases = Annotated[Tickets, Depends(_tickets)]
Change = Annotated[Asked, Depends(_change)]


def _answer(answer: tuple[int, Any]) -> JSONResponse:
    status, body = answer
    headers = {"ETag": etag(body["version"])}
    if status == 201:
        headers["Location"] = f"/v1/tickets/{body['id']}"
    return JSONResponse(body, status, headers)


@router.get("", summary="Tickets of the token's regions, last opened first")
async def list_tickets(
    tickets: UseCases,
    principal: Reader,
    stage: Annotated[Stage | None, Query()] = None,
    cause: Annotated[str | None, Query(max_length=600, pattern=schemas.NO_CONTROLS)] = None,
    topic_path: Annotated[str | None, Query(max_length=200, pattern=schemas.NO_CONTROLS)] = None,
    indicator_id: Annotated[str | None, Query(max_length=200, pattern=schemas.NO_CONTROLS)] = None,
    region: Annotated[str | None, Query(max_length=64, pattern=schemas.NO_CONTROLS)] = None,
    unit: Annotated[str | None, Query(max_length=200, pattern=schemas.NO_CONTROLS)] = None,
    trigger: Annotated[Trigger | None, Query(description="any of its firings")] = None,
    open: Annotated[bool | None, Query(description="true: not closed")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[schemas.TicketLine]:
    """Filters add up. A region that the token does not cover is refused (403)."""
    narrowed = Filter(
        regions=principal.region_filter(region),
        stage=stage,
        cause=cause,
        topic_path=topic_path,
        indicator_id=indicator_id,
        unit=unit,
        trigger=trigger,
        open=open,
    )
    return await tickets.list(narrowed, cursor, limit, principal)


@router.post("", summary="Open a ticket by hand", status_code=201, response_model=schemas.TicketView)
async def open_ticket(body: schemas.NewTicket, tickets: UseCases, principal: Writer, key: IdempotencyKey = None) -> Response:
    """One open ticket per cause: 409 names the one that is open."""
    return _answer(await tickets.open(body, key, principal))


@router.get("/{ticket_id}", summary="A ticket with its content and evidence")
async def show_ticket(ticket_id: UUID, tickets: UseCases, principal: Reader, response: Response) -> schemas.TicketView:
    """The ETag is what a change sends as If-Match."""
    view = await tickets.show(ticket_id, principal)
    set_etag(response, view.version)
    return view


@router.get("/{ticket_id}/history", summary="Who did what, when and why; oldest first")
async def ticket_history(
    ticket_id: UUID, tickets: UseCases, principal: Reader, limit: Limit = 100, cursor: Cursor = None
) -> Page[schemas.HistoryLine]:
    """Append-only."""
    return await tickets.history(ticket_id, cursor, limit, principal)


@router.post("/{ticket_id}/analysis", summary="The root cause is found", response_model=schemas.TicketView)
async def analysis(asked: Change, body: schemas.Analysis, tickets: UseCases, principal: Writer) -> Response:
    """discover or analyse → improve."""
    return _answer(await tickets.step(asked, body, principal))


@router.post("/{ticket_id}/improvement", summary="Measures are planned or carried out", response_model=schemas.TicketView)
async def improvement(asked: Change, body: schemas.Improvement, tickets: UseCases, principal: Writer) -> Response:
    """improve → evaluate, where `carried_out` is given."""
    return _answer(await tickets.step(asked, body, principal))


@router.post("/{ticket_id}/evaluation", summary="The effect is judged", response_model=schemas.TicketView)
async def evaluation(asked: Change, body: schemas.Evaluation, tickets: UseCases, principal: Writer) -> Response:
    """evaluate → closed, or back to analyse for another round."""
    return _answer(await tickets.step(asked, body, principal))


@router.post("/{ticket_id}/return", summary="Send back one stage", response_model=schemas.TicketView)
async def send_back(asked: Change, body: schemas.Return, tickets: UseCases, principal: Writer) -> Response:
    """With the reason."""
    return _answer(await tickets.step(asked, body, principal))


@router.post("/{ticket_id}/transfer", summary="Give to another unit", response_model=schemas.TicketView)
async def transfer(asked: Change, body: schemas.Transfer, tickets: UseCases, principal: Writer) -> Response:
    """From discover that dispatches it: discover → analyse."""
    return _answer(await tickets.step(asked, body, principal))


@router.post("/{ticket_id}/close", summary="Close without the stages, such as a duplicate", response_model=schemas.TicketView)
async def close(asked: Change, body: schemas.Close, tickets: UseCases, principal: Writer) -> Response:
    """With outcome and reason."""
    return _answer(await tickets.step(asked, body, principal))
