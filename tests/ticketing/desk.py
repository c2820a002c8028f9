"""The service's use cases without Kafka and HTTP, for tests: events in, tickets out."""

import itertools
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from aiokafka.structs import ConsumerRecord

from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import SCOPES_BY_ROLE
from closedloop.common.consumer.failures import Rejection
from closedloop.common.consumer.rows import Received, receive
from closedloop.common.events.topics import TOPIC_OF_TYPE, TYPE_BY_NAME
from closedloop.common.postgres.pool import Pool
from closedloop.ticketing.consumer import Intake
from closedloop.ticketing.service import Tickets
from closedloop.ticketing.settings import TicketingSettings
from closedloop.ticketing.triggers import Statements

_offsets = itertools.count()
_ids = itertools.count(1)


def event(type: str, at: datetime, data: dict[str, Any], *, id: str | None = None, source: str = "/test") -> Received:
    """A record as it comes from Kafka, decoded by the shared rules."""
    envelope = {
        "specversion": "1.0",
        "id": id or f"e-{next(_ids)}",
        "source": source,
        "type": type,
        "time": at.isoformat(),
        "data": data,
    }
    topic = TOPIC_OF_TYPE[TYPE_BY_NAME[type]].name
    value = json.dumps(envelope).encode()
    now = int(datetime.now(UTC).timestamp() * 1000)
    record = ConsumerRecord(
        topic=topic,
        partition=0,
        offset=next(_offsets),
        timestamp=now,
        timestamp_type=1,
        key=str(data.get("customer_id", "k")).encode(),
        value=value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=len(value),
        headers=(),
    )
    return receive(record)


def complaint(
    at: datetime,
    *,
    customer: str | None = None,
    topic: str = "top_up/not_credited",
    region: str = "NJ",
    id: str | None = None,
    complaint_id: str | None = None,
) -> Received:
    number = next(_ids)
    return event(
        "complaint.registered.v1",
        at,
        {
            "customer_id": customer or f"C{number}",
            "region": region,
            "complaint_id": complaint_id or f"K{number}",
            "topic_path": topic,
            "text": "the text of a complaint",
            "phone": "+8613800138000",
        },
        id=id,
    )


def enquiry(at: datetime, *, customer: str | None = None, topic: str = "tariff/roaming", region: str = "NJ") -> Received:
    number = next(_ids)
    data = {"customer_id": customer or f"C{number}", "region": region, "enquiry_id": f"Q{number}", "topic_path": topic}
    return event("enquiry.registered.v1", at, data)


def escalated(
    at: datetime,
    complaint_id: str = "K1",
    *,
    topic: str | None = "top_up/not_credited",
    region: str = "NJ",
    id: str | None = None,
    level: int = 2,
) -> Received:
    data = {"customer_id": "C1", "region": region, "complaint_id": complaint_id, "level": level}
    return event("complaint.escalated.v1", at, data if topic is None else data | {"topic_path": topic}, id=id)


def breach_data(at: datetime, indicator: str, dimensions: dict[str, str] | None = None, value: float = 0.7) -> dict[str, Any]:
    return {
        "indicator_id": indicator,
        "dimensions": {"region": "NJ"} if dimensions is None else dimensions,
        "window": "1h",
        "window_start": (at - timedelta(hours=1)).isoformat(),
        "window_end": at.isoformat(),
        "value": value,
        "threshold": 0.9,
        "better": "higher",
        "numerator": 70,
        "denominator": 100,
        "sample": 100,
        "owner": "customer_service",
    }


def breached(
    at: datetime,
    indicator: str = "first_contact_in_time",
    *,
    dimensions: dict[str, str] | None = None,
    type: str = "indicator.breached.v1",
    value: float = 0.7,
) -> Received:
    return event(type, at, breach_data(at, indicator, dimensions, value))


def principal(role: str = "manager", regions: Iterable[str] | None = None, subject: str = "ann") -> Principal:
    return Principal(subject, f"{subject}-client", SCOPES_BY_ROLE[role], None if regions is None else frozenset(regions))


async def _unknown(topic: str) -> None:
    """Tests say themselves how far event time has come."""


class Desk:
    """`take` is one batch of the consumer; `state` is one run of the statement loop."""

    def __init__(self, pool: Pool, settings: TicketingSettings, zone: ZoneInfo) -> None:
        self.pool = pool
        self.settings = settings
        self.zone = zone
        self.intake = Intake(settings)
        self.statements = Statements(pool, _unknown, settings, zone, lambda: None)
        self.tickets = Tickets(pool, lambda: None)

    def with_settings(self, **changes: object) -> "Desk":
        return Desk(self.pool, self.settings.model_copy(update=changes), self.zone)

    async def take(self, *events: Received) -> Sequence[Rejection]:
        async with self.pool.acquire() as connection, connection.transaction():
            return await self.intake.take(connection, events)

    async def state(self, frontier: datetime) -> None:
        assert await self.statements.state_until(frontier)

    async def all_tickets(self) -> list[dict[str, Any]]:
        """All tickets, first opened first."""
        return [dict(row) for row in await self.pool.fetch("SELECT * FROM ticket ORDER BY opened_at, id")]

    async def firings(self) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.pool.fetch("SELECT * FROM firing_history ORDER BY at, trigger, id")]

    async def bins(self) -> dict[tuple[str, int], tuple[int, int]]:
        rows = await self.pool.fetch("SELECT topic_path, bin, complaints, customers FROM bin JOIN subject ON id = subject_id")
        return {(row["topic_path"], row["bin"]): (row["complaints"], row["customers"]) for row in rows if row["complaints"]}

    async def said(self) -> list[dict[str, Any]]:
        """What stands in the outbox, in order."""
        return [msgspec.json.decode(row["payload"]) for row in await self.pool.fetch("SELECT payload FROM outbox ORDER BY seq")]
