"""Contacts that others plan: whoever wants to contact a customer reserves here first."""

from datetime import datetime
from uuid import UUID, uuid4

from closedloop.common.auth.principal import Principal
from closedloop.common.http.preconditions import once
from closedloop.common.http.problems import Conflict, InvalidRequest, NotFound
from closedloop.common.postgres.pool import Connection, Pool
from closedloop.recovery import metrics, views
from closedloop.recovery.domain.contacts import CLOCK_SKEW
from closedloop.recovery.domain.rules import Rules
from closedloop.recovery.service import Answer, Asked
from closedloop.recovery.store import reservations as store
from closedloop.recovery.store import upkeep
from closedloop.recovery.store.clock import Clock


class Reservations:
    """reserved → confirmed (it took place) or released; reserved → expired by itself, and even then it may be confirmed."""

    def __init__(self, pool: Pool, rules: Rules, clock: Clock) -> None:
        self._pool = pool
        self._rules = rules
        self._clock = clock

    async def reserve(self, asked: Asked, customer_id: str, region: str, purpose: str) -> Answer:
        """A contact that counts from now. Raises Conflict, which says from when the limit allows one."""
        asked.principal.region_filter(region)
        async with self._pool.acquire() as connection, connection.transaction():

            async def act() -> Answer:
                now = await self._clock(connection)
                contact_id, until, actor = uuid4(), now + self._rules.reservation, asked.principal.subject
                allowed_at = await store.reserve(
                    connection, contact_id, customer_id, region, purpose, actor, now, until, self._rules
                )
                if allowed_at is not None:
                    metrics.LIMITED.labels("reservation").inc()
                    raise Conflict(
                        f"The customer's contact limit is used up; the next contact is allowed from {allowed_at.isoformat()}.",
                        allowed_at=allowed_at.isoformat(),
                    )
                shown = {
                    "contact_id": contact_id,
                    "customer_id": customer_id,
                    "region": region,
                    "purpose": purpose,
                    "state": "reserved",
                    "at": now,
                    "expires_at": until,
                }
                return 201, views.reservation(shown)

            return await once(connection, asked.key, asked.principal.subject, asked.request, act)

    async def confirm(self, asked: Asked, reservation_id: UUID, contacted_at: datetime | None) -> Answer:
        """The contact took place (now, or at `contacted_at`): it counts from then. Raises NotFound, Conflict, InvalidRequest."""
        async with self._pool.acquire() as connection, connection.transaction():

            async def act() -> Answer:
                now = await self._clock(connection)
                at = contacted_at or now
                if at > now + CLOCK_SKEW:
                    raise InvalidRequest(
                        "contacted_at: lies in the future; leave it out for now",
                        errors=[{"field": "contacted_at", "problem": "lies in the future; leave it out for now"}],
                    )
                return await self._move(connection, asked.principal, reservation_id, "confirmed", at, now)

            return await once(connection, asked.key, asked.principal.subject, asked.request, act)

    async def release(self, asked: Asked, reservation_id: UUID) -> Answer:
        """The contact will not take place: it no longer counts. Raises NotFound, Conflict."""
        async with self._pool.acquire() as connection, connection.transaction():

            async def act() -> Answer:
                now = await self._clock(connection)
                answer = await self._move(connection, asked.principal, reservation_id, "released", None, now)
                await upkeep.wake(connection, [answer[1]["customer_id"]], now)
                return answer

            return await once(connection, asked.key, asked.principal.subject, asked.request, act)

    async def _move(
        self, connection: Connection, principal: Principal, reservation_id: UUID, state: str, at: datetime | None, now: datetime
    ) -> Answer:
        contact = await store.lock(connection, reservation_id, principal.region_filter())
        if contact is None:
            raise NotFound(
                "There is no reservation with this id in the token's regions; `POST /v1/contacts/reservations` makes one."
            )
        if contact["state"] == state:
            return 200, views.reservation(contact)
        if contact["state"] not in ("reserved", "expired"):
            raise Conflict(f"The reservation was {contact['state']} before, so it cannot be {state}; make a new one.")
        at = at or contact["at"]
        await store.move(connection, contact, state, at, principal.subject, now)
        return 200, views.reservation(contact) | {"state": state, "at": at}
