"""Contacts that other services (and surveys) plan with customers: reserved, then confirmed or released."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from closedloop.common.postgres.pool import Connection
from closedloop.recovery.domain.rules import Rules
from closedloop.recovery.store.claims import limit_arguments


async def reserve(
    connection: Connection,
    contact_id: UUID,
    customer_id: str,
    region: str,
    purpose: str,
    actor: str,
    now: datetime,
    until: datetime,
    rules: Rules,
) -> datetime | None:
    """None: reserved, and it counts until `until`. Else the customer's limit is used up, and allows one from then.

    By a function of the schema's owner, under a lock on the customer: the service's role cannot add a contact otherwise.
    """
    allowed_at: datetime | None = await connection.fetchval(
        "SELECT reserve_contact($1, $2, $3, $4, $5, $6, $7, $8::interval[], $9::integer[])",
        contact_id,
        customer_id,
        region,
        purpose,
        actor,
        now,
        until,
        *limit_arguments(rules.limits),
    )
    return allowed_at


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
    await connection.execute(
        "INSERT INTO contact_history (contact_id, at, actor, from_state, to_state) VALUES ($1, $2, $3, $4, $5)",
        contact["contact_id"],
        now,
        actor,
        contact["state"],
        state,
    )
