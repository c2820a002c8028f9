"""Which events were taken already: (source, id), whatever Kafka or a producer repeats. The first content wins."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

import msgspec

from closedloop.common.consumer.rows import Received
from closedloop.common.postgres.pool import Connection
from closedloop.ticketing import metrics

_encode = msgspec.json.Encoder(order="sorted").encode


def fingerprint(received: Received) -> int:
    """64 bits of type, time and data: equal for an event that is repeated in another mode or layout."""
    event = received.event
    content = _encode([event.type, received.at, event.data])
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), signed=True)


async def take(connection: Connection, received: Sequence[Received]) -> list[Received]:
    """Note the events in the open transaction and return those that are new, in order; repetitions are counted."""
    first: dict[tuple[str, str], tuple[Received, int]] = {}
    repeated = other = 0
    repetitions: list[tuple[tuple[str, str], int]] = []
    for one in received:
        key = (one.event.source, one.event.id)
        mark = fingerprint(one)
        known = first.setdefault(key, (one, mark))
        if known[0] is not one:
            repetitions.append((key, mark))
    rows = await connection.fetch(
        """INSERT INTO inbox (source, event_id, fingerprint)
           SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) AS e (source, event_id, fingerprint) ORDER BY 1, 2
           ON CONFLICT DO NOTHING RETURNING source, event_id""",
        [source for source, _ in first],
        [event_id for _, event_id in first],
        [mark for _, mark in first.values()],
    )
    new = {(row["source"], row["event_id"]) for row in rows}
    if len(new) < len(first):
        repetitions += [(key, mark) for key, (_, mark) in first.items() if key not in new]
    if repetitions:
        known_marks = await _fingerprints(connection, [key for key, _ in repetitions])
        for key, mark in repetitions:
            if known_marks.get(key) == mark:
                repeated += 1
            else:
                other += 1
        metrics.DUPLICATES.labels("same").inc(repeated)
        metrics.DUPLICATES.labels("other").inc(other)
    return [one for key, (one, _) in first.items() if key in new]


async def _fingerprints(connection: Connection, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    rows = await connection.fetch(
        """SELECT i.source, i.event_id, i.fingerprint
           FROM inbox AS i JOIN unnest($1::text[], $2::text[]) AS k (source, event_id) USING (source, event_id)""",
        [source for source, _ in keys],
        [event_id for _, event_id in keys],
    )
    return {(row["source"], row["event_id"]): row["fingerprint"] for row in rows}


async def forget(connection: Connection, received_before: datetime, at_most: int) -> int:
    """Drop what was received before, at most so many rows; returns how many."""
    status = await connection.execute(
        """DELETE FROM inbox WHERE ctid = ANY (ARRAY(
               SELECT ctid FROM inbox WHERE received_at < $1 ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED))""",
        received_before,
        at_most,
    )
    return int(status.split()[-1])


async def forget_keys(connection: Connection, made_before: datetime) -> None:
    """Drop the Idempotency-Keys of requests that nobody repeats any more."""
    await connection.execute("DELETE FROM idempotency_key WHERE created_at < $1", made_before)
