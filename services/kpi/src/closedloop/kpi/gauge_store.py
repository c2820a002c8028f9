"""SQL of the gauges: the state in which each judged series stands."""

from collections.abc import Mapping
from typing import NamedTuple

from closedloop.common.postgres.pool import Connection
from closedloop.kpi.domain.exporting import LEVELS, Level


class Standing(NamedTuple):
    """A series, its level, whether nobody need be told of a breach that stands (acknowledged, or held back), and how often one that
    nobody has acknowledged was said again."""

    indicator_id: str
    dimensions: Mapping[str, str]
    level: Level
    is_quiet: bool
    escalations: int


async def read_standing(connection: Connection) -> list[Standing]:
    """All series of which something is known, by the worse of what their threshold and their control chart say."""
    rows = await connection.fetch(
        """SELECT indicator_id, dimensions, max(array_position($1::text[], state)) AS place,
               coalesce(bool_and(acknowledged_at IS NOT NULL OR suppressed_by IS NOT NULL) FILTER (WHERE rank > 0), false) AS
               is_quiet, coalesce(max(escalations) FILTER (WHERE rank > 0 AND acknowledged_at IS NULL), 0) AS escalations FROM
               statement_series WHERE state = ANY ($1::text[]) GROUP BY indicator_id, dimensions""",
        list(LEVELS),
    )
    names = list(LEVELS)
    return [
        Standing(row["indicator_id"], row["dimensions"], names[row["place"] - 1], row["is_quiet"], row["escalations"])
        for row in rows
    ]
