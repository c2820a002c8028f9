"""SQL of the statements: what was stated about which series, the history of it, and the days that were looked at."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from closedloop.common.postgres.pool import Connection
from closedloop.kpi.domain.statement import Series, Statement

STATED_BY: Final = "kpi"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the statements of one topic stand. `version` is its lock: who writes must have read the same."""

    version: int
    finished_days: Mapping[int, str]
    series: Mapping[str, Series]


async def read_progress(connection: Connection, topic: str) -> Progress:
    """The topic's progress; at its beginning where there is none."""
    version = await connection.fetchval("SELECT version FROM statement_progress WHERE topic = $1", topic)
    days = await connection.fetch("SELECT day, content FROM statement_day WHERE topic = $1", topic)
    rows = await connection.fetch("SELECT * FROM statement_series WHERE topic = $1 ORDER BY series", topic)
    series = {
        row["series"]: Series(row["indicator_id"], row["dimensions"], row["stated_until"], row["is_breached"], row["said"])
        for row in rows
    }
    return Progress(version or 0, {row["day"]: row["content"] for row in days}, series)


async def advance(connection: Connection, topic: str, version: int) -> bool:
    """Take the topic's progress from `version` on, and its lock until commit. False where another process was first."""
    await connection.execute("INSERT INTO statement_progress (topic, version) VALUES ($1, 0) ON CONFLICT DO NOTHING", topic)
    status = await connection.execute(
        "UPDATE statement_progress SET version = version + 1, moved_at = clock_timestamp() WHERE topic = $1 AND version = $2",
        topic,
        version,
    )
    return status == "UPDATE 1"


async def write_series(connection: Connection, topic: str, series: Sequence[Series], before: Mapping[str, Series]) -> None:
    """The series as they stand now. Most only moved on: that is one narrow update."""
    moved = [s for s in series if s.key in before and before[s.key].said is s.said]
    changed = [s for s in series if not (s.key in before and before[s.key].said is s.said)]
    await connection.execute(
        """UPDATE statement_series AS s SET stated_until = m.stated_until
           FROM unnest($1::text[], $2::int[]) AS m (series, stated_until) WHERE s.series = m.series""",
        [s.key for s in moved],
        [s.stated_until for s in moved],
    )
    await connection.executemany(
        """INSERT INTO statement_series (series, topic, indicator_id, dimensions, stated_until, is_breached, said)
           VALUES ($1, $2, $3, $4, $5, $6, $7)
           ON CONFLICT (series) DO UPDATE SET topic = EXCLUDED.topic, dimensions = EXCLUDED.dimensions,
               stated_until = EXCLUDED.stated_until, is_breached = EXCLUDED.is_breached, said = EXCLUDED.said""",
        [(s.key, topic, s.indicator_id, dict(s.dimensions), s.stated_until, s.is_breached, s.said) for s in changed],
    )


async def drop_series(connection: Connection, topic: str, keys: Sequence[str]) -> None:
    """Forget series that no threshold watches any more; their history stays."""
    await connection.execute("DELETE FROM statement_series WHERE topic = $1 AND series = ANY ($2::text[])", topic, list(keys))


async def write_history(connection: Connection, statements: Iterable[Statement]) -> None:
    """Add the statements to the history: who, when, why."""
    await connection.executemany(
        """INSERT INTO statement_history (event_id, series, indicator_id, kind, reason, at, data, stated_by)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (event_id) DO NOTHING""",
        [
            (s.event_id, s.series, s.data.indicator_id, s.kind, s.reason, s.at, msgspec.to_builtins(s.data), STATED_BY)
            for s in statements
        ],
    )


async def write_days(connection: Connection, topic: str, finished: Mapping[int, str], gone: Sequence[int]) -> None:
    """The content of the days that were looked at to their end; days whose buckets are gone are forgotten."""
    await connection.execute(
        """INSERT INTO statement_day (topic, day, content) SELECT $1, * FROM unnest($2::int[], $3::text[])
           ON CONFLICT (topic, day) DO UPDATE SET content = EXCLUDED.content""",
        topic,
        list(finished),
        list(finished.values()),
    )
    await connection.execute("DELETE FROM statement_day WHERE topic = $1 AND day = ANY ($2::int[])", topic, list(gone))
