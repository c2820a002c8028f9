"""SQL of the catalogue entries that were saved over REST."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

from closedloop.common.postgres.pool import Connection
from closedloop.kpi.domain.versions import Saved

_COLUMNS: Final = "indicator_id, version, entry, valid_from, counted_from, saved_by, saved_at, reason"


async def latest(connection: Connection, zone: str) -> tuple[int, date]:
    """(a number that grows with every version saved, the operator's day by the database's clock)."""
    row = await connection.fetchrow(
        "SELECT coalesce(max(id), 0), (clock_timestamp() AT TIME ZONE $1)::date FROM saved_entry_history", zone
    )
    assert row is not None  # noqa: S101 (an aggregate has a row)
    return row[0], row[1]


async def read_all(connection: Connection) -> list[Saved]:
    """Every version of every indicator, in the order of saving."""
    rows = await connection.fetch(f"SELECT {_COLUMNS} FROM saved_entry_history ORDER BY id")  # noqa: S608
    return [Saved(*row) for row in rows]


async def read_versions(connection: Connection, indicator_id: str) -> list[Saved]:
    """One indicator's, the newest first."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM saved_entry_history WHERE indicator_id = $1 ORDER BY version DESC",  # noqa: S608
        indicator_id,
    )
    return [Saved(*row) for row in rows]


async def lock(connection: Connection) -> datetime:
    """Let nobody else save until commit → the database's time."""
    now: datetime = await connection.fetchval(
        "SELECT clock_timestamp() FROM (SELECT pg_advisory_xact_lock(hashtextextended('saved entries', 0))) AS locked"
    )
    return now


async def insert(
    connection: Connection,
    indicator_id: str,
    version: int,
    entry: Mapping[str, Any] | None,
    valid_from: date,
    counted_from: datetime | None,
    by: str,
    reason: str,
) -> None:
    """Add a version."""
    await connection.execute(
        """INSERT INTO saved_entry_history (indicator_id, version, entry, valid_from, counted_from, saved_by, reason)
           VALUES ($1, $2, $3, $4, $5, $6, $7)""",
        indicator_id,
        version,
        entry,
        valid_from,
        counted_from,
        by,
        reason,
    )
