"""Tickets, their history and the firings attached to them."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import asyncpg

from closedloop.common.postgres.pool import Connection
from closedloop.ticketing.domain.firing import TriggerFiring
from closedloop.ticketing.domain.ticket import Entry, Ticket

_COLUMNS = tuple(Ticket.__dataclass_fields__)
_LIST = ", ".join(_COLUMNS)


def _ticket(row: asyncpg.Record) -> Ticket:
    values = {name: row[name] for name in _COLUMNS}
    return Ticket(**(values | {"regions": tuple(values["regions"])}))


def _values(ticket: Ticket) -> list[Any]:
    return [list(value) if isinstance(value, tuple) else value for value in (getattr(ticket, name) for name in _COLUMNS)]


async def lock(connection: Connection, ticket_id: uuid.UUID, regions: Sequence[str] | None) -> Ticket | None:
    """The ticket, locked for change, where it is visible to these regions (None: all)."""
    row = await connection.fetchrow(
        f"SELECT {_LIST} FROM ticket WHERE id = $1 AND ($2::text[] IS NULL OR regions && $2) FOR NO KEY UPDATE",  # noqa: S608
        ticket_id,
        regions,
    )
    return None if row is None else _ticket(row)


async def read(connection: Connection, ticket_id: uuid.UUID, regions: Sequence[str] | None) -> Ticket | None:
    """The ticket where it is visible to these regions (None: all)."""
    row = await connection.fetchrow(
        f"SELECT {_LIST} FROM ticket WHERE id = $1 AND ($2::text[] IS NULL OR regions && $2)",  # noqa: S608
        ticket_id,
        regions,
    )
    return None if row is None else _ticket(row)


async def lock_open(connection: Connection, cause: str) -> Ticket | None:
    """The open ticket on a cause, locked."""
    row = await connection.fetchrow(
        f"SELECT {_LIST} FROM ticket WHERE cause = $1 AND stage <> 'closed' FOR NO KEY UPDATE",  # noqa: S608
        cause,
    )
    return None if row is None else _ticket(row)


async def insert(connection: Connection, ticket: Ticket) -> bool:
    """False where another open ticket has the cause (it may have been opened at this moment; waits until that is decided)."""
    places = ", ".join(f"${n}" for n in range(1, len(_COLUMNS) + 1))
    status = await connection.execute(
        f"INSERT INTO ticket ({_LIST}) VALUES ({places}) ON CONFLICT DO NOTHING",  # noqa: S608
        *_values(ticket),
    )
    return status == "INSERT 0 1"


async def update(connection: Connection, ticket: Ticket) -> None:
    """Write a ticket that this transaction has locked."""
    sets = ", ".join(f"{name} = ${n}" for n, name in enumerate(_COLUMNS[1:], start=2))
    await connection.execute(f"UPDATE ticket SET {sets} WHERE id = $1", *_values(ticket))  # noqa: S608


async def add_history(connection: Connection, ticket_id: uuid.UUID, entries: Sequence[Entry]) -> None:
    """Append lines of history."""
    await connection.executemany(
        """INSERT INTO ticket_history (ticket_id, version, at, actor, client, action, from_stage, to_stage, reason, content)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)""",
        [
            (ticket_id, e.version, e.at, e.actor.subject, e.actor.client, e.action, e.from_stage, e.to_stage, e.reason, e.content)
            for e in entries
        ],
    )


async def known_firings(connection: Connection, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Which of these firings have been stated."""
    rows = await connection.fetch("SELECT id FROM firing_history WHERE id = ANY ($1)", list(ids))
    return {row["id"] for row in rows}


async def add_firings(connection: Connection, ticket_id: uuid.UUID, firings: Sequence[TriggerFiring]) -> None:
    """Attach firings to a ticket that this transaction has locked or made."""
    await connection.executemany(
        """INSERT INTO firing_history (id, ticket_id, trigger, at, window_start, window_end, expected, observed,
                                       customers, regions, complaints, details)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO NOTHING""",
        [
            (
                f.id,
                ticket_id,
                f.trigger,
                f.at,
                f.window_start,
                f.window_end,
                f.expected,
                f.observed,
                f.customers,
                dict(f.evidence.regions),
                list(f.evidence.complaints),
                dict(f.details),
            )
            for f in firings
        ],
    )


async def firings(connection: Connection, ticket_id: uuid.UUID, newest: int) -> tuple[int, list[asyncpg.Record]]:
    """How many firings a ticket has, and the first (which opened it) with the newest, oldest first."""
    total = await connection.fetchval("SELECT count(*) FROM firing_history WHERE ticket_id = $1", ticket_id)
    rows = await connection.fetch(
        """SELECT * FROM firing_history WHERE seq IN (
               (SELECT seq FROM firing_history WHERE ticket_id = $1 ORDER BY seq LIMIT 1)
               UNION (SELECT seq FROM firing_history WHERE ticket_id = $1 ORDER BY seq DESC LIMIT $2)) ORDER BY seq""",
        ticket_id,
        newest,
    )
    return total, list(rows)


async def history(connection: Connection, ticket_id: uuid.UUID, after: int, at_most: int) -> list[asyncpg.Record]:
    """Lines of history in the order in which they were written."""
    return await connection.fetch(
        "SELECT * FROM ticket_history WHERE ticket_id = $1 AND seq > $2 ORDER BY seq LIMIT $3", ticket_id, after, at_most
    )


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What a list is narrowed to; None: not by this. `regions` None: all regions."""

    regions: list[str] | None = None
    stage: str | None = None
    cause: str | None = None
    topic_path: str | None = None
    indicator_id: str | None = None
    unit: str | None = None
    trigger: str | None = None
    open: bool | None = None


async def listed(connection: Connection, narrowed: Filter, before: tuple[datetime, uuid.UUID] | None, at_most: int) -> list[Ticket]:
    """Tickets, last opened first. `trigger` is met by any of a ticket's firings."""
    wanted = asdict(narrowed)
    rows = await connection.fetch(
        f"""SELECT {_LIST} FROM ticket AS t
            WHERE ($1::text[] IS NULL OR regions && $1) AND ($2::text IS NULL OR stage = $2)
              AND ($3::text IS NULL OR cause = $3) AND ($4::text IS NULL OR topic_path = $4)
              AND ($5::text IS NULL OR indicator_id = $5) AND ($6::text IS NULL OR unit = $6)
              AND ($7::text IS NULL OR trigger = $7
                   OR EXISTS (SELECT FROM firing_history AS f WHERE f.ticket_id = t.id AND f.trigger = $7))
              AND ($8::boolean IS NULL OR (stage <> 'closed') = $8)
              AND ($9::timestamptz IS NULL OR (opened_at, id) < ($9, $10))
            ORDER BY opened_at DESC, id DESC LIMIT $11""",  # noqa: S608 (columns of the Ticket)
        *(wanted[name] for name in ("regions", "stage", "cause", "topic_path", "indicator_id", "unit", "trigger", "open")),
        *(before or (None, None)),
        at_most,
    )
    return [_ticket(row) for row in rows]


async def open_by_stage(connection: Connection) -> dict[str, int]:
    """How many open tickets there are."""
    rows = await connection.fetch("SELECT stage, count(*) AS tickets FROM ticket WHERE stage <> 'closed' GROUP BY stage")
    return {row["stage"]: row["tickets"] for row in rows}


async def overdue_measures(connection: Connection, today: str) -> int:
    """Measures in stage improve that were due before `today` (an ISO date)."""
    count: int = await connection.fetchval(
        """SELECT count(*) FROM ticket, jsonb_array_elements(improvement -> 'measures') AS measure
           WHERE stage = 'improve' AND jsonb_typeof(improvement -> 'measures') = 'array' AND measure ->> 'due' < $1
             AND measure ->> 'done' IS NULL""",
        today,
    )
    return count


async def now(connection: Connection) -> datetime:
    """The clock that all processes share."""
    clock: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return clock
