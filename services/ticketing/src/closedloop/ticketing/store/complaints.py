"""Complaints and enquiries per subject, and their bins: in each bin how many came, and how many of them count."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import asyncpg

from closedloop.common.postgres.pool import Connection
from closedloop.ticketing.domain.bins import BIN_SECONDS
from closedloop.ticketing.domain.firing import Evidence

Kind = Literal["complaint", "enquiry"]
COMPLAINT: Final[Kind] = "complaint"
ENQUIRY: Final[Kind] = "enquiry"
OLD_AFTER: Final = "1 hour"
"""A complaint that is older when it comes is from an import or after an outage: more like it may follow."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """One complaint (or enquiry) to be counted."""

    kind: Kind
    topic_path: str
    customer_id: str
    at: datetime
    source: str
    event_id: str
    complaint_id: str
    region: str


async def count(connection: Connection, complaints: Sequence[Complaint], max_subjects: int, settle_s: float) -> int:
    """Store the complaints and bring the bins up to date, in the open transaction, in whatever order complaints come.

    Locks the subjects' rows: whoever counts for a subject does it alone. Returns how many were not counted, as their
    subjects are beyond the greatest number of subjects.
    """
    if not complaints:
        return 0
    subjects = await _subjects(connection, complaints, max_subjects, settle_s)
    tracked = [(subjects[c.kind, c.topic_path], c) for c in complaints if (c.kind, c.topic_path) in subjects]
    if not tracked:
        return len(complaints)
    await connection.execute(
        """INSERT INTO complaint (subject_id, customer_id, at, source, event_id, complaint_id, region)
           SELECT * FROM unnest($1::int[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[])""",
        [subject for subject, _ in tracked],
        [c.customer_id for _, c in tracked],
        [c.at for _, c in tracked],
        [c.source for _, c in tracked],
        [c.event_id for _, c in tracked],
        [c.complaint_id for _, c in tracked],
        [c.region for _, c in tracked],
    )
    spans: dict[tuple[int, str], tuple[datetime, datetime]] = {}
    for subject, c in tracked:
        first, last = spans.get((subject, c.customer_id), (c.at, c.at))
        spans[subject, c.customer_id] = min(first, c.at), max(last, c.at)
    # Whether a complaint counts depends on the customer's complaint right before it alone (domain/distinct.py), if that is
    # less than 24 h away. New ones are taken to count; then the customer's complaints from the first new one to 24 h after the
    # last new one are looked at again, and the bins take the differences.
    await connection.execute(
        """WITH near AS (
               SELECT c.id, c.subject_id, c.at, c.counts AS counted, t.first_at,
                      coalesce(c.at - lag(c.at) OVER customers >= interval '24 hours', true) AS counts
               FROM unnest($1::int[], $2::text[], $3::timestamptz[], $4::timestamptz[])
                    AS t (subject_id, customer_id, first_at, last_at)
               JOIN complaint AS c ON c.subject_id = t.subject_id AND c.customer_id = t.customer_id
                AND c.at BETWEEN t.first_at - interval '24 hours' AND t.last_at + interval '24 hours'
               WINDOW customers AS (PARTITION BY c.subject_id, c.customer_id ORDER BY c.at, c.source, c.event_id)
           ), changed AS (
               UPDATE complaint AS c SET counts = near.counts FROM near
               WHERE c.id = near.id AND near.counts <> near.counted AND near.at >= near.first_at
               RETURNING c.subject_id, c.at, CASE WHEN c.counts THEN 1 ELSE -1 END AS customers
           ), differences AS (
               SELECT subject_id, at, 0 AS complaints, customers FROM changed
               UNION ALL
               SELECT subject_id, at, 1, 1 FROM unnest($5::int[], $6::timestamptz[]) AS n (subject_id, at)
           )
           INSERT INTO bin AS b (subject_id, bin, complaints, customers)
           SELECT subject_id, floor(extract(epoch FROM at) / $7)::int, sum(complaints), sum(customers)
           FROM differences GROUP BY 1, 2 ORDER BY 1, 2
           ON CONFLICT (subject_id, bin) DO UPDATE
           SET complaints = b.complaints + excluded.complaints, customers = b.customers + excluded.customers""",
        [subject for subject, _ in spans],
        [customer for _, customer in spans],
        [first for first, _ in spans.values()],
        [last for _, last in spans.values()],
        [subject for subject, _ in tracked],
        [c.at for _, c in tracked],
        BIN_SECONDS,
    )
    return len(complaints) - len(tracked)


async def _subjects(
    connection: Connection, complaints: Sequence[Complaint], max_subjects: int, settle_s: float
) -> dict[tuple[str, str], int]:
    """The ids of the complaints' subjects, made where they are new, their rows locked and their spans widened."""
    spans: dict[tuple[str, str], tuple[datetime, datetime]] = {}
    for c in complaints:
        key = (c.kind, c.topic_path)
        first, last = spans.get(key, (c.at, c.at))
        spans[key] = (min(first, c.at), max(last, c.at))
    keys = sorted(spans)
    known = await connection.fetch(
        "SELECT kind, topic_path FROM subject JOIN unnest($1::text[], $2::text[]) AS k (kind, topic_path) USING (kind, topic_path)",
        [kind for kind, _ in keys],
        [path for _, path in keys],
    )
    missing = len(keys) - len(known)
    if missing:
        room = max_subjects - await connection.fetchval("SELECT count(*) FROM subject")
        if room < missing:
            old = {(row["kind"], row["topic_path"]) for row in known}
            new = [key for key in keys if key not in old][: max(room, 0)]
            keys = sorted([*old, *new])
    rows = await connection.fetch(
        f"""INSERT INTO subject AS s (kind, topic_path, first_at, last_at, backfill_since, backfilled_at)
           SELECT kind, topic_path, first_at, last_at, old, old
           FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[]) AS n (kind, topic_path, first_at, last_at),
                LATERAL (SELECT CASE WHEN first_at < clock_timestamp() - interval '{OLD_AFTER}'
                                     THEN clock_timestamp() END) AS o (old)
           ORDER BY kind, topic_path
           ON CONFLICT (kind, topic_path) DO UPDATE
           SET first_at = least(s.first_at, excluded.first_at), last_at = greatest(s.last_at, excluded.last_at),
               backfilled_at = coalesce(excluded.backfilled_at, s.backfilled_at),
               backfill_since = CASE WHEN excluded.backfilled_at IS NULL
                                       OR s.backfilled_at > excluded.backfilled_at - make_interval(secs => $5)
                                     THEN s.backfill_since ELSE excluded.backfilled_at END
           RETURNING s.id, s.kind, s.topic_path""",  # noqa: S608 (a constant of this module)
        [kind for kind, _ in keys],
        [path for _, path in keys],
        [spans[key][0] for key in keys],
        [spans[key][1] for key in keys],
        settle_s,
    )
    return {(row["kind"], row["topic_path"]): row["id"] for row in rows}


async def topics_of(connection: Connection, complaint_ids: Sequence[str]) -> dict[str, str]:
    """The subject each of these complaints was registered under, where it is known; the first registration wins."""
    rows = await connection.fetch(
        """SELECT DISTINCT ON (c.complaint_id) c.complaint_id, s.topic_path
           FROM complaint AS c JOIN subject AS s ON s.id = c.subject_id
           WHERE c.complaint_id = ANY ($1) AND s.kind = 'complaint' ORDER BY c.complaint_id, c.at, c.id""",
        list(complaint_ids),
    )
    return {row["complaint_id"]: row["topic_path"] for row in rows}


async def evidence(connection: Connection, subject_id: int, start: datetime, end: datetime, at_most: int) -> Evidence:
    """Each customer's first complaint in [start, end): customers per region, and the newest complaints."""
    regions = await connection.fetch(
        """SELECT region, count(*) AS customers FROM (
               SELECT DISTINCT ON (customer_id) region FROM complaint
               WHERE subject_id = $1 AND at >= $2 AND at < $3 ORDER BY customer_id, at, id) AS firsts
           GROUP BY region ORDER BY 2 DESC, 1""",
        subject_id,
        start,
        end,
    )
    complaints = await connection.fetch(
        """SELECT complaint_id, region, at FROM complaint
           WHERE subject_id = $1 AND at >= $2 AND at < $3 ORDER BY at DESC, id DESC LIMIT $4""",
        subject_id,
        start,
        end,
        at_most,
    )
    return Evidence({row["region"]: row["customers"] for row in regions}, [_listed(row) for row in complaints])


def _listed(row: asyncpg.Record) -> dict[str, Any]:
    return {"complaint_id": row["complaint_id"], "region": row["region"], "at": row["at"].isoformat()}


async def per_day(connection: Connection, topic_path: str, spans: Sequence[tuple[datetime, datetime]]) -> list[float | None]:
    """Complaints that count per day within each span of event time; None where a span is empty."""
    totals = await connection.fetchval(
        """SELECT array_agg((SELECT count(*) FROM complaint AS c JOIN subject AS s ON s.id = c.subject_id
                             WHERE s.kind = 'complaint' AND s.topic_path = $1
                               AND c.counts AND c.at >= span.first AND c.at < span.stop) ORDER BY span.place)
           FROM unnest($2::timestamptz[], $3::timestamptz[]) WITH ORDINALITY AS span (first, stop, place)""",
        topic_path,
        [start for start, _ in spans],
        [end for _, end in spans],
    )
    days = [(end - start).total_seconds() / 86_400 for start, end in spans]
    return [round(total / length, 2) if length > 0 else None for total, length in zip(totals, days, strict=True)]


async def forget(connection: Connection, received_before: datetime, at_most: int) -> int:
    """Drop complaints received before, at most so many rows; returns how many."""
    status = await connection.execute(
        """DELETE FROM complaint WHERE id = ANY (ARRAY(
               SELECT id FROM complaint WHERE received_at < $1 ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED))""",
        received_before,
        at_most,
    )
    return int(status.split()[-1])
