"""SQL of the gauges: the state in which each judged series stands, and what is done about what falls short."""

from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

from closedloop.common.postgres.pool import Connection
from closedloop.kpi.domain.exporting import LEVELS, Level


class Standing(NamedTuple):
    """A group, its worst level, whether nobody need be told of what stands at that level (acknowledged, or held back), and how
    often a breach that nobody has acknowledged was said again."""

    indicator_id: str
    dimensions: Mapping[str, str]
    level: Level
    is_quiet: bool
    escalations: int


async def read_standing(connection: Connection) -> list[Standing]:
    """All groups of which something is known, by the worse of what their threshold and their control chart say."""
    rows = await connection.fetch(
        """WITH judged AS (
               SELECT indicator_id, dimensions, rank, escalations, array_position($1::text[], state) AS place,
                   acknowledged_at IS NOT NULL OR suppressed_by IS NOT NULL AS is_quiet,
                   max(rank) OVER (PARTITION BY indicator_id, dimensions) AS worst
               FROM statement_series WHERE state = ANY ($1::text[]))
           SELECT indicator_id, dimensions, max(place) AS place,
               coalesce(bool_and(is_quiet) FILTER (WHERE rank > 0 AND rank = worst), false) AS is_quiet,
               coalesce(max(escalations) FILTER (WHERE rank > 0 AND NOT is_quiet), 0) AS escalations
           FROM judged GROUP BY indicator_id, dimensions""",
        list(LEVELS),
    )
    names = list(LEVELS)
    return [
        Standing(row["indicator_id"], row["dimensions"], names[row["place"] - 1], row["is_quiet"], row["escalations"])
        for row in rows
    ]


class Followed(NamedTuple):
    """An indicator that falls short in published reports, or for which there are measures: whether it is open with nobody working
    on it, and how many of its measures are overdue."""

    indicator_id: str
    is_short: bool
    needs_measure: bool
    overdue: int


async def read_followed(connection: Connection, today: date) -> list[Followed]:
    """Of all of them. `today`: the operator's."""
    rows = await connection.fetch(
        """SELECT indicator_id, s.since IS NOT NULL, s.since IS NOT NULL AND coalesce(i.open, 0) = 0, coalesce(i.overdue, 0)
           FROM (SELECT * FROM shortcoming WHERE gone IS NULL) AS s
           FULL JOIN (SELECT indicator_id, count(*) AS open, count(*) FILTER (WHERE due < $1) AS overdue
                      FROM improvement WHERE state = 'open' GROUP BY indicator_id) AS i USING (indicator_id)""",
        today,
    )
    return [Followed(*row) for row in rows]
