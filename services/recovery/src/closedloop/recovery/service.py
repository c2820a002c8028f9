"""What agents do with the recovery that they hold: keep it, give it back, record the call. One method, one transaction.

The consumer's use case is in `intake.py`, the queue in `claiming.py`,
planned contacts in `reservations.py`, what time moves in `upkeep.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID, uuid4

import asyncpg

from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import PHONES_REVEAL_ANY
from closedloop.common.http.preconditions import once
from closedloop.common.http.problems import Conflict, Forbidden, InvalidRequest, NotFound
from closedloop.common.outbox import store as outbox
from closedloop.common.postgres.pool import Connection, Pool
from closedloop.recovery import metrics, statements, views
from closedloop.recovery.domain.contacts import Attempt, AttemptRefused
from closedloop.recovery.domain.recovery import NotAllowed, Recovery
from closedloop.recovery.domain.rules import Rules
from closedloop.recovery.store import recoveries as store
from closedloop.recovery.store.clock import Clock

NO_CONTENT: Final = 204
Answer: TypeAlias = tuple[int, Any]
"""HTTP status and JSON-ready body: what a repetition of the request is answered, too."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that may come again: the client's key, who asks, and for what (route and body)."""

    principal: Principal
    key: str | None
    request: bytes


class Recoveries:
    """`wake` tells the relay that something was committed that it can publish."""

    def __init__(self, pool: Pool, rules: Rules, clock: Clock, wake: Callable[[], None]) -> None:
        self._pool = pool
        self._rules = rules
        self._clock = clock
        self._wake = wake

    # --- steps of the holder ---

    async def heartbeat(self, asked: Asked, recovery_id: UUID, claim_number: int) -> Answer:
        """The lease begins anew. Raises NotFound, Conflict."""
        agent = asked.principal.subject
        return await self._step(
            asked, recovery_id, "heartbeat", lambda held, now: held.heartbeat(agent, claim_number, now, self._rules), None
        )

    async def release(self, asked: Asked, recovery_id: UUID, claim_number: int, why: str | None) -> Answer:
        """Back into the queue. Raises NotFound, Conflict."""
        agent = asked.principal.subject
        return await self._step(asked, recovery_id, "released", lambda held, now: held.release(agent, claim_number, now), why)

    async def _step(
        self, asked: Asked, recovery_id: UUID, action: str, step: Callable[[Recovery, datetime], Recovery], why: str | None
    ) -> Answer:
        async with self._pool.acquire() as connection, connection.transaction():

            async def act() -> Answer:
                before, details, now = await self._locked(connection, recovery_id, asked.principal)
                try:
                    after = step(before, now)
                except NotAllowed as problem:
                    raise Conflict(str(problem)) from None
                await store.save(connection, before, after, asked.principal.subject, action, why, now)
                return 200, views.after(after, details)

            return await once(connection, asked.key, asked.principal.subject, asked.request, act)

    async def record(
        self, asked: Asked, recovery_id: UUID, claim_number: int | None, attempt: Callable[[datetime], Attempt]
    ) -> Answer:
        """A call that took place; `attempt` gets the clock, for what the agent left out.

        Raises NotFound, InvalidRequest; Conflict only where another agent holds the customer.
        """
        agent = asked.principal.subject
        happened: list[tuple[Recovery, Recovery, Attempt]] = []
        async with self._pool.acquire() as connection, connection.transaction():

            async def act() -> Answer:
                before, details, now = await self._locked(connection, recovery_id, asked.principal)
                if await store.other_holder(connection, before, agent, now):
                    raise Conflict("Another agent holds this customer for a new recovery; their record will follow.")
                call = attempt(now)
                try:
                    after = before.record(call, agent, now, self._rules)
                except NotAllowed as problem:
                    raise Conflict(str(problem)) from None
                except AttemptRefused as problem:
                    raise InvalidRequest(str(problem), errors=[{"field": problem.field, "problem": problem.problem}]) from None
                said = statements.contacted(before, after, details, call, agent)
                after = replace(after, version=before.version + len(said))  # one version for each event
                contact_id = uuid4()
                await store.save(connection, before, after, agent, "contacted", _why(call), now)
                await store.add_contact(connection, contact_id, after, call, agent, claim_number, now)
                await outbox.put(connection, said)
                happened.append((before, after, call))
                return 201, {"contact_id": contact_id, "recovery": views.after(after, details)}

            answer = await once(connection, asked.key, agent, asked.request, act)
        for before, after, call in happened:
            _count(before, after, call)
        self._wake()
        return answer

    async def reveal_phone(self, asked: Asked, recovery_id: UUID, why: str) -> Answer:
        """The number in full, to the holder of the claim or a manager; who saw it and why is kept. Raises NotFound, Forbidden."""
        principal = asked.principal
        async with self._pool.acquire() as connection, connection.transaction():

            async def write_down() -> Answer:
                await store.reveal(connection, recovery_id, principal.subject, principal.client, why, self._clock.given())
                return NO_CONTENT, None  # the number is not kept for a repetition, which is asked for its right again

            await once(connection, asked.key, principal.subject, asked.request, write_down)
            recovery, details, now = await self._locked(connection, recovery_id, principal)
            if recovery.holder(now) != principal.subject and PHONES_REVEAL_ANY not in principal.scopes:
                raise Forbidden("Only the agent who holds the claim, or a manager, sees the number. Claim the customer first.")
            if details.phone is None:
                raise NotFound("No phone number came with this customer's signals; look it up in the customer system.")
        metrics.REVEALS.inc()
        return 200, {"recovery_id": recovery_id, "phone": details.phone}

    async def _locked(
        self, connection: Connection, recovery_id: UUID, principal: Principal
    ) -> tuple[Recovery, store.Details, datetime]:
        found = await store.lock(connection, recovery_id, principal.region_filter())
        if found is None:
            raise NotFound(_NOT_FOUND)
        recovery, details, now = found
        return recovery, details, self._clock.given() or now

    # --- reading ---

    async def listed(self, listing: store.Listing, limit: int) -> Sequence[asyncpg.Record]:
        """In the queue's order, one more than `limit` where there are more."""
        return await store.listed(self._pool, listing, limit)

    async def story(self, principal: Principal, recovery_id: UUID) -> dict[str, Any]:
        """The recovery with its signals, contacts and history. Raises NotFound."""
        row = await store.find(self._pool, recovery_id, principal.region_filter())
        if row is None:
            raise NotFound(_NOT_FOUND)
        signals, contacts, history = await store.story(self._pool, recovery_id)
        return views.recovery(row) | {
            "signals": [views.signal(one) for one in signals],
            "contacts": [views.contact(one) for one in contacts],
            "history": [views.history(one) for one in history],
        }


_NOT_FOUND: Final = "There is no recovery with this id in the token's regions; `GET /v1/recoveries` lists those there are."


def _why(call: Attempt) -> str:
    return call.result if call.reason is None else f"{call.result}: {call.reason}"


def _count(before: Recovery, after: Recovery, call: Attempt) -> None:
    metrics.CONTACTS.labels(call.result).inc()
    if before.first_contact_at is None:
        metrics.FIRST_CONTACT.labels(after.segment).observe((call.at - after.dissatisfied_at).total_seconds())
    if before.first_reached_at is None and call.reached:
        metrics.FIRST_REACHED.labels(after.segment).observe((call.at - after.dissatisfied_at).total_seconds())
    if after.outcome is not None and before.outcome is None:
        metrics.CLOSED.labels(after.outcome).inc()
