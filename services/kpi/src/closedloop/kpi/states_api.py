"""The routes of states and silences."""

from datetime import datetime
from typing import Annotated, Any, cast
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from closedloop.common.auth.access import Requires, Router
from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import INDICATORS_MANAGE, INDICATORS_READ
from closedloop.common.events.rules import Refused, parse_time
from closedloop.common.http.pages import Cursor, Limit, Page
from closedloop.common.http.preconditions import IdempotencyKey, IfMatch, etag, set_etag
from closedloop.common.http.problems import InvalidRequest
from closedloop.kpi.domain.states import State
from closedloop.kpi.state_schemas import (
    NO_CONTROLS,
    Acknowledgement,
    EndOfSilence,
    NewSilence,
    SilenceView,
    StateLine,
    StateView,
)
from closedloop.kpi.state_store import Narrowed, Told
from closedloop.kpi.states import States

router = Router(prefix="/v1", tags=["states"])
Reader = Annotated[Principal, Depends(Requires(INDICATORS_READ))]
Manager = Annotated[Principal, Depends(Requires(INDICATORS_MANAGE))]
Name = Annotated[str | None, Query(max_length=200, pattern=NO_CONTROLS)]
Time = Annotated[str | None, Query(description="RFC 3339 with an offset, such as 2026-11-20T08:00:00+08:00 (+ as %2B)")]


def _states(request: Request) -> States:
    return cast(States, request.app.state.states)


UseCases = Annotated[States, Depends(_states)]


@router.get("/states", summary="How the series of the token's regions stand, by name")
async def list_states(
    states: UseCases,
    principal: Reader,
    state: Annotated[list[State] | None, Query(description="several times: either")] = None,
    indicator: Annotated[list[str] | None, Query(max_length=100)] = None,
    owner: Name = None,
    region: Name = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[StateView]:
    """Filters add up. A region that the token does not cover is refused (403)."""
    return await states.list(Narrowed(principal.region_filter(region), state, indicator), owner, cursor, limit)


@router.get("/states/history", summary="Who said or did what about series, when and why; newest first")
async def list_history(
    states: UseCases,
    principal: Reader,
    id: Annotated[UUID | None, Query(description="of one series")] = None,
    indicator: Name = None,
    region: Name = None,
    from_: Annotated[Time, Query(alias="from")] = None,
    to: Time = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[StateLine]:
    """Append-only."""
    told = Told(principal.region_filter(region), None, indicator, _time(from_, "from"), _time(to, "to"))
    return await states.history(told, id, cursor, limit)


@router.get("/states/{id}", summary="How one series stands")
async def show_state(id: UUID, states: UseCases, principal: Reader, response: Response) -> StateView:
    """The ETag is what an acknowledgement sends as If-Match."""
    view = await states.show(id, principal)
    set_etag(response, view.version)
    return view


@router.post("/states/{id}/acknowledge", summary="Answer for a breach", response_model=StateView)
async def acknowledge(
    id: UUID, body: Acknowledgement, version: IfMatch, states: UseCases, principal: Manager, key: IdempotencyKey = None
) -> Response:
    """It is not escalated any more. A level that gets worse, and a breach that begins anew, want a new one."""
    return _answer(await states.acknowledge(id, version, key, body, principal))


@router.get("/silences", summary="Silences, the one that ends last first")
async def list_silences(states: UseCases, principal: Reader, limit: Limit = 100, cursor: Cursor = None) -> Page[SilenceView]:
    """Those of other regions are left out."""
    return await states.list_silences(cursor, limit, principal)


@router.post("/silences", summary="Let no breach begin for some time", status_code=201, response_model=SilenceView)
async def silence(body: NewSilence, states: UseCases, principal: Manager, key: IdempotencyKey = None) -> Response:
    """A breach that stands goes on; one that still holds at the end of the silence begins then."""
    return _answer(await states.silence(key, body, principal))


@router.post("/silences/{id}/end", summary="End a silence before its time", response_model=SilenceView)
async def end_silence(
    id: UUID, body: EndOfSilence, version: IfMatch, states: UseCases, principal: Manager, key: IdempotencyKey = None
) -> Response:
    """What it held back until now stays held back."""
    return _answer(await states.end_silence(id, version, key, body, principal))


def _answer(answer: tuple[int, Any]) -> JSONResponse:
    status, body = answer
    return JSONResponse(body, status, {"ETag": etag(body["version"])})


def _time(text: str | None, field: str) -> datetime | None:
    """A `+` that a client forgot to encode comes as a space."""
    if text is None:
        return None
    try:
        return parse_time(text.replace(" ", "+"), field)
    except Refused as refused:
        raise InvalidRequest(str(refused), field=field) from None
