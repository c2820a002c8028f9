"""Recovery's routes.

Every POST takes an Idempotency-Key. The changes here take no If-Match: a claim is guarded by its `claim_number`, which an agent
cannot have without holding it, and two steps of the same claim do not overwrite each other; to reveal a phone changes no recovery.
The ETag of `GET` serves caches and comparisons.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from closedloop.common.auth.access import Requires, Router
from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import PHONES_REVEAL, RECOVERIES_CLAIM, RECOVERIES_READ
from closedloop.common.http.pages import Cursor, Limit, Page, decode_cursor, page_of
from closedloop.common.http.preconditions import IdempotencyKey, set_etag
from closedloop.common.http.problems import InvalidRequest
from closedloop.recovery import schemas, views
from closedloop.recovery.answers import PROBLEMS, answered
from closedloop.recovery.claim_route import ClaimRoute
from closedloop.recovery.claiming import Claims
from closedloop.recovery.domain.contacts import Attempt
from closedloop.recovery.domain.recovery import Status
from closedloop.recovery.domain.segments import Segment
from closedloop.recovery.service import Asked, Recoveries
from closedloop.recovery.store.recoveries import Listing

router = Router(prefix="/v1", tags=["recovery"], responses=PROBLEMS)
Agent = Annotated[Principal, Depends(Requires(RECOVERIES_CLAIM))]
Reader = Annotated[Principal, Depends(Requires(RECOVERIES_READ))]
Revealer = Annotated[Principal, Depends(Requires(PHONES_REVEAL))]


async def asked(request: Request, principal: Principal, key: str | None) -> Asked:
    """The request as something that may come again."""
    return Asked(principal, key, request.url.path.encode() + b"\n" + await request.body() if key else b"")


def _claims(request: Request) -> Claims:
    use_case: Claims = request.app.state.claims
    return use_case


def _recoveries(request: Request) -> Recoveries:
    use_cases: Recoveries = request.app.state.recoveries
    return use_cases


async def claim(request: Request, agent: Agent, key: IdempotencyKey = None, body: schemas.ClaimBody | None = None) -> Response:
    wanted = body or _ANYONE
    return answered(await _claims(request).claim(await asked(request, agent, key), wanted.region, wanted.segment))


router.add_api_route(
    "/claims",
    claim,
    methods=["POST"],
    route_class_override=ClaimRoute,
    summary="The next customer to call; the same one again while you hold one",
    responses={200: {"model": schemas.Claim}, 204: {"description": "Nobody waits."}},
)
_ANYONE: Final = schemas.ClaimBody()


@router.get("/recoveries", summary="Recoveries in the queue's order")
async def list_recoveries(
    request: Request,
    reader: Reader,
    limit: Limit = 50,
    cursor: Cursor = None,
    status: Annotated[list[Status] | None, Query()] = None,
    region: Annotated[schemas.Code | None, Query()] = None,
    segment: Segment | None = None,
    customer_id: Annotated[schemas.Identifier | None, Query()] = None,
    due_before: Annotated[schemas.Moment | None, Query(description="who is about to be late")] = None,
    contacted: Annotated[bool | None, Query(description="whether a first contact was made")] = None,
) -> Page[schemas.Recovery]:
    listing = Listing(
        statuses=status,
        regions=reader.region_filter(region),
        segment=segment,
        customer_id=customer_id,
        due_before=due_before,
        contacted=contacted,
        after=_after(cursor),
    )
    rows = await _recoveries(request).listed(listing, limit)
    return page_of(rows, limit, _shown, lambda row: [row["due_at"], row["recovery_id"]])


def _shown(row: Any) -> schemas.Recovery:
    return schemas.Recovery(**views.recovery(row))


def _after(cursor: str | None) -> tuple[datetime, UUID] | None:
    parts: Sequence[Any] | None = decode_cursor(cursor, [datetime, UUID])
    if parts is None:
        return None
    if parts[0].tzinfo is None:
        raise InvalidRequest("cursor: is not one that this list gave; leave it out to begin anew")
    return parts[0], parts[1]


@router.get("/recoveries/{recovery_id}", summary="One recovery with its signals, contacts and history")
async def get_recovery(request: Request, reader: Reader, recovery_id: UUID, response: Response) -> schemas.Story:
    story = await _recoveries(request).story(reader, recovery_id)
    set_etag(response, story["version"])
    return schemas.Story(**story)


@router.post(
    "/recoveries/{recovery_id}/heartbeat", summary="Hold the claim longer", responses={200: {"model": schemas.HeldRecovery}}
)
async def heartbeat(
    request: Request, agent: Agent, recovery_id: UUID, body: schemas.HeartbeatBody, key: IdempotencyKey = None
) -> Response:
    return answered(await _recoveries(request).heartbeat(await asked(request, agent, key), recovery_id, body.claim_number))


@router.post(
    "/recoveries/{recovery_id}/release", summary="Give the customer back", responses={200: {"model": schemas.HeldRecovery}}
)
async def release(
    request: Request, agent: Agent, recovery_id: UUID, body: schemas.ReleaseBody, key: IdempotencyKey = None
) -> Response:
    return answered(await _recoveries(request).release(await asked(request, agent, key), recovery_id, body.claim_number, body.why))


@router.post(
    "/recoveries/{recovery_id}/contacts",
    summary="Record a call; also after the lease ran out, if no other agent holds the customer",
    status_code=201,
    responses={201: {"model": schemas.Recorded}},
)
async def record_contact(
    request: Request, agent: Agent, recovery_id: UUID, body: schemas.ContactBody, key: IdempotencyKey = None
) -> Response:
    def attempt(now: datetime) -> Attempt:
        return Attempt(body.contacted_at or now, body.reached, body.result, body.reason, body.note, body.next_attempt_at)

    return answered(await _recoveries(request).record(await asked(request, agent, key), recovery_id, body.claim_number, attempt))


@router.post(
    "/recoveries/{recovery_id}/reveal-phone",
    summary="The phone number in full, for the holder of the claim or a manager; who, when and why is kept",
    responses={200: {"model": schemas.Revealed}},
)
async def reveal_phone(
    request: Request, principal: Revealer, recovery_id: UUID, body: schemas.RevealBody, key: IdempotencyKey = None
) -> Response:
    """Takes no If-Match, as it changes no recovery. A repetition with the same Idempotency-Key is written down once; the number is
    not kept for it, so it needs a claim that is still held."""
    return answered(await _recoveries(request).reveal_phone(await asked(request, principal, key), recovery_id, body.why))
