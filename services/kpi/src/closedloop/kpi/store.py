"""The only place with SQL on segments."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

import numpy as np

from closedloop.common.postgres.pool import Connection
from closedloop.kpi.domain.seen import Place, Run

Kind = Literal["bucket", "seen"]
ALL_PARTITIONS: Final = -1
_HASH: Final = np.dtype("<u8")
_FINGERPRINT: Final = np.dtype("<u4")


@dataclass(frozen=True, slots=True)
class Segment:
    """One row of the table, before it has an id."""

    kind: Kind
    topic: str
    day: int
    partition: int
    rows: int
    events: int
    data: bytes
    level: int = 0


_COLUMNS: Final = ("kind", "topic", "day", "partition", "level", "rows", "events", "data")


async def insert(connection: Connection, segments: Sequence[Segment]) -> None:
    """Write new segments in the open transaction."""
    if segments:
        records = [(s.kind, s.topic, s.day, s.partition, s.level, s.rows, s.events, s.data) for s in segments]
        await connection.copy_records_to_table("segment", records=records, columns=_COLUMNS)


def seen_segment(place: Place, run: Run, level: int = 0) -> Segment:
    """A run as a segment: all hashes, then all fingerprints."""
    data = run.hashes.astype(_HASH, copy=False).tobytes() + run.fingerprints.astype(_FINGERPRINT, copy=False).tobytes()
    return Segment("seen", place.topic, place.day, place.partition, len(run), len(run), data, level)


def run_of(data: bytes) -> Run:
    """A seen segment's content."""
    size = len(data) // (_HASH.itemsize + _FINGERPRINT.itemsize)
    return Run(
        np.frombuffer(data, dtype=_HASH, count=size).astype(np.uint64, copy=False),
        np.frombuffer(data, dtype=_FINGERPRINT, offset=size * _HASH.itemsize).astype(np.uint32, copy=False),
    )


async def read_seen(connection: Connection, places: Collection[Place]) -> dict[Place, list[Run]]:
    """All runs of each of these places; a place without any has an empty list."""
    found: dict[Place, list[Run]] = {place: [] for place in places}
    rows = await connection.fetch(
        """SELECT s.topic, s.partition, s.day, s.data
           FROM unnest($1::text[], $2::int[], $3::int[]) AS p (topic, partition, day)
           JOIN segment AS s ON s.kind = 'seen' AND s.topic = p.topic AND s.partition = p.partition AND s.day = p.day""",
        [place.topic for place in places],
        [place.partition for place in places],
        [place.day for place in places],
    )
    for row in rows:
        found[Place(row["topic"], row["partition"], row["day"])].append(run_of(row["data"]))
    return found


async def read_days(connection: Connection, topic: str) -> dict[int, int]:
    """UTC day → how many events stand in its buckets. Compaction does not change it, every new segment does."""
    rows = await connection.fetch(
        "SELECT day, sum(events)::bigint AS events FROM segment WHERE kind = 'bucket' AND topic = $1 GROUP BY day", topic
    )
    return {row["day"]: row["events"] for row in rows}


async def read_bucket_ids(connection: Connection, topic: str, first_day: int, last_day: int) -> dict[int, int]:
    """The bucket segments of these days: id → day."""
    rows = await connection.fetch(
        "SELECT id, day FROM segment WHERE kind = 'bucket' AND topic = $1 AND day BETWEEN $2 AND $3", topic, first_day, last_day
    )
    return {row["id"]: row["day"] for row in rows}


async def read_data(connection: Connection, ids: Sequence[int]) -> dict[int, bytes]:
    """The content of these segments."""
    if not ids:
        return {}
    rows = await connection.fetch("SELECT id, data FROM segment WHERE id = ANY ($1)", list(ids))
    return {row["id"]: row["data"] for row in rows}


@dataclass(frozen=True, slots=True)
class Group:
    """Segments that may be merged."""

    kind: Kind
    topic: str
    day: int
    partition: int
    level: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A segment in the table."""

    id: int
    events: int
    data: bytes


async def read_crowded(connection: Connection, kind: Kind, least: int, largest_rows: int) -> list[Group]:
    """Places and levels with at least so many segments that are not too large already, lowest level first."""
    rows = await connection.fetch(
        """SELECT kind, topic, day, partition, level FROM segment WHERE kind = $1 AND rows < $3
           GROUP BY kind, topic, day, partition, level HAVING count(*) >= $2
           ORDER BY level LIMIT 200""",
        kind,
        least,
        largest_rows,
    )
    return [Group(*row) for row in rows]


async def lock_crowd(connection: Connection, group: Group, largest_rows: int, most: int) -> list[Stored]:
    """The oldest segments of the group that may be merged, locked; none where another process works on it."""
    mine = await connection.fetchval(
        "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))", f"segment {group.kind} {group.topic} {group.day}"
    )
    if not mine:
        return []
    rows = await connection.fetch(
        """SELECT id, events, data FROM segment
           WHERE kind = $1 AND topic = $2 AND day = $3 AND partition = $4 AND level = $5 AND rows < $6
           ORDER BY id LIMIT $7 FOR UPDATE""",
        group.kind,
        group.topic,
        group.day,
        group.partition,
        group.level,
        largest_rows,
        most,
    )
    return [Stored(*row) for row in rows]


async def delete(connection: Connection, ids: Sequence[int]) -> None:
    """Remove segments."""
    await connection.execute("DELETE FROM segment WHERE id = ANY ($1)", list(ids))


async def drop_days(connection: Connection, kept: timedelta) -> None:
    """Remove all of days that ended longer ago than `kept`, by the database's clock."""
    await connection.execute(
        "DELETE FROM segment WHERE day < floor(extract(epoch FROM clock_timestamp() - $1::interval) / 86400)::int", kept
    )


async def read_sizes(connection: Connection) -> list[tuple[str, int, int]]:
    """(kind, segments, bytes)."""
    rows = await connection.fetch("SELECT kind, count(*), coalesce(sum(octet_length(data)), 0)::bigint FROM segment GROUP BY kind")
    return [(row[0], row[1], row[2]) for row in rows]
