"""SQL of what people see and do of states: lists, acknowledgements, escalations, silences, the history of all."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from closedloop.common.postgres.pool import Connection, Database

Row = asyncpg.Record
_REGION = "($%d::text[] IS NULL OR %s ->> 'region' = ANY ($%d::text[]))"


async def now(connection: Database) -> datetime:
    """The database's clock: everybody's the same."""
    clock: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return clock


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Which series are asked for. `regions` must come from the token: None for all."""

    regions: Sequence[str] | None = None
    states: Sequence[str] | None = None
    indicators: Sequence[str] | None = None


async def read_states(connection: Database, narrowed: Narrowed, after: str | None, limit: int) -> list[Row]:
    """By the series' names."""
    return await connection.fetch(
        f"""SELECT * FROM statement_series
            WHERE {_REGION % (1, "dimensions", 1)} AND ($2::text[] IS NULL OR state = ANY ($2::text[]))
              AND ($3::text[] IS NULL OR indicator_id = ANY ($3::text[])) AND ($4::text IS NULL OR series > $4)
            ORDER BY series LIMIT $5""",  # noqa: S608 (a constant)
        narrowed.regions,
        narrowed.states,
        narrowed.indicators,
        after,
        limit,
    )


async def read_state(connection: Database, id: uuid.UUID, regions: Sequence[str] | None, lock: bool = False) -> Row | None:
    """One series; None where there is none, or in none of the regions."""
    return await connection.fetchrow(
        f"SELECT * FROM statement_series WHERE id = $1 AND {_REGION % (2, 'dimensions', 2)}"  # noqa: S608 (a constant)
        + (" FOR UPDATE" if lock else ""),
        id,
        regions,
    )


@dataclass(frozen=True, slots=True)
class Told:
    """Which lines of the history are asked for."""

    regions: Sequence[str] | None = None
    series: str | None = None
    indicator_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def read_history(connection: Database, told: Told, before: int | None, limit: int) -> list[Row]:
    """The newest first. `since` and `until` are event time, for people's acts the clock."""
    return await connection.fetch(
        f"""SELECT * FROM statement_history
            WHERE {_REGION % (1, "(data -> 'dimensions')", 1)} AND ($2::text IS NULL OR series = $2)
              AND ($3::text IS NULL OR indicator_id = $3) AND ($4::timestamptz IS NULL OR at >= $4)
              AND ($5::timestamptz IS NULL OR at < $5) AND ($6::bigint IS NULL OR id < $6)
            ORDER BY id DESC LIMIT $7""",  # noqa: S608 (a constant)
        told.regions,
        told.series,
        told.indicator_id,
        told.since,
        told.until,
        before,
        limit,
    )


async def read_statements(connection: Database, indicator_id: str, regions: Sequence[str] | None, until: datetime) -> list[Row]:
    """All that was stated of an indicator up to a time, in order."""
    return await connection.fetch(
        f"""SELECT * FROM statement_history
            WHERE indicator_id = $1 AND kind IN ('breached', 'recovered') AND at <= $2
              AND {_REGION % (3, "(data -> 'dimensions')", 3)}
            ORDER BY at, id""",  # noqa: S608 (a constant)
        indicator_id,
        until,
        regions,
    )


async def acknowledge(connection: Connection, series: str, who: str, comment: str, at: datetime) -> Row:
    """Say who answers for the breach that stands; the row must be locked."""
    row = await connection.fetchrow(
        """UPDATE statement_series SET acknowledged_by = $2, acknowledged_at = $4, comment = $3, version = version + 1
           WHERE series = $1 RETURNING *""",
        series,
        who,
        comment,
        at,
    )
    assert row is not None  # noqa: S101 (it is locked)
    await _add_history(connection, row, "acknowledged", f"v{row['version']}", "acknowledged", at, row["said"], who, comment)
    return row


_UNANSWERED: Final = "rank > 0 AND acknowledged_at IS NULL AND suppressed_by IS NULL AND breach_id IS NOT NULL"


async def read_unanswered(connection: Connection) -> list[Row]:
    """Breaches that stand, that nothing suppresses and nobody has acknowledged, the longest first."""
    return await connection.fetch(
        f"""SELECT series, indicator_id, judged_by, breached_at, escalated_at, escalations FROM statement_series
            WHERE {_UNANSWERED} ORDER BY coalesce(escalated_at, breached_at)"""  # noqa: S608
    )


async def lock_unanswered(connection: Connection, series: Sequence[str]) -> list[Row]:
    """Those of these series that still are, locked; rows in use are left out."""
    return await connection.fetch(
        f"""SELECT * FROM statement_series WHERE {_UNANSWERED} AND series = ANY ($1::text[])
            ORDER BY coalesce(escalated_at, breached_at) FOR UPDATE SKIP LOCKED""",  # noqa: S608
        list(series),
    )


async def escalate(connection: Connection, row: Row, step: int, event_id: str, data: Mapping[str, Any], at: datetime) -> None:
    """Note that the breach was said again."""
    await connection.execute(
        "UPDATE statement_series SET escalations = $2, escalated_at = $3 WHERE series = $1", row["series"], step, at
    )
    await connection.execute(
        """INSERT INTO statement_history (event_id, series, indicator_id, kind, reason, at, data, stated_by)
           VALUES ($1, $2, $3, 'escalated', 'not acknowledged', $4, $5, 'kpi') ON CONFLICT (event_id) DO NOTHING""",
        event_id,
        row["series"],
        row["indicator_id"],
        at,
        data,
    )


async def _add_history(
    connection: Connection, row: Row, kind: str, step: str, reason: str, at: datetime, data: Any, who: str, comment: str
) -> None:
    await connection.execute(
        """INSERT INTO statement_history (event_id, series, indicator_id, kind, reason, at, data, stated_by, comment)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)""",
        f"{row['breach_id']}.{kind}.{step}",
        row["series"],
        row["indicator_id"],
        kind,
        reason,
        at,
        data,
        who,
        comment,
    )


async def read_silences(
    connection: Database, regions: Sequence[str] | None, after: tuple[datetime, uuid.UUID] | None, limit: int
) -> list[Row]:
    """The one that ends last first. Those that name no region silence everybody's, and are seen by all."""
    return await connection.fetch(
        """SELECT * FROM silence
           WHERE ($1::text[] IS NULL OR NOT dimensions ? 'region' OR dimensions ->> 'region' = ANY ($1::text[]))
             AND ($2::timestamptz IS NULL OR (ends_at, id) < ($2, $3::uuid))
           ORDER BY ends_at DESC, id DESC LIMIT $4""",
        regions,
        after[0] if after else None,
        after[1] if after else None,
        limit,
    )


async def lock_silence(connection: Connection, id: uuid.UUID, regions: Sequence[str] | None) -> Row | None:
    """One silence of these regions; who does not cover all may not end what silences all."""
    return await connection.fetchrow(
        """SELECT * FROM silence WHERE id = $1 AND ($2::text[] IS NULL OR dimensions ->> 'region' = ANY ($2::text[]))
           FOR UPDATE""",
        id,
        regions,
    )


async def add_silence(connection: Connection, silence: Mapping[str, Any]) -> Row:
    """A new one, with its line of history."""
    row = await connection.fetchrow(
        """INSERT INTO silence (id, indicator_id, dimensions, starts_at, ends_at, comment, made_by)
           VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *""",
        silence["id"],
        silence["indicator_id"],
        silence["dimensions"],
        silence["starts_at"],
        silence["ends_at"],
        silence["comment"],
        silence["made_by"],
    )
    assert row is not None  # noqa: S101 (RETURNING)
    await _silence_history(connection, row, "made", silence["made_by"], silence["comment"])
    return row


async def end_silence(connection: Connection, id: uuid.UUID, who: str, comment: str, at: datetime) -> Row:
    """Let it end now; the row must be locked."""
    row = await connection.fetchrow(
        """UPDATE silence SET ends_at = greatest(starts_at, $3), ended_by = $2, version = version + 1
           WHERE id = $1 RETURNING *""",
        id,
        who,
        at,
    )
    assert row is not None  # noqa: S101 (it is locked)
    await _silence_history(connection, row, "ended", who, comment)
    return row


async def _silence_history(connection: Connection, row: Row, action: str, who: str, comment: str) -> None:
    await connection.execute(
        "INSERT INTO silence_history (silence_id, action, by_whom, comment, ends_at) VALUES ($1, $2, $3, $4, $5)",
        row["id"],
        action,
        who,
        comment,
        row["ends_at"],
    )
