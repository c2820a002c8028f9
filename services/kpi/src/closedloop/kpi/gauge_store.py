"""SQL of the gauges: the state in which each judged series stands."""

from collections.abc import Mapping
from typing import NamedTuple

from closedloop.common.postgres.pool import Connection
from closedloop.kpi.domain.exporting import LEVELS, Level


class Standing(NamedTuple):
    """A series and its level."""

    indicator_id: str
    dimensions: Mapping[str, str]
    level: Level


async def read_standing(connection: Connection) -> list[Standing]:
    """All series of which something is known, by the worse of what their threshold and their control chart say."""
    rows = await connection.fetch(
        """SELECT indicator_id, dimensions, max(array_position($1::text[], state)) AS place
           FROM statement_series WHERE state = ANY ($1::text[]) GROUP BY indicator_id, dimensions""",
        list(LEVELS),
    )
    names = list(LEVELS)
    return [Standing(row["indicator_id"], row["dimensions"], names[row["place"] - 1]) for row in rows]
