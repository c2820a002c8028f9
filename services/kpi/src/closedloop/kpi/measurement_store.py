"""The only place with SQL on reported figures."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from closedloop.common.postgres.pool import Connection
from closedloop.kpi.domain.reporting import Figures, Key, Measurement

Filters = Mapping[str, Sequence[str]]
_PASSES: Final = """(SELECT coalesce(bool_and(coalesce(dimensions ->> asked.name = ANY (asked.codes), false)), true) FROM (
    SELECT name, array_agg(code) AS codes FROM unnest($2::text[], $3::text[]) AS f (name, code) GROUP BY name) AS asked)"""
"""Whether a figure names, for each of the filters' dimensions, one of the codes asked for. One of the whole operator has no region,
and so is none of a token for some regions."""


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest version of a figure."""

    version: int
    figures: Figures


async def lock(connection: Connection, indicator_id: str) -> None:
    """Until the transaction ends nobody else reports this indicator: versions are numbered, and their times ascend."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"measurement {indicator_id}")


async def wait_for_reports(connection: Connection, indicator_id: str) -> None:
    """Until those who report the indicator now are done: what is reported later has a later time."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))", f"measurement {indicator_id}")


async def read_now(connection: Connection) -> datetime:
    """The database's clock."""
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return now


async def read_last_id(connection: Connection) -> int:
    """Grows with every figure that is reported."""
    last: int = await connection.fetchval("SELECT coalesce(max(id), 0) FROM measurement")
    return last


async def read_latest(connection: Connection, indicator_id: str, periods: Collection[str]) -> dict[Key, Latest]:
    """The newest version of each figure of these periods."""
    rows = await connection.fetch(
        """SELECT DISTINCT ON (period, dimensions) * FROM measurement WHERE indicator_id = $1 AND period = ANY ($2)
           ORDER BY period, dimensions, version DESC""",
        indicator_id,
        list(periods),
    )
    return {
        (row["period"], tuple(sorted(row["dimensions"].items()))): Latest(
            row["version"], (row["numerator"], row["denominator"], row["value"])
        )
        for row in rows
    }


_WRITTEN: Final = (
    *("indicator_id", "granularity", "period", "first_day", "after_day", "dimensions", "version"),
    *("numerator", "denominator", "value", "file", "method", "reason", "reported_by"),
)


async def append(
    connection: Connection, indicator_id: str, granularity: str, new: Sequence[tuple[Measurement, int]], reported_by: str
) -> None:
    """Write figures with their version numbers."""
    rows = [
        (
            *(indicator_id, granularity, one.period.text, one.period.first, one.period.after, dict(one.dimensions), version),
            *(one.numerator, one.denominator, one.value, one.file, one.method, one.reason, reported_by),
        )
        for one, version in new
    ]
    await connection.copy_records_to_table("measurement", records=rows, columns=_WRITTEN)


async def read_known(
    connection: Connection,
    indicator_id: str,
    granularity: str,
    filters: Filters,
    days: tuple[date, date],
    as_of: datetime | None,
    *,
    with_last_before: bool,
) -> list[dict[str, Any]]:
    """The newest version, as of a time, of each figure of a period that begins on [from, to]; and, where asked for, of the last one
    before that of each set of dimensions."""
    names, codes = _flat(filters)
    rows = await connection.fetch(
        f"""SELECT DISTINCT ON (period, dimensions) first_day, after_day, dimensions, numerator, denominator, value
            FROM measurement
            WHERE indicator_id = $1 AND granularity = $4 AND first_day BETWEEN $5 AND $6
                AND ($7::timestamptz IS NULL OR reported_at <= $7) AND {_PASSES}
            ORDER BY period, dimensions, version DESC""",  # noqa: S608 (a constant)
        *(indicator_id, names, codes, granularity, *days, as_of),
    )
    if with_last_before:
        rows += await connection.fetch(
            f"""SELECT DISTINCT ON (dimensions) first_day, after_day, dimensions, numerator, denominator, value
                FROM measurement
                WHERE indicator_id = $1 AND granularity = $4 AND first_day < $5
                    AND ($6::timestamptz IS NULL OR reported_at <= $6) AND {_PASSES}
                ORDER BY dimensions, first_day DESC, version DESC""",  # noqa: S608 (a constant)
            *(indicator_id, names, codes, granularity, days[0], as_of),
        )
    return [dict(row) for row in rows]


async def read_versions(
    connection: Connection,
    indicator_id: str,
    filters: Filters,
    period: str | None,
    as_of: datetime | None,
    before_id: int | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Versions, the newest first."""
    names, codes = _flat(filters)
    rows = await connection.fetch(
        f"""SELECT * FROM measurement
            WHERE indicator_id = $1 AND ($4::text IS NULL OR period = $4) AND ($5::timestamptz IS NULL OR reported_at <= $5)
                AND ($6::bigint IS NULL OR id < $6) AND {_PASSES}
            ORDER BY id DESC LIMIT $7""",  # noqa: S608 (a constant)
        *(indicator_id, names, codes, period, as_of, before_id, limit),
    )
    return [dict(row) for row in rows]


def _flat(filters: Filters) -> tuple[list[str], list[str]]:
    pairs = [(name, code) for name, codes in filters.items() for code in codes]
    return [name for name, _ in pairs], [code for _, code in pairs]
