"""Signals become recoveries: a few statements a batch, however long it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from closedloop.common.postgres.pool import Connection
from closedloop.recovery.domain.candidates import Candidate
from closedloop.recovery.domain.signals import Signal, recovery_id_of


@dataclass(frozen=True, slots=True)
class Landed:
    """Where a candidate's signals went. `opened` is False where an open recovery took them in."""

    candidate: Candidate
    recovery_id: UUID
    opened: bool
    status: str
    version: int
    deadline: datetime


async def land(connection: Connection, candidates: Sequence[Candidate], now: datetime) -> list[Landed]:
    """Open a recovery for each candidate, or find the customer's open one, which takes its signals in. Customers must be distinct.

    Rows are locked in the order of customers; the API's transactions hold one recovery at a time, so none waits in a circle.
    """
    rows = await connection.fetch(
        """INSERT INTO recovery AS r (recovery_id, customer_id, region, segment, customer_class, product, process, channel, phone,
                                      status, dissatisfied_at, deadline, due_at, queued_at)
           SELECT c.recovery_id, c.customer_id, c.region, c.segment, c.customer_class, c.product, c.process, c.channel, c.phone,
                  'waiting', c.dissatisfied_at, c.deadline, c.deadline, $1
           FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                       $10::text[], $11::timestamptz[], $12::timestamptz[])
                AS c (recovery_id, customer_id, region, segment, customer_class, product, process, channel, phone,
                      dissatisfied_at, deadline)
           ORDER BY c.customer_id
           ON CONFLICT (customer_id) WHERE status <> 'closed' DO UPDATE SET
               dissatisfied_at = least(r.dissatisfied_at, excluded.dissatisfied_at),
               deadline = least(r.deadline, excluded.deadline),
               due_at = CASE WHEN r.first_contact_at IS NULL THEN least(r.due_at, excluded.due_at) ELSE r.due_at END,
               phone = coalesce(excluded.phone, r.phone),
               version = r.version + 1
           RETURNING r.customer_id, r.recovery_id, xmax = 0 AS opened, r.status, r.version, r.deadline""",
        now,
        [recovery_id_of(c.first) for c in candidates],
        [c.first.customer_id for c in candidates],
        [c.first.region for c in candidates],
        [c.segment for c in candidates],
        [c.first.customer_class for c in candidates],
        [c.first.product for c in candidates],
        [c.first.process for c in candidates],
        [c.first.channel for c in candidates],
        [c.phone for c in candidates],
        [c.dissatisfied_at for c in candidates],
        [c.deadline for c in candidates],
    )
    of_customer = {candidate.first.customer_id: candidate for candidate in candidates}
    landed = [
        Landed(of_customer[r["customer_id"]], r["recovery_id"], r["opened"], r["status"], r["version"], r["deadline"]) for r in rows
    ]
    await _note(connection, landed, now)
    return landed


async def keep(connection: Connection, signals: Sequence[tuple[Signal, UUID | None]], now: datetime) -> None:
    """Add the signals to their recoveries; None: too old on arrival, kept for analysis."""
    said = [signal for signal, _ in signals]
    await connection.execute(
        """INSERT INTO signal (received_at, recovery_id, source, event_id, at, kind, customer_id, region, customer_class, product,
                               process, channel, score, reason, comment, complaint_id, order_id, contact_id, campaign_id)
           SELECT $1, s.*
           FROM unnest($2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[], $8::text[], $9::text[],
                       $10::text[], $11::text[], $12::text[], $13::float8[], $14::text[], $15::text[], $16::text[], $17::text[],
                       $18::text[], $19::text[]) AS s""",
        now,
        [recovery_id for _, recovery_id in signals],
        [s.source for s in said],
        [s.event_id for s in said],
        [s.at for s in said],
        [s.kind for s in said],
        [s.customer_id for s in said],
        [s.region for s in said],
        [s.customer_class for s in said],
        [s.product for s in said],
        [s.process for s in said],
        [s.channel for s in said],
        [s.score for s in said],
        [s.reason for s in said],
        [s.comment for s in said],
        [s.complaint_id for s in said],
        [s.order_id for s in said],
        [s.contact_id for s in said],
        [s.campaign_id for s in said],
    )


async def _note(connection: Connection, landed: Sequence[Landed], now: datetime) -> None:
    await connection.execute(
        """INSERT INTO recovery_history (recovery_id, at, actor, action, from_status, to_status, why, version)
           SELECT l.recovery_id, $1, 'system', CASE WHEN l.opened THEN 'queued' ELSE 'signal_added' END,
                  CASE WHEN l.opened THEN NULL ELSE l.status END, l.status, l.why, l.version
           FROM unnest($2::uuid[], $3::boolean[], $4::text[], $5::text[], $6::bigint[])
                AS l (recovery_id, opened, status, why, version)""",
        now,
        [one.recovery_id for one in landed],
        [one.opened for one in landed],
        [one.status for one in landed],
        [_why(one.candidate) for one in landed],
        [one.version for one in landed],
    )


def _why(candidate: Candidate) -> str:
    more = len(candidate.signals) - 1
    return f"{candidate.first.kind} was dissatisfied" + (f", {more} more with it" if more else "")
