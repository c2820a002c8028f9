"""What has been stated about each subject, and what the statements are made from."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from closedloop.common.postgres.pool import Connection
from closedloop.ticketing.domain.burst import Firing
from closedloop.ticketing.domain.record import Sparse
from closedloop.ticketing.store.complaints import Kind


@dataclass(frozen=True, slots=True)
class Subject:
    """One subject. `batch_until` and `hot_until`: up to there statements are made; None: none so far."""

    id: int
    kind: Kind
    topic_path: str
    first_at: datetime
    last_at: datetime
    batch_until: datetime | None
    hot_until: datetime | None
    hot_fired_at: datetime | None
    active_from: int | None
    """The first bin whose complaints may make a step fire about which nothing is stated."""
    due_for_batch: bool
    due_for_hot: bool


async def due(
    connection: Connection, step: datetime, minute: datetime, settle_s: float, settle_at_most_s: float, at_most: int
) -> list[Subject]:
    """Subjects about which something may be stated: whose complaints may make ten-minute steps up to `step` fire (until 24 h
    after the last of them), or came in minutes up to `minute`. Not those to which old complaints are just being added."""
    rows = await connection.fetch(
        """SELECT s.id, kind, topic_path, first_at, last_at, batch_until, hot_until, hot_fired_at, due_for_batch, due_for_hot,
                  (SELECT min(bin) FROM bin AS b WHERE b.subject_id = s.id
                      AND (batch_until IS NULL OR bin >= extract(epoch FROM batch_until)::bigint / 600 - 144)) AS active_from
           FROM subject AS s, LATERAL (SELECT
               kind = 'complaint' AND coalesce(batch_until, first_at)
                   < least($1, to_timestamp(floor(extract(epoch FROM last_at) / 600) * 600 + 86400)) AS due_for_batch,
               coalesce(hot_until, first_at - interval '1 minute')
                   < least($2, date_trunc('minute', last_at, 'UTC') + interval '1 minute') AS due_for_hot) AS d
           WHERE (due_for_batch OR due_for_hot)
             AND (backfilled_at IS NULL OR backfilled_at <= clock_timestamp() - make_interval(secs => $3)
                  OR backfill_since <= clock_timestamp() - make_interval(secs => $4))
           ORDER BY s.id LIMIT $5""",
        step,
        minute,
        settle_s,
        settle_at_most_s,
        at_most,
    )
    return [Subject(**row) for row in rows]


@dataclass(frozen=True, slots=True)
class SubjectBins:
    """A subject's bins: customers that count, and all complaints."""

    customers: Sparse
    complaints: Sparse


async def bins(connection: Connection, subject_ids: Sequence[int], first: int, stop: int) -> dict[int, SubjectBins]:
    """Per subject its bins of [first, stop)."""
    rows = await connection.fetch(
        """SELECT subject_id, array_agg(bin) AS bins, array_agg(customers) AS customers, array_agg(complaints) AS complaints
           FROM bin WHERE subject_id = ANY ($1) AND bin >= $2 AND bin < $3 GROUP BY subject_id""",
        list(subject_ids),
        first,
        stop,
    )
    none = SubjectBins(Sparse.of(()), Sparse.of(()))
    found = {
        row["subject_id"]: SubjectBins(
            Sparse.of(zip(row["bins"], row["customers"], strict=True)), Sparse.of(zip(row["bins"], row["complaints"], strict=True))
        )
        for row in rows
    }
    return {subject: found.get(subject, none) for subject in subject_ids}


async def everyone(connection: Connection, first: int, stop: int) -> Sparse:
    """All subjects' complaints that count, per bin of [first, stop)."""
    rows = await connection.fetch(
        """SELECT b.bin, sum(b.customers)::int AS customers FROM bin AS b JOIN subject AS s ON s.id = b.subject_id
           WHERE s.kind = 'complaint' AND b.bin >= $1 AND b.bin < $2 GROUP BY b.bin""",
        first,
        stop,
    )
    return Sparse.of((row["bin"], row["customers"]) for row in rows)


async def customers_between(connection: Connection, subject_id: int, start: datetime, end: datetime) -> list[tuple[datetime, str]]:
    """(time, customer) of all the subject's complaints in [start, end), by time."""
    rows = await connection.fetch(
        "SELECT at, customer_id FROM complaint WHERE subject_id = $1 AND at >= $2 AND at < $3 ORDER BY at, id",
        subject_id,
        start,
        end,
    )
    return [(row["at"], row["customer_id"]) for row in rows]


async def batch_firings(connection: Connection, topic_paths: Sequence[str], since: datetime) -> dict[str, list[Firing]]:
    """Per topic path the batch trigger's firings whose windows ended later than `since`, earliest first."""
    rows = await connection.fetch(
        """SELECT t.topic_path, f.window_start, f.window_end, f.expected, f.observed, f.details
           FROM firing_history AS f JOIN ticket AS t ON t.id = f.ticket_id
           WHERE f.trigger = 'batch' AND f.at > $2 AND t.topic_path = ANY ($1) ORDER BY f.at""",
        list(topic_paths),
        since,
    )
    found: dict[str, list[Firing]] = defaultdict(list)
    for row in rows:
        start, end = row["window_start"], row["window_end"]
        firing = Firing(end - start, start, end, row["expected"], int(row["observed"]), row["details"]["p_value"])
        found[row["topic_path"]].append(firing)
    return found


async def stated(connection: Connection, reached: Sequence[tuple[int, datetime | None, datetime | None, datetime | None]]) -> None:
    """Note per subject up to where batch and hot are stated, and the hot trigger's last firing. None: as it was."""
    # in the order in which the consumer locks them
    await connection.execute(
        "SELECT FROM subject WHERE id = ANY ($1) ORDER BY kind, topic_path FOR NO KEY UPDATE", [row[0] for row in reached]
    )
    await connection.execute(
        """UPDATE subject AS s
           SET batch_until = coalesce(n.batch_until, s.batch_until), hot_until = coalesce(n.hot_until, s.hot_until),
               hot_fired_at = coalesce(n.hot_fired_at, s.hot_fired_at)
           FROM unnest($1::int[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[])
                AS n (id, batch_until, hot_until, hot_fired_at)
           WHERE s.id = n.id""",
        *([row[place] for row in reached] for place in range(4)),
    )


async def number(connection: Connection) -> int:
    """How many subjects there are."""
    subjects: int = await connection.fetchval("SELECT count(*) FROM subject")
    return subjects


async def forget(connection: Connection, before_bin: int) -> None:
    """Drop bins that are older and whose complaints are forgotten, then subjects of which nothing is left."""
    await connection.execute(
        """DELETE FROM bin AS b USING subject AS s
           WHERE b.subject_id = s.id AND b.bin < $1
             AND NOT EXISTS (SELECT FROM complaint AS c WHERE c.subject_id = s.id AND c.at < to_timestamp(($1 + 1) * 600.0))""",
        before_bin,
    )
    async with connection.transaction():
        # locked first, so that the consumer cannot be adding to them while they are looked at
        rows = await connection.fetch(
            """SELECT id FROM subject AS s WHERE NOT EXISTS (SELECT FROM bin AS b WHERE b.subject_id = s.id)
               FOR UPDATE SKIP LOCKED"""
        )
        await connection.execute(
            """DELETE FROM subject AS s WHERE id = ANY ($1)
                 AND NOT EXISTS (SELECT FROM bin AS b WHERE b.subject_id = s.id)
                 AND NOT EXISTS (SELECT FROM complaint AS c WHERE c.subject_id = s.id)""",
            [row["id"] for row in rows],
        )
