"""SQL of the reports: what was published, commented, and done about shortcomings."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, get_args

import asyncpg

from closedloop.common.events.model import IndicatorBreachData
from closedloop.common.events.rules import parse_time
from closedloop.common.postgres.pool import Connection
from closedloop.kpi.domain.backtest import paired
from closedloop.kpi.domain.report import Breach, Comment, LaterReport, Measure, Month, Progress, Shortcoming
from closedloop.kpi.domain.statement import Withdrawn, minute_at
from closedloop.kpi.domain.windows import PERIODS
from closedloop.kpi.statement_store import statement_from

FORMS: Final = ("json", "html", "xlsx")


@dataclass(frozen=True, slots=True)
class Head:
    """A report's row. `version` counts what was added; a published one does not change any more."""

    month: Month
    version: int
    published_at: datetime | None
    published_by: str | None
    sha256: str | None
    because: str | None
    """Why it was published although not all owners had commented."""


@dataclass(frozen=True, slots=True)
class Published:
    """The forms in which a report was published."""

    json: bytes
    html: bytes
    xlsx: bytes
    sha256: str


_HEAD: Final = "month, version, published_at, published_by, sha256, note"


async def read_head(connection: Connection, month: Month) -> Head:
    """The report's row; version 0 where nobody has added anything yet."""
    row = await connection.fetchrow(f"SELECT {_HEAD} FROM report WHERE month = $1", month)  # noqa: S608
    return Head(month, 0, None, None, None, None) if row is None else Head(*row)


async def lock_head(connection: Connection, month: Month) -> Head:
    """The same, locked until commit, whether or not there is a row."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('report ' || $1, 0))", month)
    return await read_head(connection, month)


async def heads(connection: Connection, before: Month | None, limit: int) -> list[Head]:
    """The latest month first."""
    rows = await connection.fetch(
        f"SELECT {_HEAD} FROM report WHERE $1::text IS NULL OR month < $1 ORDER BY month DESC LIMIT $2",  # noqa: S608
        before,
        limit,
    )
    return [Head(*row) for row in rows]


async def read_form(connection: Connection, month: Month, form: str) -> bytes | None:
    """The bytes that were published, or None where none were."""
    if form not in FORMS:
        raise ValueError(form)
    content: bytes | None = await connection.fetchval(f"SELECT {form} FROM report WHERE month = $1", month)  # noqa: S608
    return content


async def advance(connection: Connection, month: Month) -> int:
    """Count that something was added → the new version."""
    version: int = await connection.fetchval(
        """INSERT INTO report (month) VALUES ($1)
           ON CONFLICT (month) DO UPDATE SET version = report.version + 1 RETURNING version""",
        month,
    )
    return version


async def publish(connection: Connection, month: Month, forms: Published, by: str, note: str | None) -> None:
    """Freeze the report, in the lock of `lock_head`."""
    await connection.execute(
        """INSERT INTO report (month, published_at, published_by, note, json, html, xlsx, sha256)
           VALUES ($1, clock_timestamp(), $2, $3, $4, $5, $6, $7)
           ON CONFLICT (month) DO UPDATE SET version = report.version + 1, published_at = EXCLUDED.published_at,
               published_by = EXCLUDED.published_by, note = EXCLUDED.note, json = EXCLUDED.json, html = EXCLUDED.html,
               xlsx = EXCLUDED.xlsx, sha256 = EXCLUDED.sha256""",
        month,
        by,
        note,
        forms.json,
        forms.html,
        forms.xlsx,
        forms.sha256,
    )


# --- comments ---


async def add_comment(connection: Connection, month: Month, indicator_id: str, by: str, text: str) -> None:
    """Add what somebody says of an indicator's month."""
    await connection.execute(
        "INSERT INTO report_comment_history (month, indicator_id, author, text) VALUES ($1, $2, $3, $4)",
        month,
        indicator_id,
        by,
        text,
    )


async def read_comments(connection: Connection, month: Month) -> dict[str, list[Comment]]:
    """Indicator → its comments, oldest first."""
    rows = await connection.fetch(
        "SELECT indicator_id, author, written_at, text FROM report_comment_history WHERE month = $1 ORDER BY id", month
    )
    found: dict[str, list[Comment]] = {}
    for row in rows:
        found.setdefault(row["indicator_id"], []).append(Comment(row["author"], row["written_at"], row["text"]))
    return found


# --- breaches ---


async def read_breaches(connection: Connection, start: datetime, end: datetime) -> dict[str, list[Breach]]:
    """Indicator → the times at a level of which some part lies in [start, end), in the order of their beginning. What is judged
    by its period stands in the time of that period, whenever its figure was known."""
    rows = await connection.fetch(
        """WITH told AS (SELECT * FROM statement_history WHERE kind IN ('breached', 'recovered'))
           SELECT * FROM (SELECT DISTINCT ON (series) * FROM told WHERE at < $1 ORDER BY series, at DESC, id DESC) AS last
           UNION ALL SELECT * FROM told WHERE at >= $1 ORDER BY at, id""",
        start,
    )
    found: dict[str, list[Breach]] = {}
    for stood in paired(map(statement_from, rows)):
        began, ended = _time_of(stood.begin, stood.data), None
        if stood.end is not None:
            # who withdraws a level ends it there and then, whatever period it was about
            ended = minute_at(stood.end) if stood.reason in get_args(Withdrawn) else _time_of(stood.end, stood.over)
        if began < end and (ended is None or ended > start):
            breach = Breach(stood.series, began, ended, stood.data.value, stood.data.threshold, stood.level)
            found.setdefault(stood.data.indicator_id, []).append(breach)
    return {indicator_id: sorted(own, key=lambda one: (one.began, one.series)) for indicator_id, own in found.items()}


def _time_of(minute: int, said: IndicatorBreachData | None) -> datetime:
    """When it holds: from the minute on or, of a period, from the period's beginning on."""
    if said is not None and said.window in PERIODS:
        return parse_time(said.window_start, "window_start")
    return minute_at(minute)


# --- shortcomings and measures against them ---


async def open_shortcomings(connection: Connection, month: Month) -> dict[str, Month]:
    """Indicator → since when it falls short, as the reports published of the months before say."""
    rows = await connection.fetch(
        "SELECT indicator_id, since FROM shortcoming WHERE since < $1 AND (gone IS NULL OR gone > $1)", month
    )
    return {row["indicator_id"]: row["since"] for row in rows}


async def published_forms(connection: Connection) -> list[bytes]:
    """The JSON of all published reports, by their months; nobody else publishes until commit."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('shortcomings', 0))")
    rows = await connection.fetch("SELECT json FROM report WHERE published_at IS NOT NULL ORDER BY month")
    return [row["json"] for row in rows]


async def write_shortcomings(connection: Connection, found: Sequence[Shortcoming]) -> None:
    """All that there are, as the published reports say."""
    await connection.execute("DELETE FROM shortcoming")
    await connection.executemany(
        "INSERT INTO shortcoming (indicator_id, since, gone) VALUES ($1, $2, $3)",
        [(one.indicator_id, one.since, one.gone) for one in found],
    )


async def later_reports(
    connection: Connection, indicator_id: str, since: datetime, days: tuple[date | None, date], most: int
) -> list[LaterReport]:
    """What was reported of an indicator after `since` for periods that touch the days [from, to), the newest first, so many at
    most. Without `from` for all before, too."""
    rows = await connection.fetch(
        """SELECT indicator_id, period, dimensions, reason, reported_by, reported_at FROM measurement
           WHERE indicator_id = $1 AND reported_at > $2 AND first_day < $4 AND ($3::date IS NULL OR after_day > $3)
           ORDER BY id DESC LIMIT $5""",
        indicator_id,
        since,
        *days,
        most,
    )
    return [LaterReport(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Followed:
    """An indicator that fell short in published reports from a month on, and its measures. `gone`: the first published month in
    which it did not any more."""

    indicator_id: str
    since: Month
    gone: Month | None
    measures_open: int
    measures_overdue: int
    measures_done: int
    next_due: date | None


async def list_shortcomings(
    connection: Connection,
    indicator_ids: Sequence[str] | None,
    is_open: bool | None,
    today: date,
    after: tuple[Month, str] | None,
    limit: int,
) -> list[Followed]:
    """The oldest first; of some indicators, or all (None). Measures count that are open, or were begun since it fell short."""
    rows = await connection.fetch(
        """SELECT s.indicator_id, s.since, s.gone,
               count(i.id) FILTER (WHERE i.state = 'open') AS measures_open,
               count(i.id) FILTER (WHERE i.state = 'open' AND i.due < $3) AS measures_overdue,
               count(i.id) FILTER (WHERE i.state = 'done') AS measures_done,
               min(i.due) FILTER (WHERE i.state = 'open') AS next_due
           FROM shortcoming AS s
           LEFT JOIN improvement AS i ON i.indicator_id = s.indicator_id
               AND (i.state = 'open' OR i.created_at >= to_date(s.since, 'YYYY-MM'))
               AND (s.gone IS NULL OR i.created_at < to_date(s.gone, 'YYYY-MM') + interval '1 month')
           WHERE ($1::text[] IS NULL OR s.indicator_id = ANY ($1)) AND ($2::bool IS NULL OR (s.gone IS NULL) = $2)
             AND ($4::text IS NULL OR (s.since, s.indicator_id) > ($4, $5::text))
           GROUP BY s.indicator_id, s.since, s.gone ORDER BY s.since, s.indicator_id LIMIT $6""",
        None if indicator_ids is None else list(indicator_ids),
        is_open,
        today,
        *(after or (None, None)),
        limit,
    )
    return [Followed(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Improvement:
    """A measure as it stands. `percent`: how far it was when somebody said so last."""

    id: uuid.UUID
    version: int
    indicator_id: str
    text: str
    owner: str
    due: date
    state: str
    created_by: str
    created_at: datetime
    percent: int


_IMPROVEMENT: Final = """id, version, indicator_id, text, owner, due, state, created_by, created_at, coalesce(
    (SELECT percent FROM improvement_history WHERE improvement_id = improvement.id ORDER BY id DESC LIMIT 1), 0) AS percent"""


def _improvement(row: asyncpg.Record) -> Improvement:
    return Improvement(*row)


async def add_improvement(
    connection: Connection, id_: uuid.UUID, indicator_id: str, text: str, owner: str, due: date, by: str
) -> Improvement:
    """A new measure, open."""
    row = await connection.fetchrow(
        f"""INSERT INTO improvement (id, indicator_id, text, owner, due, created_by) VALUES ($1, $2, $3, $4, $5, $6)
            RETURNING {_IMPROVEMENT}""",  # noqa: S608
        id_,
        indicator_id,
        text,
        owner,
        due,
        by,
    )
    assert row is not None  # noqa: S101
    return _improvement(row)


async def lock_improvement(connection: Connection, id_: uuid.UUID) -> Improvement | None:
    """The measure, locked for change."""
    row = await connection.fetchrow(f"SELECT {_IMPROVEMENT} FROM improvement WHERE id = $1 FOR NO KEY UPDATE", id_)  # noqa: S608
    return None if row is None else _improvement(row)


async def add_progress(connection: Connection, id_: uuid.UUID, percent: int, state: str, text: str, by: str) -> Improvement:
    """How far a locked measure is now."""
    await connection.execute(
        "INSERT INTO improvement_history (improvement_id, percent, state, text, author) VALUES ($1, $2, $3, $4, $5)",
        id_,
        percent,
        state,
        text,
        by,
    )
    row = await connection.fetchrow(
        f"""UPDATE improvement SET version = version + 1, state = $2,
                ended_at = CASE WHEN $2 = 'open' THEN NULL ELSE clock_timestamp() END
            WHERE id = $1 RETURNING {_IMPROVEMENT}""",  # noqa: S608
        id_,
        state,
    )
    assert row is not None  # noqa: S101
    return _improvement(row)


async def list_improvements(
    connection: Connection,
    indicator_id: str | None,
    owner: str | None,
    state: str | None,
    overdue_on: date | None,
    after: tuple[datetime, uuid.UUID] | None,
    limit: int,
) -> list[Improvement]:
    """The oldest first. `overdue_on`: only those that are overdue on this day."""
    rows = await connection.fetch(
        f"""SELECT {_IMPROVEMENT} FROM improvement
            WHERE ($1::text IS NULL OR indicator_id = $1) AND ($2::text IS NULL OR state = $2)
              AND ($3::timestamptz IS NULL OR (created_at, id) > ($3, $4::uuid))
              AND ($6::text IS NULL OR owner = $6) AND ($7::date IS NULL OR state = 'open' AND due < $7)
            ORDER BY created_at, id LIMIT $5""",  # noqa: S608
        indicator_id,
        state,
        *(after or (None, None)),
        limit,
        owner,
        overdue_on,
    )
    return [_improvement(row) for row in rows]


async def read_measures(connection: Connection, month: Month, start: datetime, end: datetime) -> dict[str, list[Measure]]:
    """Indicator → the measures that were open in [start, end), with their progress up to then; of a shortcoming that is open in
    the month also those that have ended since it began."""
    rows = await connection.fetch(
        """SELECT id, indicator_id, text, owner, due, state, ended_at FROM improvement AS i
           WHERE created_at < $2 AND (ended_at IS NULL OR ended_at >= $1 OR EXISTS (
               SELECT FROM shortcoming AS s
               WHERE s.indicator_id = i.indicator_id AND s.since <= $3 AND (s.gone IS NULL OR s.gone > $3)
                   AND i.ended_at >= to_date(s.since, 'YYYY-MM')))
           ORDER BY created_at, id""",
        start,
        end,
        month,
    )
    told = await connection.fetch(
        """SELECT improvement_id, percent, text, author, written_at FROM improvement_history
           WHERE improvement_id = ANY ($1::uuid[]) AND written_at < $2 ORDER BY id""",
        [row["id"] for row in rows],
        end,
    )
    progress: dict[uuid.UUID, list[Progress]] = {}
    for row in told:
        progress.setdefault(row["improvement_id"], []).append(
            Progress(row["author"], row["written_at"], row["percent"], row["text"])
        )
    found: dict[str, list[Measure]] = {}
    for row in rows:
        state = row["state"] if row["ended_at"] is not None and row["ended_at"] < end else "open"
        found.setdefault(row["indicator_id"], []).append(
            Measure(str(row["id"]), row["text"], row["owner"], row["due"].isoformat(), state, tuple(progress.get(row["id"], ())))
        )
    return found
