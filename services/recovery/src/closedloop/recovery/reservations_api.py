"""Routes for planned contacts: whoever wants to contact a customer reserves first."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response

from closedloop.common.auth.access import Requires, Router
from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import CONTACTS_RESERVE
from closedloop.common.http.preconditions import IdempotencyKey
from closedloop.recovery import schemas
from closedloop.recovery.answers import PROBLEMS, answered
from closedloop.recovery.api import asked
from closedloop.recovery.reservations import Reservations

router = Router(prefix="/v1/contacts/reservations", tags=["contacts"], responses=PROBLEMS)
Planner = Annotated[Principal, Depends(Requires(CONTACTS_RESERVE))]


def _reservations(request: Request) -> Reservations:
    use_cases: Reservations = request.app.state.reservations
    return use_cases


@router.post(
    "",
    summary="Reserve a contact; 409 with `allowed_at` where the customer's limit is used up",
    status_code=201,
    responses={201: {"model": schemas.Reservation}},
)
async def reserve(request: Request, planner: Planner, body: schemas.ReservationBody, key: IdempotencyKey = None) -> Response:
    answer = await _reservations(request).reserve(await asked(request, planner, key), body.customer_id, body.region, body.purpose)
    return answered(answer)


@router.post("/{reservation_id}/confirm", summary="The contact took place", responses={200: {"model": schemas.Reservation}})
async def confirm(
    request: Request,
    planner: Planner,
    reservation_id: UUID,
    key: IdempotencyKey = None,
    body: schemas.ConfirmBody | None = None,
) -> Response:
    at = body.contacted_at if body else None
    return answered(await _reservations(request).confirm(await asked(request, planner, key), reservation_id, at))


@router.post(
    "/{reservation_id}/release", summary="The contact will not take place", responses={200: {"model": schemas.Reservation}}
)
async def release(request: Request, planner: Planner, reservation_id: UUID, key: IdempotencyKey = None) -> Response:
    return answered(await _reservations(request).release(await asked(request, planner, key), reservation_id))
