"""A recovery desk on a real PostgreSQL, with a clock that the test moves and events without Kafka."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from aiokafka import ConsumerRecord

from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import SCOPES_BY_ROLE
from closedloop.common.consumer.rows import Received
from closedloop.common.events.decoder import decode_structured
from closedloop.common.events.rules import parse_time
from closedloop.common.postgres.pool import Pool
from closedloop.recovery.claiming import Claims
from closedloop.recovery.domain.contacts import Attempt, Result
from closedloop.recovery.domain.rules import Rules
from closedloop.recovery.intake import Intake
from closedloop.recovery.reservations import Reservations
from closedloop.recovery.service import Answer, Asked, Recoveries
from closedloop.recovery.settings import RecoverySettings
from closedloop.recovery.store.clock import Clock
from closedloop.recovery.upkeep import Upkeep

START = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
_numbers = itertools.count(1)


def principal(subject: str, role: str = "agent", regions: Sequence[str] | None = None) -> Principal:
    """A token's holder. Without regions it covers all."""
    return Principal(subject, f"{subject}-client", SCOPES_BY_ROLE[role], None if regions is None else frozenset(regions))


def event(type: str, at: datetime, data: dict[str, Any], *, id: str | None = None, source: str = "/test") -> dict[str, Any]:
    """A CloudEvent as it is written on the wire."""
    return {
        "specversion": "1.0",
        "id": id or f"e-{next(_numbers)}",
        "source": source,
        "type": type,
        "time": at.isoformat(),
        "data": data,
    }


def rating(customer: str, at: datetime = START, *, id: str | None = None, **data: Any) -> dict[str, Any]:
    """A dissatisfied survey answer, unless `data` says otherwise."""
    return event(
        "evaluation.submitted.v1", at, {"customer_id": customer, "region": "NJ", "kind": "survey", "score": 1} | data, id=id
    )


def closed_complaint(customer: str, at: datetime = START, *, id: str | None = None, **data: Any) -> dict[str, Any]:
    """A complaint closed with a dissatisfied customer, unless `data` says otherwise."""
    basis = {"customer_id": customer, "region": "NJ", "complaint_id": f"K-{customer}", "satisfied": False}
    return event("complaint.closed.v1", at, basis | data, id=id)


def received(events: Sequence[dict[str, Any]]) -> list[Received]:
    """The events as the consumer loop hands them over."""
    decoded = [decode_structured(msgspec.json.encode(one)) for one in events]
    record = ConsumerRecord("evaluations", 0, 0, 0, 0, b"", b"", None, 0, 0, ())
    return [Received(one, parse_time(one.time), record) for one in decoded]


@dataclass
class Desk:
    """The use cases, and shorthands for what tests do with them."""

    pool: Pool
    rules: Rules = field(default_factory=Rules)
    now: datetime = START

    def __post_init__(self) -> None:
        clock = Clock(lambda: self.now)
        self.woken = 0
        self.intake = Intake(self.rules, clock, self._wake)
        self.claims = Claims(self.pool, self.rules, clock)
        self.recoveries = Recoveries(self.pool, self.rules, clock, self._wake)
        self.reservations = Reservations(self.pool, self.rules, clock)
        self.upkeep = Upkeep(self.pool, clock, RecoverySettings().kept(), 3)

    def _wake(self) -> None:
        self.woken += 1

    def with_rules(self, **changes: Any) -> "Desk":
        """Another desk on the same database with other figures."""
        return Desk(self.pool, replace(self.rules, **changes), self.now)

    async def take(self, *events: dict[str, Any]) -> None:
        """One batch in one transaction."""
        async with self.pool.acquire() as connection, connection.transaction():
            await self.intake.take(connection, received(events))
        self.intake.committed()

    async def claim(self, agent: str, regions: Sequence[str] | None = None, **wanted: Any) -> dict[str, Any] | None:
        """What the agent gets, or None."""
        _, body = await self.claims.claim(Asked(principal(agent, regions=regions), None, b""), **wanted)
        shown: dict[str, Any] | None = body
        return shown

    async def call(self, agent: str, claim: dict[str, Any], result: Result = "resolved", **more: Any) -> dict[str, Any]:
        """Record a call now; the recovery as it is afterwards."""
        reached = result in {"resolved", "not_resolved", "declined", "follow_up"}
        attempt = replace(Attempt(self.now, reached, result, "bill_wrong" if reached else None), **more)
        _, body = await self.recoveries.record(self.asked(agent), claim["recovery_id"], claim["claim_number"], lambda _: attempt)
        shown: dict[str, Any] = body["recovery"]
        return shown

    async def heartbeat(self, agent: str, claim: dict[str, Any]) -> Answer:
        return await self.recoveries.heartbeat(self.asked(agent), claim["recovery_id"], claim["claim_number"])

    async def release(self, agent: str, claim: dict[str, Any]) -> Answer:
        return await self.recoveries.release(self.asked(agent), claim["recovery_id"], claim["claim_number"], "lunch")

    async def reserve(self, customer: str, region: str = "NJ", purpose: str = "survey", key: str | None = None) -> dict[str, Any]:
        _, body = await self.reservations.reserve(
            Asked(principal("planner", "manager"), key, customer.encode()), customer, region, purpose
        )
        shown: dict[str, Any] = body
        return shown

    def asked(self, subject: str, role: str = "agent", regions: Sequence[str] | None = None) -> Asked:
        """A request without a key."""
        return Asked(principal(subject, role, regions), None, b"")

    async def story(self, recovery_id: UUID) -> dict[str, Any]:
        return await self.recoveries.story(principal("reader", "analyst"), recovery_id)

    async def rows(self, table: str, order: str = "1") -> list[Any]:
        """A table's rows."""
        return await self.pool.fetch(f"SELECT * FROM {table} ORDER BY {order}")

    async def said(self) -> list[dict[str, Any]]:
        """The events that stand in the outbox, in order."""
        return [msgspec.json.decode(row["payload"]) for row in await self.rows("outbox", "seq")]


async def at_once(*work: Any) -> list[Any]:
    """All of it concurrently; exceptions are results."""
    return await asyncio.gather(*work, return_exceptions=True)
