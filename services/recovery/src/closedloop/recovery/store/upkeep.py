"""What time moves: leases and reservations that run out, attempts that come due, what is kept no longer; and the figures."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from closedloop.common.postgres.pool import Connection, Pool

BATCH: Final = 1000

_EXPIRE_LEASES: Final = """
WITH gone AS (
    SELECT recovery_id, held_by FROM recovery WHERE status = 'claimed' AND lease_until <= $1
    ORDER BY lease_until LIMIT $2 FOR UPDATE SKIP LOCKED
),
changed AS (
    UPDATE recovery r SET status = 'waiting', held_by = NULL, claimed_at = NULL, lease_until = NULL, version = r.version + 1
    FROM gone WHERE r.recovery_id = gone.recovery_id RETURNING r.recovery_id, r.version, gone.held_by
)
INSERT INTO recovery_history (recovery_id, at, actor, action, from_status, to_status, why, version)
SELECT recovery_id, $1, 'system', 'lease_expired', 'claimed', 'waiting', 'the lease of ' || held_by || ' ran out', version
FROM changed"""

_REQUEUE: Final = """
WITH due AS (
    SELECT recovery_id, deferred_for FROM recovery WHERE status = 'deferred' AND available_at <= $1
    ORDER BY available_at LIMIT $2 FOR UPDATE SKIP LOCKED
),
changed AS (
    UPDATE recovery r SET status = 'waiting', available_at = NULL, deferred_for = NULL, version = r.version + 1
    FROM due WHERE r.recovery_id = due.recovery_id RETURNING r.recovery_id, r.version, due.deferred_for
)
INSERT INTO recovery_history (recovery_id, at, actor, action, from_status, to_status, why, version)
SELECT recovery_id, $1, 'system', 'requeued', 'deferred', 'waiting',
       CASE deferred_for WHEN 'contact_limit' THEN 'the contact limit allows it again' ELSE 'the next attempt is due' END, version
FROM changed"""

_EXPIRE_RESERVATIONS: Final = """
WITH gone AS (
    SELECT contact_id, customer_id FROM contact WHERE state = 'reserved' AND expires_at <= $1
    ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
),
changed AS (
    UPDATE contact c SET state = 'expired' FROM gone WHERE c.contact_id = gone.contact_id RETURNING c.contact_id, c.customer_id
),
noted AS (
    INSERT INTO contact_history (contact_id, at, actor, from_state, to_state, why)
    SELECT contact_id, $1, 'system', 'reserved', 'expired', 'it was neither confirmed nor released in time' FROM changed
)
SELECT DISTINCT customer_id FROM changed"""


# Without a first contact `due_at` is the deadline. Each part walks the index of its status, so that claims keep one index less.
_UNMET: Final = """
SELECT region, count(*) FILTER (WHERE due_at >= $1) AS soon, count(*) FILTER (WHERE due_at < $1) AS overdue
FROM (
    SELECT region, due_at, first_contact_at FROM recovery WHERE status = 'waiting' AND due_at < $2
    UNION ALL
    SELECT region, due_at, first_contact_at FROM recovery WHERE status = 'claimed' AND due_at < $2
    UNION ALL
    SELECT region, due_at, first_contact_at FROM recovery WHERE status = 'deferred' AND due_at < $2
) AS open WHERE first_contact_at IS NULL GROUP BY region"""


async def expire_leases(connection: "Connection | Pool", now: datetime) -> int:
    """Give back what agents did not come back to; how many."""
    return _count(await connection.execute(_EXPIRE_LEASES, now, BATCH))


async def requeue(connection: "Connection | Pool", now: datetime) -> int:
    """Put what waited for its time back into the queue; how many."""
    return _count(await connection.execute(_REQUEUE, now, BATCH))


async def expire_reservations(connection: Connection, now: datetime) -> int:
    """End reservations that ran out and let their customers be called again; how many customers."""
    rows = await connection.fetch(_EXPIRE_RESERVATIONS, now, BATCH)
    await wake(connection, [row["customer_id"] for row in rows], now)
    return len(rows)


async def wake(connection: Connection, customers: list[str], now: datetime) -> None:
    """A contact that was counted no longer is: whoever waits for the limit is looked at again by the next `requeue`."""
    if customers:
        await connection.execute(
            """WITH limited AS (   -- in the consumer's order of locking
                   SELECT recovery_id FROM recovery
                   WHERE customer_id = ANY ($1) AND status = 'deferred' AND deferred_for = 'contact_limit'
                   ORDER BY customer_id FOR UPDATE
               )
               UPDATE recovery r SET available_at = least(r.available_at, $2)
               FROM limited WHERE r.recovery_id = limited.recovery_id""",
            customers,
            now,
        )


async def forget_recoveries(pool: Pool, closed_before: datetime, at_most: int) -> int:
    """Drop closed recoveries with their signals, calls and histories, the oldest first; how many.

    By a function of the schema's owner: the service's role cannot delete from histories, and young ones stay whatever it asks.
    """
    gone: int = await pool.fetchval("SELECT forget_recoveries($1, $2)", closed_before, at_most)
    return gone


async def forget_contacts(pool: Pool, ended_before: datetime, at_most: int) -> int:
    """Drop contacts with their histories, as `forget_recoveries` does; how many."""
    gone: int = await pool.fetchval("SELECT forget_contacts($1, $2)", ended_before, at_most)
    return gone


async def forget_late_signals(pool: Pool, received_before: datetime, at_most: int) -> int:
    """Drop signals that were too old on arrival to belong to a recovery; how many."""
    return _count(
        await pool.execute(
            """DELETE FROM signal WHERE signal_id = ANY (ARRAY(
                   SELECT signal_id FROM signal WHERE recovery_id IS NULL AND received_at < $1
                   ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED))""",
            received_before,
            at_most,
        )
    )


@dataclass(frozen=True, slots=True)
class Figures:
    """The queue at one moment, by region."""

    now: datetime
    waiting: list[asyncpg.Record]
    unmet: list[asyncpg.Record]
    others: list[asyncpg.Record]


async def figures(pool: Pool, soon: timedelta) -> Figures:
    """Counts by region: `waiting` (with the oldest's event time), `unmet` (no first contact: due soon, overdue), by status."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        now = await connection.fetchval("SELECT clock_timestamp()")
        waiting = await connection.fetch(
            "SELECT region, count(*) AS n, min(queued_at) AS oldest FROM recovery WHERE status = 'waiting' GROUP BY region"
        )
        unmet = await connection.fetch(_UNMET, now, now + soon)
        others = await connection.fetch(
            "SELECT status, count(*) AS n FROM recovery WHERE status IN ('claimed', 'deferred') GROUP BY status"
        )
    return Figures(now, waiting, unmet, others)


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])
