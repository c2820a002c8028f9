"""Signals become recoveries: a few statements a batch, however long it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from closedloop.common.postgres.pool import Connection
from closedloop.recovery.domain.candidates import Candidate
from closedloop.recovery.domain.signals import Signal, recovery_id_of


@dataclass(frozen=True, slots=True)
class Kept:
    """What `keep` wrote: signal ids by key, and how many came again under a known id with other content."""

    ids: dict[tuple[str, str], int]
    contradictions: int


@dataclass(frozen=True, slots=True)
class Landed:
    """Where a candidate's signals went. `opened` is False where an open recovery took them in."""

    candidate: Candidate
    recovery_id: UUID
    opened: bool
    status: str
    version: int
    deadline: datetime


async def keep(connection: Connection, signals: Sequence[Signal], late: Sequence[bool], now: datetime) -> Kept:
    """Insert the signals that are not known yet. Their (source, event id) must be distinct."""
    rows = await connection.fetch(
        """INSERT INTO signal (source, event_id, fingerprint, at, late, received_at, kind, customer_id, region, customer_class,
                               product, process, channel, score, reason, comment, complaint_id, order_id, contact_id, campaign_id)
           SELECT s.source, s.event_id, s.fingerprint, s.at, s.late, $1, s.kind, s.customer_id, s.region, s.customer_class,
                  s.product, s.process, s.channel, s.score, s.reason, s.comment, s.complaint_id, s.order_id, s.contact_id,
                  s.campaign_id
           FROM unnest($2::text[], $3::text[], $4::bigint[], $5::timestamptz[], $6::boolean[], $7::text[], $8::text[], $9::text[],
                       $10::text[], $11::text[], $12::text[], $13::text[], $14::float8[], $15::text[], $16::text[], $17::text[],
                       $18::text[], $19::text[], $20::text[])
                AS s (source, event_id, fingerprint, at, late, kind, customer_id, region, customer_class, product, process,
                      channel, score, reason, comment, complaint_id, order_id, contact_id, campaign_id)
           ORDER BY s.source, s.event_id
           ON CONFLICT (source, event_id) DO NOTHING
           RETURNING signal_id, source, event_id""",
        now,
        [s.source for s in signals],
        [s.event_id for s in signals],
        [s.fingerprint for s in signals],
        [s.at for s in signals],
        list(late),
        [s.kind for s in signals],
        [s.customer_id for s in signals],
        [s.region for s in signals],
        [s.customer_class for s in signals],
        [s.product for s in signals],
        [s.process for s in signals],
        [s.channel for s in signals],
        [s.score for s in signals],
        [s.reason for s in signals],
        [s.comment for s in signals],
        [s.complaint_id for s in signals],
        [s.order_id for s in signals],
        [s.contact_id for s in signals],
        [s.campaign_id for s in signals],
    )
    ids = {(row["source"], row["event_id"]): int(row["signal_id"]) for row in rows}
    known = [s for s in signals if s.key not in ids]
    return Kept(ids, await _contradictions(connection, known) if known else 0)


async def _contradictions(connection: Connection, known: Sequence[Signal]) -> int:
    found: int = await connection.fetchval(
        """SELECT count(*) FROM signal JOIN unnest($1::text[], $2::text[], $3::bigint[]) AS again (source, event_id, fingerprint)
           USING (source, event_id) WHERE signal.fingerprint <> again.fingerprint""",
        [s.source for s in known],
        [s.event_id for s in known],
        [s.fingerprint for s in known],
    )
    return found


async def land(connection: Connection, candidates: Sequence[Candidate], now: datetime) -> list[Landed]:
    """Open a recovery for each candidate, or let the customer's open one take its signals in. Customers must be distinct.

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
    await _link(connection, landed)
    await _note(connection, landed, now)
    return landed


async def _link(connection: Connection, landed: Sequence[Landed]) -> None:
    pairs = [(one.recovery_id, signal_id) for one in landed for signal_id in one.candidate.signal_ids]
    await connection.execute(
        "INSERT INTO recovery_signal (recovery_id, signal_id) SELECT * FROM unnest($1::uuid[], $2::bigint[])",
        [recovery_id for recovery_id, _ in pairs],
        [signal_id for _, signal_id in pairs],
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
    more = len(candidate.signal_ids) - 1
    return f"{candidate.first.kind} was dissatisfied" + (f", {more} more with it" if more else "")
