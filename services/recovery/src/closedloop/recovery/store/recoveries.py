"""One recovery at a time: read under its lock, written with what happened to it; and lists of them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from closedloop.common.postgres.pool import Connection, Pool
from closedloop.recovery.domain.contacts import Attempt
from closedloop.recovery.domain.recovery import Recovery

_DOMAIN: Final = tuple(field.name for field in fields(Recovery))
_DOMAIN_COLUMNS: Final = ", ".join(_DOMAIN)
_SHOWN: Final = f"{_DOMAIN_COLUMNS}, customer_class, product, process, channel, phone, queued_at"
_MUTABLE: Final = tuple(name for name in _DOMAIN if name not in {"recovery_id", "customer_id", "region", "segment"})


@dataclass(frozen=True, slots=True)
class Details:
    """What stands beside the domain's fields and never changes with a step."""

    customer_class: str | None
    product: str | None
    process: str | None
    channel: str | None
    phone: str | None
    queued_at: datetime


async def lock(
    connection: Connection, recovery_id: UUID, regions: Sequence[str] | None
) -> tuple[Recovery, Details, datetime] | None:
    """The recovery, locked until the transaction ends, and the clock. None where there is none within the regions."""
    row = await connection.fetchrow(
        f"""SELECT {_SHOWN}, clock_timestamp() AS now FROM recovery
            WHERE recovery_id = $1 AND ($2::text[] IS NULL OR region = ANY ($2)) FOR UPDATE""",  # noqa: S608 (own names)
        recovery_id,
        regions,
    )
    if row is None:
        return None
    recovery = Recovery(**{name: row[name] for name in _DOMAIN})
    return recovery, Details(**{field.name: row[field.name] for field in fields(Details)}), row["now"]


_SAVE: Final = f"""
WITH saved AS (UPDATE recovery SET {", ".join(f"{name} = ${i}" for i, name in enumerate(_MUTABLE, 8))} WHERE recovery_id = $1)
INSERT INTO recovery_history (recovery_id, at, actor, action, from_status, to_status, why, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, ${8 + _MUTABLE.index("version")})"""  # noqa: S608 (own names)


async def save(
    connection: Connection, before: Recovery, after: Recovery, actor: str, action: str, why: str | None, now: datetime
) -> None:
    """Write what a step made of it, and append to the history who did what, when and why. Its row must be locked."""
    await connection.execute(
        _SAVE,
        after.recovery_id,
        now,
        actor,
        action,
        before.status,
        after.status,
        why,
        *(getattr(after, name) for name in _MUTABLE),
    )


async def other_holder(connection: Connection, recovery: Recovery, agent: str, now: datetime) -> bool:
    """Whether another agent holds the customer by another recovery (this one was closed and the customer came again)."""
    held: bool = await connection.fetchval(
        """SELECT EXISTS (SELECT FROM recovery WHERE customer_id = $1 AND recovery_id <> $2 AND status = 'claimed'
                                                 AND held_by <> $3 AND lease_until > $4)""",
        recovery.customer_id,
        recovery.recovery_id,
        agent,
        now,
    )
    return held


async def add_contact(
    connection: Connection,
    contact_id: UUID,
    after: Recovery,
    attempt: Attempt,
    agent: str,
    claim_number: int | None,
    now: datetime,
) -> None:
    """The agent's record of the call, and its place among all contacts with the customer. It took place: no limit refuses it."""
    await connection.execute(
        """INSERT INTO recovery_contact (contact_id, recovery_id, attempt, agent, claim_number, at, recorded_at, reached, result,
                                         reason, note, next_attempt_at)
           VALUES (record_call($1, $13, $14, $4, $6), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)""",
        contact_id,
        after.recovery_id,
        after.attempts,
        agent,
        claim_number,
        attempt.at,
        now,
        attempt.reached,
        attempt.result,
        attempt.reason,
        attempt.note,
        attempt.next_attempt_at,
        after.customer_id,
        after.region,
    )


async def find(pool: Pool, recovery_id: UUID, regions: Sequence[str] | None) -> asyncpg.Record | None:
    """One recovery as it is shown."""
    return await pool.fetchrow(
        f"SELECT {_SHOWN} FROM recovery WHERE recovery_id = $1 AND ($2::text[] IS NULL OR region = ANY ($2))",  # noqa: S608
        recovery_id,
        regions,
    )


async def story(pool: Pool, recovery_id: UUID) -> tuple[list[asyncpg.Record], list[asyncpg.Record], list[asyncpg.Record]]:
    """Its signals, contacts and history, each in order of time."""
    signals = await pool.fetch("SELECT * FROM signal WHERE recovery_id = $1 ORDER BY at, signal_id", recovery_id)
    contacts = await pool.fetch("SELECT * FROM recovery_contact WHERE recovery_id = $1 ORDER BY attempt", recovery_id)
    history = await pool.fetch("SELECT * FROM recovery_history WHERE recovery_id = $1 ORDER BY history_id", recovery_id)
    return signals, contacts, history


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list is asked for. `after` is the last item's (due_at, recovery_id) of the page before."""

    regions: Sequence[str] | None
    statuses: Sequence[str] | None = None
    segment: str | None = None
    customer_id: str | None = None
    due_before: datetime | None = None
    contacted: bool | None = None
    after: tuple[datetime, UUID] | None = None


async def listed(pool: Pool, listing: Listing, limit: int) -> list[asyncpg.Record]:
    """In the queue's order, one more than `limit` where there are more."""
    conditions = ["true"]
    arguments: list[Any] = []

    def where(condition: str, *values: object) -> None:
        marks = [f"${len(arguments) + i}" for i in range(1, len(values) + 1)]
        arguments.extend(values)
        conditions.append(condition.format(*marks))

    if listing.statuses is not None:
        where("status = ANY ({})", list(listing.statuses))
    if listing.regions is not None:
        where("region = ANY ({})", list(listing.regions))
    if listing.segment is not None:
        where("segment = {}", listing.segment)
    if listing.customer_id is not None:
        # in two halves, as there is an index for the open one and one for those that are done
        where("((customer_id = {0} AND status <> 'closed') OR (customer_id = {0} AND status = 'closed'))", listing.customer_id)
    if listing.due_before is not None:
        where("due_at < {}", listing.due_before)
    if listing.contacted is not None:
        conditions.append(f"first_contact_at IS {'NOT ' if listing.contacted else ''}NULL")
    if listing.after is not None:
        where("(due_at, recovery_id) > ({}, {})", *listing.after)
    return await pool.fetch(
        f"""SELECT {_SHOWN} FROM recovery WHERE {" AND ".join(conditions)}
            ORDER BY due_at, recovery_id LIMIT ${len(arguments) + 1}""",  # noqa: S608 (own conditions, values are arguments)
        *arguments,
        limit + 1,
    )


async def reveal(connection: Connection, recovery_id: UUID, actor: str, client: str, why: str, now: datetime | None = None) -> None:
    """Write down who saw the number, when and why. `now` stands in for the database's clock."""
    await connection.execute(
        """INSERT INTO phone_reveal_history (recovery_id, at, actor, client, why)
           VALUES ($1, coalesce($2, clock_timestamp()), $3, $4, $5)""",
        recovery_id,
        now,
        actor,
        client,
        why,
    )
