"""SQL of the gauges: the state in which each judged series stands."""

from collections.abc import Mapping
from typing import NamedTuple

from closedloop.common.postgres.pool import Connection
from closedloop.kpi.domain.exporting import Level


class Standing(NamedTuple):
    """A series and its level."""

    indicator_id: str
    dimensions: Mapping[str, str]
    level: Level


async def read_standing(connection: Connection) -> list[Standing]:
    """All series that are judged. One of which nothing is known any more is not told apart from one that is well."""
    rows = await connection.fetch("SELECT indicator_id, dimensions, is_breached FROM statement_series")
    return [Standing(row["indicator_id"], row["dimensions"], "critical" if row["is_breached"] else "ok") for row in rows]
