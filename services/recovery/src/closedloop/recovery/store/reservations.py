"""Contacts that other services (and surveys) plan with customers: reserved, then confirmed or released."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from closedloop.common.postgres.pool import Connection
from closedloop.recovery.domain.rules import Rules
from closedloop.recovery.store.claims import limit_arguments


async def allowed_at(connection: Connection, customer_id: str, rules: Rules, now: datetime) -> datetime | None:
    """None: one more contact is allowed now, and until this transaction ends nobody else takes its place. Else: from when."""
    moment: datetime | None = await connection.fetchval(
        "SELECT contact_allowed_at($1, $2, $3::interval[], $4::integer[])", customer_id, now, *limit_arguments(rules.limits)
    )
    return moment


async def insert(
    connection: Connection,
    contact_id: UUID,
    customer_id: str,
    region: str,
    purpose: str,
    actor: str,
    now: datetime,
    until: datetime,
) -> None:
    """A reservation that counts until `until`."""
    await connection.execute(
        """INSERT INTO contact (contact_id, customer_id, region, purpose, state, at, expires_at, actor)
           VALUES ($1, $2, $3, $4, 'reserved', $5, $6, $7)""",
        contact_id,
        customer_id,
        region,
        purpose,
        now,
        until,
        actor,
    )
    await _note(connection, contact_id, now, actor, None, "reserved", purpose)


async def lock(connection: Connection, contact_id: UUID, regions: Sequence[str] | None) -> asyncpg.Record | None:
    """The reservation, locked until the transaction ends. Calls that agents recorded are none."""
    return await connection.fetchrow(
        """SELECT * FROM contact WHERE contact_id = $1 AND ($2::text[] IS NULL OR region = ANY ($2))
           AND purpose <> 'recovery_call' FOR UPDATE""",
        contact_id,
        regions,
    )


async def move(connection: Connection, contact: asyncpg.Record, state: str, at: datetime, actor: str, now: datetime) -> None:
    """To its new state; `at` is when the contact took place (or was reserved)."""
    await connection.execute("UPDATE contact SET state = $2, at = $3 WHERE contact_id = $1", contact["contact_id"], state, at)
    await _note(connection, contact["contact_id"], now, actor, contact["state"], state, None)


async def _note(
    connection: Connection, contact_id: UUID, now: datetime, actor: str, before: str | None, after: str, why: str | None
) -> None:
    await connection.execute(
        "INSERT INTO contact_history (contact_id, at, actor, from_state, to_state, why) VALUES ($1, $2, $3, $4, $5, $6)",
        contact_id,
        now,
        actor,
        before,
        after,
        why,
    )
