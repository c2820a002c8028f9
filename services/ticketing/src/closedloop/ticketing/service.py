"""The use cases of staff. Each is one transaction; reads see what the caller's regions see."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, cast

import msgspec
from pydantic import BaseModel

from closedloop.common.auth.principal import Principal
from closedloop.common.http.pages import Page, decode_cursor, page_of
from closedloop.common.http.preconditions import check_version, once
from closedloop.common.http.problems import Conflict, Forbidden, NotFound
from closedloop.common.postgres.pool import Connection, Pool
from closedloop.ticketing import filing, schemas, views
from closedloop.ticketing.domain import cause, stages
from closedloop.ticketing.domain import ticket as life
from closedloop.ticketing.domain.stages import StepRefused
from closedloop.ticketing.domain.ticket import Actor, Change, Ticket
from closedloop.ticketing.store import complaints, tickets
from closedloop.ticketing.store.tickets import Filter

NEWEST_FIRINGS = 20
USUAL = timedelta(days=28)
# What a made-up cursor may hold: no more than PostgreSQL takes.
_PLACE = cast("type[int]", Annotated[int, msgspec.Meta(ge=0, lt=2**63)])
_TIME = cast("type[datetime]", Annotated[datetime, msgspec.Meta(tz=True)])

Content = schemas.Analysis | schemas.Improvement | schemas.Evaluation | schemas.Return | schemas.Transfer | schemas.Close


@dataclass(frozen=True, slots=True)
class Asked:
    """A change of one ticket: which, as its author read it (the version), and the key under which the request may come again."""

    ticket_id: uuid.UUID
    version: int
    key: str | None


class Tickets:
    """What staff do with tickets."""

    def __init__(self, pool: Pool, wake: Callable[[], None]) -> None:
        self._pool = pool
        self._wake = wake

    # --- reading ---

    async def list(self, narrowed: Filter, cursor: str | None, limit: int, principal: Principal) -> Page[schemas.TicketLine]:
        """Last opened first. `narrowed.regions` must come from the principal."""
        before = decode_cursor(cursor, (_TIME, uuid.UUID))
        async with self._pool.acquire() as connection:
            found = await tickets.listed(connection, narrowed, (before[0], before[1]) if before else None, limit + 1)
        return page_of(found, limit, lambda t: views.line(t, principal), lambda t: (t.opened_at, t.id))

    async def show(self, ticket_id: uuid.UUID, principal: Principal) -> schemas.TicketView:
        """Raises NotFound."""
        async with self._pool.acquire() as connection:
            ticket = await tickets.read(connection, ticket_id, principal.region_filter())
            return await self._view(connection, _found(ticket), principal)

    async def history(
        self, ticket_id: uuid.UUID, cursor: str | None, limit: int, principal: Principal
    ) -> Page[schemas.HistoryLine]:
        """All that happened to a ticket, oldest first. Raises NotFound."""
        after = decode_cursor(cursor, (_PLACE,))
        async with self._pool.acquire() as connection:
            _found(await tickets.read(connection, ticket_id, principal.region_filter()))
            rows = await tickets.history(connection, ticket_id, after[0] if after else 0, limit + 1)
        return page_of(rows, limit, views.history_line, lambda row: (row["seq"],))

    # --- opening by hand ---

    async def open(self, body: schemas.NewTicket, key: str | None, principal: Principal) -> tuple[int, Any]:
        """(status, body). Raises Conflict where the cause has an open ticket, Forbidden for foreign regions."""
        regions = _regions_of_new(body.regions, principal)
        actor = Actor(principal.subject, principal.client)

        async def act() -> tuple[int, Any]:
            at = await tickets.now(connection)
            change = life.opened(
                id=uuid.uuid4(),
                cause=cause.of_name(body.cause),
                title=body.title,
                trigger="manual",
                unit=body.unit,
                urgency=body.urgency,
                customers=body.customers,
                regions=regions,
                at=at,
                actor=actor,
                reason=body.evidence,
            )
            if not await filing.open_ticket(connection, change):
                await self._refuse_second(connection, body.cause, principal)
            return 201, await self._json(connection, change.ticket, principal)

        async with self._pool.acquire() as connection, connection.transaction():
            answer = await once(connection, key, principal.subject, _request("open", None, body), act)
        self._wake()
        return answer

    async def _refuse_second(self, connection: Connection, name: str, principal: Principal) -> None:
        other = await tickets.lock_open(connection, name)
        visible = other is not None and await tickets.read(connection, other.id, principal.region_filter()) is not None
        if other is not None and visible:
            raise Conflict(
                f"cause: ticket {other.id} is open on it; a cause has one open ticket. Work on that one, or close it first."
            )
        raise Conflict("cause: a ticket of other regions is open on it; a cause has one open ticket. Ask somebody who covers them.")

    # --- the steps ---

    async def step(self, asked: Asked, body: Content, principal: Principal) -> tuple[int, Any]:
        """(status, body) of a stage's content, or of a return, a transfer, a close. Raises NotFound, PreconditionFailed; Conflict
        where the stage does not allow it."""

        async def act() -> tuple[int, Any]:
            ticket = _found(await tickets.lock(connection, asked.ticket_id, principal.region_filter()))
            check_version(asked.version, ticket.version)
            at = await tickets.now(connection)
            said = body.model_dump(mode="json")
            if isinstance(body, schemas.Evaluation) and (effect := await _effect(connection, ticket, at)):
                said["measured"] = effect.model_dump(mode="json")
            try:
                change = _changed(ticket, body, said, Actor(principal.subject, principal.client), at)
            except StepRefused as refused:
                raise Conflict(str(refused), allowed=stages.allowed(ticket.stage)) from None
            await filing.save(connection, change)
            return 200, await self._json(connection, change.ticket, principal)

        async with self._pool.acquire() as connection, connection.transaction():
            request = _request(type(body).__name__, asked.ticket_id, body)
            answer = await once(connection, asked.key, principal.subject, request, act)
        self._wake()
        return answer

    # --- shared ---

    async def _json(self, connection: Connection, ticket: Ticket, principal: Principal) -> Any:
        return (await self._view(connection, ticket, principal)).model_dump(mode="json")

    async def _view(self, connection: Connection, ticket: Ticket, principal: Principal) -> schemas.TicketView:
        total, firings = await tickets.firings(connection, ticket.id, NEWEST_FIRINGS)
        effect = await _effect(connection, ticket, await tickets.now(connection))
        return views.view(ticket, total, firings, effect, principal)


def _changed(ticket: Ticket, body: Content, said: dict[str, Any], actor: Actor, at: datetime) -> Change:
    """What the body's step makes of the ticket; `said` is its content as it is kept. Raises StepRefused."""
    match body:
        case schemas.Analysis():
            return life.analysed(ticket, said, body.difficulty, actor, at)
        case schemas.Improvement():
            return life.improved(ticket, said, body.carried_out is not None, actor, at)
        case schemas.Evaluation():
            return life.evaluated(ticket, said, body.verdict, actor, at)
        case schemas.Return():
            return life.returned(ticket, body.reason, actor, at)
        case schemas.Transfer():
            return life.transferred(ticket, body.unit, body.reason, actor, at)
        case schemas.Close():
            reason = body.reason if body.duplicate_of is None else f"{body.reason} (duplicate of {body.duplicate_of})"
            return life.closed(ticket, body.outcome, reason, actor, at)


async def _effect(connection: Connection, ticket: Ticket, now: datetime) -> schemas.Effect | None:
    if ticket.topic_path is None:
        return None
    improved = ticket.improved_at
    spans = (
        (ticket.opened_at - USUAL, ticket.opened_at),
        (ticket.opened_at, improved or now),
        (improved or now, now),
    )
    usual, before, after = await complaints.per_day(connection, ticket.topic_path, spans)
    return schemas.Effect(usual=usual, before=before, after=after)


def _found(ticket: Ticket | None) -> Ticket:
    if ticket is None:
        raise NotFound("There is no ticket with this id in the token's regions; `GET /v1/tickets` lists those there are.")
    return ticket


def _regions_of_new(wanted: list[str], principal: Principal) -> tuple[str, ...]:
    for region in wanted:
        if not principal.covers(region):
            raise Forbidden(
                f"regions: the token does not cover {region}; leave it out, or ask for a token that does", field="regions"
            )
    return tuple(sorted(set(wanted) or principal.regions or ()))


def _request(route: str, id: uuid.UUID | None, body: BaseModel) -> bytes:
    return msgspec.json.encode([route, id, body.model_dump(mode="json")])
