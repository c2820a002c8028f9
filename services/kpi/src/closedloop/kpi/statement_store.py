"""SQL of the statements: what was stated about which series, the history of it, and the days that were looked at."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast

import asyncpg
import msgspec

from closedloop.common.events.model import IndicatorBreachData
from closedloop.common.postgres.pool import Connection
from closedloop.kpi.domain.masks import Silence
from closedloop.kpi.domain.statement import Judge, Series, Statement, minute_at
from closedloop.kpi.domain.states import RANKS, Evidence, Standing
from closedloop.kpi.domain.thresholds import Level
from closedloop.kpi.domain.windows import minute_of

STATED_BY: Final = "kpi"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the statements of one topic stand. `version` is its lock: who writes must have read the same. `elsewhere`: series of
    its indicators that still stand under another topic, as when an indicator was judged in another way until now; they are
    withdrawn there first."""

    version: int
    finished_days: Mapping[int, str]
    series: Mapping[str, Series]
    elsewhere: frozenset[str]


async def read_progress(connection: Connection, topic: str, indicator_ids: Sequence[str]) -> Progress:
    """The topic's progress; at its beginning where there is none. `indicator_ids`: those that are judged under it."""
    version = await connection.fetchval("SELECT version FROM statement_progress WHERE topic = $1", topic)
    days = await connection.fetch("SELECT day, content FROM statement_day WHERE topic = $1", topic)
    rows = await connection.fetch("SELECT * FROM statement_series WHERE topic = $1 ORDER BY series", topic)
    others = await connection.fetch(
        "SELECT series FROM statement_series WHERE indicator_id = ANY ($2::text[]) AND topic <> $1", topic, list(indicator_ids)
    )
    return Progress(
        version or 0,
        {row["day"]: row["content"] for row in days},
        {row["series"]: series_of(row) for row in rows},
        frozenset(row["series"] for row in others),
    )


def series_of(row: asyncpg.Record) -> Series:
    """A row of statement_series. A process of the version before, in a roll-out, writes `is_breached` alone."""
    rank = (row["rank"] or RANKS["critical"]) if row["is_breached"] else 0
    evidence = None if row["evidence"] is None else msgspec.convert(row["evidence"], Evidence)
    standing = Standing(
        row["state"],
        row["since"],
        rank,
        row["warning_since"],
        row["critical_since"],
        row["suppressed_by"],
        evidence,
    )
    return Series(row["indicator_id"], row["dimensions"], row["stated_until"], standing, row["said"], row["judged_by"])


async def advance(connection: Connection, topic: str, version: int) -> bool:
    """Take the topic's progress from `version` on, and its lock until commit. False where another process was first."""
    await connection.execute("INSERT INTO statement_progress (topic, version) VALUES ($1, 0) ON CONFLICT DO NOTHING", topic)
    status = await connection.execute(
        "UPDATE statement_progress SET version = version + 1, moved_at = clock_timestamp() WHERE topic = $1 AND version = $2",
        topic,
        version,
    )
    return status == "UPDATE 1"


async def write_series(
    connection: Connection, topic: str, series: Sequence[Series], before: Mapping[str, Series], made: Sequence[Statement]
) -> None:
    """The series as they stand now, after what was said about them in this round (`made`, in order of time). Of most only the
    judgement moved on: that is one statement for all. A new breach wants a new acknowledgement."""
    last = {statement.series: statement for statement in made}
    begun = {statement.series: statement.event_id for statement in made if statement.kind == "breached"}
    await connection.executemany(
        """INSERT INTO statement_series (series, topic, indicator_id, dimensions, judged_by, stated_until, is_breached)
           VALUES ($1, $2, $3, $4, $5, $6, false) ON CONFLICT (series) DO NOTHING""",
        [(s.key, topic, s.indicator_id, dict(s.dimensions), s.judged_by, s.stated_until) for s in series if s.key not in before],
    )
    await _write_standing(connection, series)
    # a level that is only left for a milder one is answered for already
    await connection.executemany(
        """UPDATE statement_series SET said = $2::jsonb, is_breached = $3::boolean, sequence = $6, version = version + 1,
               breach_id = CASE WHEN $4::boolean THEN $5::text WHEN $3 THEN breach_id END,
               breached_at = CASE WHEN $4 THEN clock_timestamp() WHEN $3 THEN breached_at END,
               acknowledged_by = CASE WHEN $3 AND NOT $4 THEN acknowledged_by END,
               acknowledged_at = CASE WHEN $3 AND NOT $4 THEN acknowledged_at END,
               comment = CASE WHEN $3 AND NOT $4 THEN comment END,
               escalations = CASE WHEN $3 AND NOT $4 THEN escalations ELSE 0 END,
               escalated_at = CASE WHEN $3 AND NOT $4 THEN escalated_at END
           WHERE series = $1""",
        [
            (s.key, s.said, s.is_breached, s.key in begun and s.is_breached, begun.get(s.key), last[s.key].sequence)
            for s in series
            if s.key in last
        ],
    )


async def _write_standing(connection: Connection, series: Sequence[Series]) -> None:
    standings = [s.standing for s in series]
    await connection.execute(
        """UPDATE statement_series AS s SET stated_until = m.stated_until, state = m.state, since = m.since, rank = m.rank,
               warning_since = m.warning_since, critical_since = m.critical_since, suppressed_by = m.suppressed_by,
               evidence = m.evidence
           FROM unnest($1::text[], $2::int[], $3::text[], $4::int[], $5::smallint[], $6::int[], $7::int[], $8::text[], $9::jsonb[])
               AS m (series, stated_until, state, since, rank, warning_since, critical_since, suppressed_by, evidence)
           WHERE s.series = m.series""",
        [s.key for s in series],
        [s.stated_until for s in series],
        [s.state for s in standings],
        [s.since for s in standings],
        [s.rank for s in standings],
        [s.warning_since for s in standings],
        [s.critical_since for s in standings],
        [s.suppressed_by for s in standings],
        [None if s.evidence is None else msgspec.to_builtins(s.evidence) for s in standings],
    )


async def drop_series(connection: Connection, topic: str, keys: Sequence[str]) -> None:
    """Forget series that nothing in the catalogue watches any more; their history stays."""
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


def statement_from(row: asyncpg.Record) -> Statement:
    """A row of statement_history that says how a series stood."""
    data = msgspec.convert(row["data"], IndicatorBreachData)
    worst = RANKS["critical"] if row["kind"] == "breached" else 0
    rank = worst if data.level is None else RANKS[data.level]
    judged_by: Judge = "control" if row["series"].startswith(f"{row['indicator_id']}.control") else "threshold"
    return Statement(minute_of(row["at"]), row["kind"], row["reason"], data, judged_by, rank)


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


async def read_silences(connection: Connection, since: int, upto: int) -> list[Silence]:
    """The silences that touch the minutes in (since, upto]."""
    rows = await connection.fetch(
        "SELECT * FROM silence WHERE ends_at > $1 AND starts_at <= $2 ORDER BY id", minute_at(since), minute_at(upto)
    )
    return [
        # a minute is silenced where its beginning is
        Silence(row["indicator_id"], row["dimensions"], _minute_from(row["starts_at"]), _minute_from(row["ends_at"]))
        for row in rows
    ]


async def read_silences_passed(connection: Connection, minute: int) -> tuple[int, int]:
    """How many silences have begun by a minute, and how many are over: whenever one begins or ends, one of the two changes."""
    row = await connection.fetchrow(
        "SELECT count(*) FILTER (WHERE starts_at <= $1) AS begun, count(*) FILTER (WHERE ends_at <= $1) AS over FROM silence",
        minute_at(minute),
    )
    assert row is not None  # noqa: S101 (an aggregate has a row)
    return row["begun"], row["over"]


def _minute_from(at: datetime) -> int:
    """The first whole minute that does not begin before it."""
    return minute_of(at + timedelta(minutes=1, microseconds=-1))


async def read_steps(connection: Connection, indicator_id: str, since: int) -> dict[str, list[tuple[int, int]]]:
    """Where the indicator's series stood by its threshold from minute to minute, as (minute, rank): from the last statement up to
    `since` on."""
    rows = await connection.fetch(
        """WITH told AS (SELECT series, at, kind, data ->> 'level' AS level FROM statement_history
                         WHERE indicator_id = $1 AND kind IN ('breached', 'recovered')
                           AND NOT starts_with(series, $1 || '.control'))
           SELECT * FROM (SELECT DISTINCT ON (series) * FROM told WHERE at <= $2 ORDER BY series, at DESC) AS last
           UNION ALL SELECT * FROM told WHERE at > $2
           ORDER BY series, at""",
        indicator_id,
        minute_at(since),
    )
    steps: dict[str, list[tuple[int, int]]] = {}
    for row in rows:
        worst = RANKS["critical"] if row["kind"] == "breached" else 0
        rank = worst if row["level"] is None else RANKS[cast(Level, row["level"])]
        steps.setdefault(row["series"], []).append((minute_of(row["at"]), rank))
    return steps
