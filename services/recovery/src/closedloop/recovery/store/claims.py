"""Who is called next: one statement, one round trip, nobody twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from closedloop.common.postgres.pool import Connection, Pool
from closedloop.recovery.domain.rules import ContactLimit, Rules


@dataclass(frozen=True, slots=True)
class ClaimFilter:
    """Whom an agent may and wants to call. `regions` None: all."""

    agent: str
    regions: Sequence[str] | None
    segment: str | None


# The head of the queue for each way of asking; each walks one partial index from its beginning and locks what it takes.
# Several regions: the head of each, and of these the first; the others are let go with the transaction.
_HEAD: Final = {
    (
        False,
        False,
    ): "SELECT w.* FROM recovery w WHERE w.status = 'waiting' {unheld} ORDER BY w.due_at LIMIT 1 FOR UPDATE SKIP LOCKED",
    (False, True): """SELECT w.* FROM recovery w WHERE w.status = 'waiting' AND w.segment = $3 {unheld}
                      ORDER BY w.due_at LIMIT 1 FOR UPDATE SKIP LOCKED""",
    (True, False): """SELECT head.* FROM unnest($2::text[]) AS own (region), LATERAL (
                          SELECT w.* FROM recovery w WHERE w.status = 'waiting' AND w.region = own.region {unheld}
                          ORDER BY w.due_at LIMIT 1 FOR UPDATE SKIP LOCKED) AS head
                      ORDER BY head.due_at LIMIT 1""",
    (True, True): """SELECT head.* FROM unnest($2::text[]) AS own (region), LATERAL (
                         SELECT w.* FROM recovery w
                         WHERE w.status = 'waiting' AND w.region = own.region AND w.segment = $3 {unheld}
                         ORDER BY w.due_at LIMIT 1 FOR UPDATE SKIP LOCKED) AS head
                     ORDER BY head.due_at LIMIT 1""",
}
_UNHELD: Final = "AND NOT EXISTS (SELECT FROM held) AND NOT EXISTS (SELECT FROM expired)"

_CLAIM: Final = """
WITH clock AS MATERIALIZED (SELECT coalesce($4::timestamptz, clock_timestamp()) AS at),
held AS MATERIALIZED (
    SELECT r.* FROM recovery r WHERE r.held_by = $1 AND r.status = 'claimed' AND r.lease_until > (SELECT at FROM clock)
        AND ($2::text[] IS NULL OR r.region = ANY ($2))
),
expired AS MATERIALIZED (   -- whoever let a claim run out comes first, and gets their own again if it is still there
    SELECT r.* FROM recovery r
    WHERE r.status = 'claimed' AND r.lease_until <= (SELECT at FROM clock) AND NOT EXISTS (SELECT FROM held)
        AND ($2::text[] IS NULL OR r.region = ANY ($2)) AND ($3::text IS NULL OR r.segment = $3 OR r.held_by = $1)
    ORDER BY r.held_by = $1 DESC, r.lease_until LIMIT 1 FOR UPDATE SKIP LOCKED
),
waiting AS MATERIALIZED ({head}),
picked AS (SELECT * FROM expired UNION ALL SELECT * FROM waiting),
room AS MATERIALIZED (
    SELECT p.recovery_id, p.status AS was, p.held_by AS held_before, clock.at,
           contact_allowed_at(p.customer_id, clock.at, $6::interval[], $7::integer[]) AS allowed_at
    FROM picked p, clock
),
changed AS (
    UPDATE recovery r SET
        status = CASE WHEN room.allowed_at IS NULL THEN 'claimed' ELSE 'deferred' END,
        held_by = CASE WHEN room.allowed_at IS NULL THEN $1 END,
        claimed_at = CASE WHEN room.allowed_at IS NULL THEN room.at END,
        lease_until = CASE WHEN room.allowed_at IS NULL THEN room.at + $5::interval END,
        claim_number = r.claim_number + (room.allowed_at IS NULL)::integer,
        available_at = room.allowed_at,
        deferred_for = CASE WHEN room.allowed_at IS NOT NULL THEN 'contact_limit' END,
        version = r.version + 1
    FROM room WHERE r.recovery_id = room.recovery_id
    RETURNING r.*, room.was, room.held_before, room.at
),
noted AS (
    INSERT INTO recovery_history (recovery_id, at, actor, action, from_status, to_status, why, version)
    SELECT recovery_id, at, CASE status WHEN 'claimed' THEN $1 ELSE 'system' END, status, was, status,
           CASE WHEN status = 'deferred' THEN 'contact limit'
                WHEN was = 'claimed' THEN 'the lease of ' || held_before || ' ran out' END,
           version
    FROM changed
)
SELECT recovery_id, customer_id, region, segment, customer_class, product, process, channel, phone, status, dissatisfied_at,
       deadline, due_at, attempts, first_contact_at, claim_number, lease_until, version, held_before
FROM changed
UNION ALL
SELECT recovery_id, customer_id, region, segment, customer_class, product, process, channel, phone, 'held', dissatisfied_at,
       deadline, due_at, attempts, first_contact_at, claim_number, lease_until, version, NULL
FROM held"""

_STATEMENTS: Final = {asked: _CLAIM.format(head=head.format(unheld=_UNHELD)) for asked, head in _HEAD.items()}


async def claim_next(
    connection: "Connection | Pool", wanted: ClaimFilter, rules: Rules, now: datetime | None = None
) -> asyncpg.Record | None:
    """Take the next customer for the agent. `status` of the row: `claimed`, `held` (the agent's own, again), or `deferred`.

    Deferred: the customer's contact limit is used up, the recovery was put off; ask again for the next. None: nobody waits.
    Raises asyncpg.UniqueViolationError where the same agent was given another one at the same moment: ask again.
    `now` stands in for the database's clock.
    """
    statement = _STATEMENTS[wanted.regions is not None, wanted.segment is not None]
    return await connection.fetchrow(
        statement, wanted.agent, wanted.regions, wanted.segment, now, rules.lease, *limit_arguments(rules.limits)
    )


def limit_arguments(limits: Sequence[ContactLimit]) -> tuple[list[object], list[int]]:
    """The limits as the SQL function `contact_allowed_at` takes them."""
    return [limit.window for limit in limits], [limit.at_most for limit in limits]
