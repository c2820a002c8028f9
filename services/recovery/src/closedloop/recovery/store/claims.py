"""Who is called next: one statement for all agents who ask at the same moment, nobody twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from closedloop.common.postgres.pool import Connection
from closedloop.recovery.domain.rules import ContactLimit, Rules


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whom an agent may and wants to call. `regions` None: all."""

    regions: tuple[str, ...] | None
    segment: str | None


# Each part has one index that its conditions fit: with a second the planner would choose by statistics, which are about a queue
# that was empty a minute ago. `next_waiting` is a function for the same reason.
_CLAIM: Final = """
WITH clock AS MATERIALIZED (SELECT coalesce($4::timestamptz, clock_timestamp()) AS at),
own AS MATERIALIZED (
    SELECT r.* FROM recovery r
    WHERE r.held_by = ANY ($1::text[]) AND r.held_by IS NOT NULL AND ($2::text[] IS NULL OR r.region = ANY ($2))
),
held AS MATERIALIZED (SELECT o.* FROM own o WHERE o.lease_until > (SELECT at FROM clock)),
own_again AS MATERIALIZED (   -- an agent who let a claim run out gets it again if it is still there
    SELECT r.* FROM recovery r
    WHERE r.held_by = ANY ($1::text[]) AND r.held_by IS NOT NULL AND ($2::text[] IS NULL OR r.region = ANY ($2))
        AND r.lease_until <= (SELECT at FROM clock)
    FOR UPDATE SKIP LOCKED
),
needy AS MATERIALIZED (
    SELECT asking.agent, row_number() OVER (ORDER BY asking.place) AS place
    FROM unnest($1::text[]) WITH ORDINALITY AS asking (agent, place)
    WHERE NOT EXISTS (SELECT FROM held WHERE held.held_by = asking.agent)
        AND NOT EXISTS (SELECT FROM own_again WHERE own_again.held_by = asking.agent)
),
expired AS MATERIALIZED (     -- next come those that others let run out
    SELECT r.* FROM recovery r
    WHERE r.status = 'claimed' AND r.lease_until <= (SELECT at FROM clock) AND r.held_by <> ALL ($1)
        AND ($2::text[] IS NULL OR r.region = ANY ($2)) AND ($3::text IS NULL OR r.segment = $3)
    ORDER BY r.lease_until, r.due_at LIMIT (SELECT count(*) FROM needy) FOR UPDATE SKIP LOCKED
),
waiting AS MATERIALIZED (
    SELECT * FROM next_waiting((SELECT count(*) FROM needy) - (SELECT count(*) FROM expired), $2, $3)
),
fresh AS (
    SELECT taken.*, row_number() OVER () AS place FROM (SELECT * FROM expired UNION ALL SELECT * FROM waiting) AS taken
),
picked AS (
    SELECT recovery_id, customer_id, status, held_by, held_by AS agent FROM own_again
    UNION ALL
    SELECT fresh.recovery_id, fresh.customer_id, fresh.status, fresh.held_by, needy.agent FROM fresh JOIN needy USING (place)
),
room AS MATERIALIZED (
    SELECT p.recovery_id, p.status AS was, p.held_by AS held_before, p.agent, clock.at,
           contact_allowed_at(p.customer_id, clock.at, $6::interval[], $7::integer[]) AS allowed_at
    FROM picked p, clock
),
changed AS (
    UPDATE recovery r SET
        status = CASE WHEN room.allowed_at IS NULL THEN 'claimed' ELSE 'deferred' END,
        held_by = CASE WHEN room.allowed_at IS NULL THEN room.agent END,
        claimed_at = CASE WHEN room.allowed_at IS NULL THEN room.at END,
        lease_until = CASE WHEN room.allowed_at IS NULL THEN room.at + $5::interval END,
        claim_number = r.claim_number + (room.allowed_at IS NULL)::integer,
        available_at = room.allowed_at,
        deferred_for = CASE WHEN room.allowed_at IS NOT NULL THEN 'contact_limit' END,
        version = r.version + 1
    FROM room WHERE r.recovery_id = room.recovery_id
    RETURNING r.*, room.was, room.held_before, room.agent, room.at
),
noted AS (
    INSERT INTO recovery_history (recovery_id, at, actor, action, from_status, to_status, why, version)
    SELECT recovery_id, at, CASE status WHEN 'claimed' THEN agent ELSE 'system' END, status, was, status,
           CASE WHEN status = 'deferred' THEN 'contact limit'
                WHEN was = 'claimed' THEN 'the lease of ' || held_before || ' ran out' END,
           version
    FROM changed
)
SELECT agent, recovery_id, customer_id, region, segment, customer_class, product, process, channel, phone, status, dissatisfied_at,
       deadline, due_at, attempts, claim_number, lease_until, version, held_before
FROM changed
UNION ALL
SELECT held_by, recovery_id, customer_id, region, segment, customer_class, product, process, channel, phone, 'held',
       dissatisfied_at, deadline, due_at, attempts, claim_number, lease_until, version, NULL
FROM held"""


async def claim_next(
    connection: Connection, agents: Sequence[str], wanted: Wanted, rules: Rules, now: datetime | None = None
) -> dict[str, asyncpg.Record]:
    """Take the next customers for these agents (distinct); what each got, nothing for whom nobody waits.

    `status` of a row: `claimed`, `held` (the agent's own, again), or `deferred`: the customer's contact limit is used up and the
    recovery was put off, so ask again for the next. Raises asyncpg.UniqueViolationError where one of the agents was given
    another one at the same moment elsewhere: ask again. `now` stands in for the database's clock.
    """
    # planned anew for each round it would take longer to plan than to run; the pool undoes this when it gets the connection back
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    rows = await connection.fetch(_CLAIM, agents, wanted.regions, wanted.segment, now, rules.lease, *limit_arguments(rules.limits))
    return {row["agent"]: row for row in rows}


def limit_arguments(limits: Sequence[ContactLimit]) -> tuple[list[object], list[int]]:
    """The limits as the SQL function `contact_allowed_at` takes them."""
    return [limit.window for limit in limits], [limit.at_most for limit in limits]
