"""Which events were taken already: (source, id), whatever Kafka or a producer repeats. The first content wins.

For services whose rates are low: a row an event, with a unique key.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from closedloop.common.consumer.rows import Received
from closedloop.common.postgres.pool import Connection, Database

INBOX_DDL: Final = (
    """CREATE TABLE inbox (                -- every event that was taken
        source      text        NOT NULL,
        event_id    text        NOT NULL,
        fingerprint bigint      NOT NULL,  -- of type, time and data: tells other content under the same id
        received_at timestamptz NOT NULL,
        PRIMARY KEY (source, event_id)
    )""",
    "CREATE INDEX inbox_received ON inbox (received_at)",
)

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Taken:
    """The events that are new, in order; how many came again, with the same content and with other content."""

    new: Sequence[Received]
    same: int = 0
    other: int = 0


async def take(connection: Connection, received: Sequence[Received], now: datetime) -> Taken:
    """Note the events in the open transaction. `now`: the database's clock."""
    marks = [_fingerprint(one) for one in received]
    first: dict[Key, int] = {}
    for place, one in enumerate(received):
        first.setdefault((one.event.source, one.event.id), place)
    rows = await connection.fetch(
        """INSERT INTO inbox (source, event_id, fingerprint, received_at)
           SELECT source, event_id, fingerprint, $1
           FROM unnest($2::text[], $3::text[], $4::bigint[]) AS e (source, event_id, fingerprint) ORDER BY source, event_id
           ON CONFLICT DO NOTHING RETURNING source, event_id""",
        now,
        [source for source, _ in first],
        [event_id for _, event_id in first],
        [marks[place] for place in first.values()],
    )
    if len(rows) == len(received):
        return Taken(received)
    new = {first[row["source"], row["event_id"]] for row in rows}
    again = [((one.event.source, one.event.id), marks[place]) for place, one in enumerate(received) if place not in new]
    known = await _fingerprints(connection, [key for key, _ in again])
    same = sum(known.get(key) == mark for key, mark in again)
    return Taken([received[place] for place in sorted(new)], same, len(again) - same)


async def _fingerprints(connection: Connection, keys: Sequence[Key]) -> dict[Key, int]:
    rows = await connection.fetch(
        """SELECT source, event_id, fingerprint
           FROM inbox JOIN unnest($1::text[], $2::text[]) AS again (source, event_id) USING (source, event_id)""",
        [source for source, _ in keys],
        [event_id for _, event_id in keys],
    )
    return {(row["source"], row["event_id"]): row["fingerprint"] for row in rows}


async def forget(database: Database, received_before: datetime, at_most: int) -> int:
    """Drop the oldest of what was received before, at most so many; how many."""
    status = await database.execute(
        """DELETE FROM inbox WHERE ctid = ANY (ARRAY(
               SELECT ctid FROM inbox WHERE received_at < $1 ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED))""",
        received_before,
        at_most,
    )
    return int(status.rpartition(" ")[2])


def _fingerprint(received: Received) -> int:
    """64 bits of type, time and data: the same for an event that is repeated in another mode or layout."""
    said = msgspec.json.encode([received.event.type, received.at, received.event.data])
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "big", signed=True)
