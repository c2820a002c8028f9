"""The only place with SQL on segments."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

import numpy as np

from closedloop.common.postgres.pool import Connection
from closedloop.kpi.domain.seen import Place, Run

Kind = Literal["bucket", "hour", "day", "seen"]
"""`bucket`: per minute; `hour`, `day`: roll-ups of these."""
Grain = Literal["minute", "hour", "day"]
ALL_PARTITIONS: Final = -1
SPAN_DAYS: Final = 32
"""A day segment is of so many UTC days; its `day` is the first, a multiple of this."""
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
    rolled: bool = False
    """Whether a segment of the next coarser kind holds its content too."""


_COLUMNS: Final = ("kind", "topic", "day", "partition", "level", "rows", "events", "data", "rolled")


async def insert(connection: Connection, segments: Sequence[Segment]) -> None:
    """Write new segments in the open transaction."""
    if segments:
        records = [(s.kind, s.topic, s.day, s.partition, s.level, s.rows, s.events, s.data, s.rolled) for s in segments]
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


async def read_zone(connection: Connection) -> str | None:
    """The zone by which roll-ups were cut; None where there are none yet."""
    zone: str | None = await connection.fetchval("SELECT zone FROM rollup")
    return zone


_SOURCES: Final[dict[Grain, tuple[list[str], list[str]]]] = {
    "minute": (["bucket"], []),
    "hour": (["hour"], ["bucket"]),
    "day": (["day"], ["hour", "bucket"]),
}
"""Grain → the kind of segments that hold it, and those of which only what is not rolled up yet is missing there."""


async def read_ids(connection: Connection, topic: str, grain: Grain, days: Iterable[tuple[int, int]]) -> list[int]:
    """The segments that together hold the grain of these UTC days (first and last of each range); others of the days beside may be
    among them."""
    ranges = list(days)
    whole, fresh = _SOURCES[grain]
    span = SPAN_DAYS if grain == "day" else 1
    rows = await connection.fetch(
        """SELECT s.id FROM unnest($2::int[], $3::int[]) AS r (first, last)
           JOIN segment AS s ON s.kind = ANY ($4) AND s.topic = $1 AND s.day BETWEEN r.first - r.first % $5 AND r.last
           UNION
           SELECT s.id FROM unnest($2::int[], $3::int[]) AS r (first, last)
           JOIN segment AS s ON s.kind = ANY ($6) AND s.topic = $1 AND s.day BETWEEN r.first AND r.last
               AND NOT s.rolled AND s.kind IN ('bucket', 'hour')""",
        topic,
        [first for first, _ in ranges],
        [last for _, last in ranges],
        whole,
        span,
        fresh,
    )
    return [row["id"] for row in rows]


async def read_gone(connection: Connection, ids: Collection[int]) -> list[int]:
    """Those of these segments that are no more."""
    rows = await connection.fetch(
        "SELECT id FROM unnest($1::bigint[]) AS k (id) WHERE NOT EXISTS (SELECT FROM segment AS s WHERE s.id = k.id)", list(ids)
    )
    return [row["id"] for row in rows]


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
    rolled: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """A segment in the table."""

    id: int
    day: int
    events: int
    data: bytes


async def read_crowded(connection: Connection, kind: Kind, least: int, largest_rows: int) -> list[Group]:
    """Places and levels with at least so many segments that are not too large already, lowest level first."""
    rows = await connection.fetch(
        """SELECT kind, topic, day, partition, level, rolled FROM segment WHERE kind = $1 AND rows < $3
           GROUP BY kind, topic, day, partition, level, rolled HAVING count(*) >= $2
           ORDER BY level LIMIT 200""",
        kind,
        least,
        largest_rows,
    )
    return [Group(*row) for row in rows]


async def lock_crowd(connection: Connection, group: Group, largest_rows: int, most: int) -> list[Stored]:
    """The oldest segments of the group that may be merged, locked; none where another process works on it."""
    if not await _taken(connection, group.kind, group.topic, group.day):
        return []
    rows = await connection.fetch(
        """SELECT id, day, events, data FROM segment
           WHERE kind = $1 AND topic = $2 AND day = $3 AND partition = $4 AND level = $5 AND rolled = $6 AND rows < $7
           ORDER BY id LIMIT $8 FOR UPDATE""",
        group.kind,
        group.topic,
        group.day,
        group.partition,
        group.level,
        group.rolled,
        largest_rows,
        most,
    )
    return [Stored(*row) for row in rows]


async def _taken(connection: Connection, kind: Kind, topic: str, day: int) -> bool:
    """Whether the segments of this place are this transaction's to replace."""
    is_mine: bool = await connection.fetchval(
        "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))", f"segment {kind} {topic} {day}"
    )
    return is_mine


async def read_unrolled(connection: Connection, kind: Kind, span: int) -> list[tuple[str, int]]:
    """(topic, first UTC day of so many) with segments of this kind that are not rolled up, where the last day has ended."""
    rows = await connection.fetch(
        """SELECT DISTINCT topic, day - day % $2 AS first FROM segment
           WHERE kind = $1 AND NOT rolled AND kind IN ('bucket', 'hour')
               AND day < floor(extract(epoch FROM clock_timestamp()) / 86400)
           ORDER BY first, topic""",
        kind,
        span,
    )
    return [(row["topic"], row["first"]) for row in rows]


async def mark_unrolled(connection: Connection, kind: Kind, topic: str, first_day: int, span: int, most: int) -> list[Stored]:
    """The oldest segments of these days that are not rolled up, and no longer open to others; they count as rolled up from this
    transaction's commit on. No segments where another process works on the place."""
    if not await _taken(connection, kind, topic, first_day):
        return []
    rows = await connection.fetch(
        """UPDATE segment AS s SET rolled = true FROM (
               SELECT id FROM segment WHERE kind = $1 AND topic = $2 AND day BETWEEN $3 AND $3 + $4 - 1
                   AND NOT rolled AND kind IN ('bucket', 'hour')
               ORDER BY id LIMIT $5 FOR UPDATE SKIP LOCKED
           ) AS chosen WHERE s.id = chosen.id RETURNING s.id, s.day, s.events, s.data""",
        kind,
        topic,
        first_day,
        span,
        most,
    )
    return [Stored(*row) for row in rows]


async def keeps_zone(connection: Connection, zone: str) -> bool:
    """Whether roll-ups are cut by this zone; it stays so until the transaction ends."""
    kept: str | None = await connection.fetchval("SELECT zone FROM rollup FOR SHARE")
    return kept == zone


async def take_zone(connection: Connection, zone: str) -> None:
    """Roll-ups are cut by this zone from now on. Those that were cut by another are dropped, to be made anew."""
    await connection.execute("INSERT INTO rollup (zone) VALUES ($1) ON CONFLICT DO NOTHING", zone)
    changed = await connection.execute("UPDATE rollup SET zone = $1 WHERE zone <> $1", zone)
    if changed == "UPDATE 1":
        await connection.execute("DELETE FROM segment WHERE kind IN ('hour', 'day')")
        await connection.execute("UPDATE segment SET rolled = false WHERE rolled")


async def delete(connection: Connection, ids: Sequence[int]) -> None:
    """Remove segments."""
    await connection.execute("DELETE FROM segment WHERE id = ANY ($1)", list(ids))


async def drop_days(connection: Connection, kept: timedelta) -> None:
    """Remove what ended longer ago than `kept`, by the database's clock: hashes day by day, buckets and roll-ups by the span of
    days that a day segment holds, so that all of them tell of the same time."""
    await connection.execute(
        """WITH cutoff AS (SELECT floor(extract(epoch FROM clock_timestamp() - $1::interval) / 86400)::int AS day)
           DELETE FROM segment AS s USING cutoff AS c
           WHERE s.day < CASE WHEN s.kind = 'seen' THEN c.day ELSE c.day - c.day % $2 END""",
        kept,
        SPAN_DAYS,
    )


async def read_sizes(connection: Connection) -> list[tuple[str, int, int]]:
    """(kind, segments, bytes)."""
    rows = await connection.fetch("SELECT kind, count(*), coalesce(sum(octet_length(data)), 0)::bigint FROM segment GROUP BY kind")
    return [(row[0], row[1], row[2]) for row in rows]
